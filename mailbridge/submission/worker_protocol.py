"""What the daemon and a worker send each other, through the worker's standard input and output.

A request is one frame, a response is two: the JSON, and then the content derived from the mail (`Letter.derived`), which may be
empty. A frame is its length in 4 bytes, and that many bytes. The daemon bounds every frame, because a hostile mail may have taken
over the worker that writes it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final

from pydantic import TypeAdapter

from mailbridge.submission.letter.letter import MAX_DERIVED, Letter

MAX_SECONDS = 30.0  # that a worker may take for one mail
MAX_REQUEST = 10_000  # bytes
MAX_RESPONSE = 4_000_000  # bytes of JSON
UNREADABLE: Final = "554 5.6.0 The mail cannot be read within the limits of time and memory"
_LENGTH: Final = struct.Struct("!I")
HEAD_SIZE: Final = _LENGTH.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One mail to read: the spool's directory, the mail's path in it, `fax.page`, and whether its line ends were changed."""

    spool: str
    path: str
    page_mode: str
    line_ends_changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """Exactly one of the three: the letter, the SMTP reply of a refusal, or why the disk did not deliver the mail."""

    letter: Letter | None = None
    refused: str | None = None
    unavailable: str | None = None


_REQUEST: Final = TypeAdapter(Request)
_RESPONSE: Final = TypeAdapter(Response)


def encode_request(request: Request) -> bytes:
    """Return the frame of a request."""
    return _frame(_REQUEST.dump_json(request))


def decode_request(content: bytes) -> Request:
    """Return the request in a frame's content. Raises ValueError."""
    return _REQUEST.validate_json(content)


def encode_response(response: Response) -> tuple[bytes, bytes]:
    """Return the frame with the JSON and the head of the second frame, and the content of that second frame.

    A letter beyond the limits becomes a refusal.
    """
    derived = b""
    if response.letter is not None:
        derived = response.letter.derived
        response = Response(letter=replace(response.letter, derived=b""))
    try:
        content = _RESPONSE.dump_json(response)
    except ValueError:  # half of a surrogate pair in a name
        content = b""
    if not content or len(content) > MAX_RESPONSE or len(derived) > MAX_DERIVED:
        content, derived = _RESPONSE.dump_json(Response(refused=UNREADABLE)), b""
    return _frame(content) + _LENGTH.pack(len(derived)), derived


def decode_response(content: bytes, derived: bytes) -> Response:
    """Return the response in the contents of two frames. Raises ValueError where they are not one."""
    response = _RESPONSE.validate_json(content)
    if response.letter is None:
        if derived:
            raise ValueError("derived content without a letter")
        return response
    return replace(response, letter=replace(response.letter, derived=derived))


def _frame(content: bytes) -> bytes:
    return _LENGTH.pack(len(content)) + content


def frame_length(head: bytes, limit: int) -> int:
    """Return the length that a frame's first `HEAD_SIZE` bytes announce. Raises EOFError beyond `limit`."""
    length: int = _LENGTH.unpack(head)[0]
    if length > limit:
        raise EOFError("the frame is larger than its limit")
    return length
