"""What the daemon and a worker send each other.

A request is one packet through the Unix socket that is the worker's standard input: the length of its JSON in 4 bytes, the JSON,
whose `kind` names what is asked, and a mail of up to MAX_INLINE bytes. A larger mail, and any other file that the kind needs, is
an open file that comes with the packet (SCM_RIGHTS, unix(7)). A worker gets no path, so it needs none.

Standard output begins with a frame that says that the worker is ready, and its process id. Then each request is answered by two
lengths of 4 bytes, the JSON, and the content derived from the files (`Letter.derived`), which may be empty. The daemon bounds
every length, because a hostile mail may have taken over the worker that writes it.

The daemon sends the fork server two commands, each one packet: fork a worker that has a number and these two descriptors as its
standard input and output, and kill the worker with that number. The fork server sends nothing.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from mailbridge.model import Document
from mailbridge.page.confirmation_text import ConfirmationText
from mailbridge.page.shown_page import NotShown
from mailbridge.submission.letter.letter import MAX_DERIVED, Letter

MAX_SECONDS = 30.0  # that a worker may take for one mail
MAX_JSON: Final = 20_000  # bytes of a request
# Bytes of a mail within a request: a file in memory for it would take six system calls here and five in the worker.
MAX_INLINE: Final = 1 << 16
MAX_REQUEST: Final = 4 + MAX_JSON + MAX_INLINE  # bytes
MAX_FILES: Final = 2  # open files with one request
WORKER_FILES: Final = 2  # descriptors that a worker starts with
MAX_RESPONSE = 4_000_000  # bytes of JSON
UNREADABLE: Final = "554 5.6.0 The mail cannot be read within the limits of time and memory; send its files as one smaller PDF"
_LENGTH: Final = struct.Struct("!I")
_LENGTHS: Final = struct.Struct("!II")
HEAD_SIZE: Final = _LENGTHS.size  # bytes before a response
_READY: Final = struct.Struct("!5sI")
READY_SIZE: Final = _READY.size  # bytes of a worker's first frame
_COMMAND: Final = struct.Struct("!?I")


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRequest:
    """One mail to read, which is within the request, or its only file.

    `path` is the mail's name in the spool, for the documents of the letter; `page_mode` is `fax.page`.
    """

    kind: Literal["letter"] = "letter"
    path: str
    page_mode: str
    line_ends_changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationRequest:
    """A page to make, with the first page of `document`; then the file that holds it is the request's only one."""

    kind: Literal["confirmation"] = "confirmation"
    text: ConfirmationText
    document: Document | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRequest:
    """A page to show: page `number` (1 for the first) of `document`, `width` pixels wide. Its only file holds the document."""

    kind: Literal["picture"] = "picture"
    document: Document
    number: int
    width: int


Request = Annotated[LetterRequest | ConfirmationRequest | PictureRequest, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """Exactly one of: the letter, a page, the SMTP reply of a refusal, or why the disk did not deliver the mail.

    A page is a confirmation as PDF, or one page of a document as PNG, and then `pages` is how many that document has; a page that
    cannot be shown is empty, and `not_shown` says why.
    """

    letter: Letter | None = None
    page: bytes | None = None
    pages: int = 0
    not_shown: NotShown | None = None
    refused: str | None = None
    unavailable: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """To the fork server: fork the worker `number`, with its descriptors, or kill it."""

    fork: bool
    number: int
    files: Sequence[int] = ()


_REQUEST: Final[TypeAdapter[Request]] = TypeAdapter(Request)
_RESPONSE: Final = TypeAdapter(Response)
_APART: Final = {"letter": {"derived"}}  # what a response has behind its JSON


def send_request(connection: socket.socket, request: Request, files: Sequence[int], mail: bytes = b"") -> None:
    """Send a request with its open files, or its mail. Raises OSError: BlockingIOError where there is no room for it now."""
    text = _REQUEST.dump_json(request)
    packet = [_LENGTH.pack(len(text)), text, mail]
    if files:
        socket.send_fds(connection, packet, files)
    else:
        connection.sendmsg(packet)


def receive_request(connection: socket.socket) -> tuple[Request, list[int], bytes] | None:
    """Return the next request, its open files, its mail; None where there are no more. Raises ValueError for an invalid one."""
    content, files, _, _ = socket.recv_fds(connection, MAX_REQUEST, MAX_FILES)
    if not content:
        return None
    end = _LENGTH.size + int.from_bytes(content[: _LENGTH.size])
    return _REQUEST.validate_json(content[_LENGTH.size : end]), files, content[end:]


def send_command(connection: socket.socket, command: Command) -> None:
    """Send the fork server a command. Raises OSError."""
    socket.send_fds(connection, [_COMMAND.pack(command.fork, command.number)], command.files)


def receive_command(connection: socket.socket) -> Command | None:
    """Return the next command with its open descriptors, which are fewer for lack of them; None where there are no more."""
    content, files, _, _ = socket.recv_fds(connection, _COMMAND.size, WORKER_FILES)
    if not content:
        return None
    fork, number = _COMMAND.unpack(content)
    return Command(fork, number, files)


def encode_response(response: Response) -> tuple[bytes, bytes]:
    """Return the lengths with the JSON, and the derived content.

    A letter beyond the limits becomes a refusal.
    """
    derived = b""
    if response.letter is not None:
        derived = response.letter.derived
    elif response.page is not None:
        derived, response = response.page, replace(response, page=b"")
    try:
        content = _RESPONSE.dump_json(response, exclude=_APART)
    except ValueError:  # half of a surrogate pair in a name
        content = b""
    if not content or len(content) > MAX_RESPONSE or len(derived) > MAX_DERIVED:
        content, derived = _RESPONSE.dump_json(Response(refused=UNREADABLE)), b""
    return _LENGTHS.pack(len(content), len(derived)) + content, derived


def decode_response(content: bytes, derived: bytes) -> Response:
    """Return the response with this JSON and derived content. Raises ValueError where they are not one."""
    response = _RESPONSE.validate_json(content)
    if response.page is not None:
        return replace(response, page=derived)
    if response.letter is None:
        if derived:
            raise ValueError("derived content without a letter")
        return response
    return replace(response, letter=replace(response.letter, derived=derived)) if derived else response


def ready_frame(pid: int) -> bytes:
    """Return a worker's first frame."""
    return _READY.pack(b"ready", pid)


def decode_ready(content: bytes) -> int:
    """Return the process id in a worker's first frame. Raises ValueError where it is not one."""
    if len(content) != READY_SIZE or not content.startswith(b"ready"):
        raise ValueError("a worker's first frame does not say that it is ready")
    pid: int = _READY.unpack(content)[1]
    return pid


def response_lengths(head: bytes) -> tuple[int, int]:
    """Return the lengths of JSON and derived content that come behind these HEAD_SIZE bytes. Raises EOFError beyond a limit."""
    content, derived = _LENGTHS.unpack(head)
    if content > MAX_RESPONSE or derived > MAX_DERIVED:
        raise EOFError("the response is larger than its limit")
    return content, derived
