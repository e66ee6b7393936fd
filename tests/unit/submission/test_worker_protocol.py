"""The frames between daemon and worker: what is sent comes back, and nothing beyond the limits gets through."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from mailbridge.submission.letter.letter import MAX_DERIVED, Letter
from mailbridge.submission.worker_protocol import (
    HEAD_SIZE,
    MAX_RESPONSE,
    UNREADABLE,
    LetterRequest,
    Response,
    decode_response,
    encode_response,
    frame,
    frame_length,
    receive_request,
    send_request,
)

LETTER = Letter(message_id="<1@x>", subject="נושא", sender=None, documents=(), derived=b"%PDF-\x00\xff", tags={"k": "v"})


def frames(*pieces: bytes) -> list[bytes]:
    content, found = b"".join(pieces), []
    while content:
        end = HEAD_SIZE + frame_length(content[:HEAD_SIZE], len(content))
        found.append(content[HEAD_SIZE:end])
        content = content[end:]
    return found


@pytest.mark.parametrize(
    "response",
    [
        Response(letter=LETTER),
        Response(letter=replace(LETTER, derived=b"")),
        Response(refused="554 5.6.0 no"),
        Response(unavailable="disk"),
    ],
)
def test_response_comes_back_in_two_frames(response: Response) -> None:
    content, derived = frames(*encode_response(response))
    assert b"%PDF" not in content
    assert decode_response(content, derived) == response


def test_request_comes_with_its_open_file(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(b"content")
    request = LetterRequest(path="mail/00/a.eml", page_mode="auto")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        with (tmp_path / "a.eml").open("rb") as file:
            send_request(ours, request, [file.fileno()])
        send_request(ours, request, [])
        received = receive_request(theirs)
        assert received is not None
        assert received[0] == request
        with open(received[1][0], "rb") as file:
            assert file.read() == b"content"
        assert receive_request(theirs) == (request, [])
        ours.close()
        assert receive_request(theirs) is None


def test_request_of_an_unknown_kind_is_invalid() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.send(b'{"kind": "other", "path": "a", "page_mode": "auto"}')
        with pytest.raises(ValueError, match="kind"):
            receive_request(theirs)


@pytest.mark.parametrize(
    "letter",
    [
        replace(LETTER, subject="x" * MAX_RESPONSE),
        replace(LETTER, derived=bytes(MAX_DERIVED + 1)),
        replace(LETTER, subject="\ud800"),
    ],
    ids=["json-too-large", "derived-too-large", "half-a-surrogate-pair"],
)
def test_letter_that_cannot_be_sent_is_refused(letter: Letter) -> None:
    content, derived = frames(*encode_response(Response(letter=letter)))
    assert decode_response(content, derived) == Response(refused=UNREADABLE)


def test_derived_content_without_a_letter_is_invalid() -> None:
    content, _ = frames(*encode_response(Response(refused="554 5.6.0 no")))
    with pytest.raises(ValueError, match="without a letter"):
        decode_response(content, b"%PDF")


def test_frame_beyond_its_limit_is_not_read() -> None:
    head = frame(bytes(100))[:HEAD_SIZE]
    assert frame_length(head, 100) == 100
    with pytest.raises(EOFError):
        frame_length(head, 99)
