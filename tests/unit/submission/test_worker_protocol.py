"""The frames between daemon and worker: what is sent comes back, and nothing beyond the limits gets through."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mailbridge.submission import worker_protocol
from mailbridge.submission.letter import Letter, TextPage
from mailbridge.submission.worker_protocol import (
    HEAD_SIZE,
    MAX_PAGE,
    MAX_RESPONSE,
    UNREADABLE,
    Request,
    Response,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    frame_length,
)

PAGE = TextPage(content=b"%PDF-\x00\xff", size=7, sha256="ab", pages=1)
LETTER = Letter(message_id="<1@x>", subject="נושא", sender=None, documents=(), text_page=PAGE, tags={"k": "v"})


def frames(content: bytes) -> list[bytes]:
    found = []
    while content:
        end = HEAD_SIZE + frame_length(content[:HEAD_SIZE], len(content))
        found.append(content[HEAD_SIZE:end])
        content = content[end:]
    return found


@pytest.mark.parametrize(
    "response",
    [
        Response(letter=LETTER),
        Response(letter=replace(LETTER, text_page=None)),
        Response(refused="554 5.6.0 no"),
        Response(unavailable="disk"),
    ],
)
def test_response_comes_back_in_two_frames(response: Response) -> None:
    content, page = frames(encode_response(response))
    assert b"%PDF" not in content
    assert decode_response(content, page) == response


def test_request_comes_back_in_one_frame() -> None:
    request = Request(spool="/var/lib/mailbridge/spool", path="mail/00/a.eml", page_mode="auto")
    (content,) = frames(encode_request(request))
    assert decode_request(content) == request


@pytest.mark.parametrize(
    "letter",
    [
        replace(LETTER, subject="x" * MAX_RESPONSE),
        replace(LETTER, text_page=replace(PAGE, content=bytes(MAX_PAGE + 1), size=MAX_PAGE + 1)),
        replace(LETTER, subject="\ud800"),
    ],
    ids=["json-too-large", "page-too-large", "half-a-surrogate-pair"],
)
def test_letter_that_cannot_be_sent_is_refused(letter: Letter) -> None:
    content, page = frames(encode_response(Response(letter=letter)))
    assert decode_response(content, page) == Response(refused=UNREADABLE)


@pytest.mark.parametrize(
    ("letter", "page"), [(LETTER, b"short"), (LETTER, b""), (replace(LETTER, text_page=None), b"%PDF"), (None, b"%PDF")]
)
def test_page_that_does_not_fit_its_letter_is_invalid(letter: Letter | None, page: bytes) -> None:
    (content, _) = frames(encode_response(Response(letter=letter, refused=None if letter else "554 5.6.0 no")))
    with pytest.raises(ValueError, match="page"):
        decode_response(content, page)


def test_frame_beyond_its_limit_is_not_read() -> None:
    head = worker_protocol._frame(bytes(100))[:HEAD_SIZE]
    assert frame_length(head, 100) == 100
    with pytest.raises(EOFError):
        frame_length(head, 99)
