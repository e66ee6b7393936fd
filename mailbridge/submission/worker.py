"""The worker: a process that reads hostile mail for the daemon, one mail after the other.

The parsers of PDF, pictures and MIME meet every kind of broken and hostile file. What goes wrong in them (a crash, a loop, memory
without end, foreign code) must not reach the daemon and the mails of others. So a worker limits its own memory, time and files:
it gets each mail as an open file, and writes nothing but its responses. It ends with its standard input, so none outlives the
daemon.
"""

from __future__ import annotations

import array  # noqa: F401  # socket.recv_fds imports it when it is called
import ctypes
import os
import resource
import signal
import socket
from collections.abc import Callable
from typing import BinaryIO

from mailbridge.errors import Refused
from mailbridge.submission.letter.parser import read_letter
from mailbridge.submission.worker_protocol import (
    MAX_SECONDS,
    READY,
    UNREADABLE,
    LetterRequest,
    Request,
    Response,
    encode_response,
    frame,
    receive_request,
)

MAX_MEMORY = 1 << 30  # bytes of address space; an idle worker has about a third of it mapped
MAX_FILE_SIZE = 0  # bytes of any file that a worker writes; pipes are not files
_LIMITS = ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_FSIZE, MAX_FILE_SIZE), (resource.RLIMIT_CORE, 0))
# PDFium gets callbacks. Where memory may not be both writable and executable (MemoryDenyWriteExecute=yes), libffi writes an
# anonymous file for the first one, which MAX_FILE_SIZE would forbid. It is kept, so that libffi keeps the memory for the others.
_FIRST_CALLBACK = ctypes.CFUNCTYPE(None)(lambda: None)


def _letter(request: LetterRequest, files: list[int]) -> Response:
    (mail,) = files
    changed = request.line_ends_changed
    return Response(letter=read_letter(mail, request.path, request.page_mode, line_ends_changed=changed))


_ANSWERS: dict[str, Callable[[Request, list[int]], Response]] = {"letter": _letter}


def respond(request: Request, files: list[int]) -> Response:
    """Answer one request. Any error of a parser, also of memory and recursion, means that the mail cannot be read."""
    try:
        return _ANSWERS[request.kind](request, files)
    except Refused as refused:
        return Response(refused=refused.reply)
    except OSError as error:
        return Response(unavailable=f"the spool cannot be read: {error.strerror}")
    except Exception:
        return Response(refused=UNREADABLE)


def serve(requests: socket.socket, responses: BinaryIO) -> None:
    """Answer requests until there are no more."""
    while (received := receive_request(requests)) is not None:
        # The daemon kills a worker that takes too long; if the daemon is gone, the alarm does.
        signal.alarm(int(MAX_SECONDS) + 5)
        request, files = received
        response = encode_response(respond(request, files))
        for file in files:
            os.close(file)
        signal.alarm(0)
        responses.writelines(response)
        responses.flush()


def _limit_resources() -> None:
    for kind, maximum in _LIMITS:
        # A tighter limit of the service stays in force; only root may raise it.
        _, hard = resource.getrlimit(kind)
        limit = maximum if hard == resource.RLIM_INFINITY else min(maximum, hard)
        resource.setrlimit(kind, (limit, limit))


def main() -> None:
    """Limit this process, load the readers of PDF and pictures, and answer requests."""
    _limit_resources()
    # A signal to the whole service is for the daemon, which ends its workers after its sessions.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    responses = os.fdopen(os.dup(1), "wb")
    # What a library prints must not get between the frames.
    os.dup2(2, 1)
    pictures = ("PIL.Image", "PIL.TiffImagePlugin", "PIL.JpegImagePlugin", "PIL.PngImagePlugin")
    for heavy in ("pypdfium2", "mailbridge.page.typesetting", *pictures):
        __import__(heavy)
    requests = socket.socket(fileno=0)
    try:
        responses.write(frame(READY))
        responses.flush()
        serve(requests, responses)
    except (BrokenPipeError, ConnectionResetError):
        # The daemon was killed. What is still buffered must not be written at exit.
        os._exit(0)


if __name__ == "__main__":
    main()
