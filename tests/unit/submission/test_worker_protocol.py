"""The requests and responses between daemon and worker: what is sent comes back, and nothing beyond the limits gets through."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from mailbridge.store.spool_paths import IN_MEMORY
from mailbridge.submission.letter.letter import MAX_DERIVED, Letter
from mailbridge.submission.worker_protocol import (
    HEAD_SIZE,
    MAX_INLINE,
    MAX_RESPONSE,
    UNREADABLE,
    LetterRequest,
    Response,
    decode_response,
    encode_response,
    receive_request,
    response_lengths,
    send_request,
)

LETTER = Letter(message_id="<1@x>", subject="נושא", sender=None, documents=(), derived=b"%PDF-\x00\xff", tags={"k": "v"})


def parts(response: Response) -> tuple[bytes, bytes]:
    """Return the JSON and the derived content of a response, as the daemon reads them."""
    content = b"".join(encode_response(response))
    head, content = content[:HEAD_SIZE], content[HEAD_SIZE:]
    length, derived_length = response_lengths(head)
    assert len(content) == length + derived_length
    return content[:length], content[length:]


@pytest.mark.parametrize(
    "response",
    [
        Response(letter=LETTER),
        Response(letter=replace(LETTER, derived=b"")),
        Response(refused="554 5.6.0 no"),
        Response(unavailable="disk"),
    ],
)
def test_response_comes_back_as_json_and_derived_content(response: Response) -> None:
    content, derived = parts(response)
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
        assert receive_request(theirs) == (request, [], b"")
        ours.close()
        assert receive_request(theirs) is None


def test_request_comes_with_a_mail_of_any_bytes_up_to_the_limit() -> None:
    mail = bytes(range(256)) * (MAX_INLINE // 256)
    request = LetterRequest(path=IN_MEMORY, page_mode="auto")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        send_request(ours, request, [], mail)
        assert receive_request(theirs) == (request, [], mail)


def test_request_of_an_unknown_kind_is_invalid() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        text = b'{"kind": "other", "path": "a", "page_mode": "auto"}'
        ours.send(len(text).to_bytes(4) + text)
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
    content, derived = parts(Response(letter=letter))
    assert decode_response(content, derived) == Response(refused=UNREADABLE)


def test_derived_content_without_a_letter_is_invalid() -> None:
    content, _ = parts(Response(refused="554 5.6.0 no"))
    with pytest.raises(ValueError, match="without a letter"):
        decode_response(content, b"%PDF")


@pytest.mark.parametrize(("length", "derived"), [(MAX_RESPONSE + 1, 0), (1, MAX_DERIVED + 1)])
def test_response_beyond_its_limit_is_not_read(length: int, derived: int) -> None:
    assert response_lengths(MAX_RESPONSE.to_bytes(4) + MAX_DERIVED.to_bytes(4)) == (MAX_RESPONSE, MAX_DERIVED)
    with pytest.raises(EOFError):
        response_lengths(length.to_bytes(4) + derived.to_bytes(4))
