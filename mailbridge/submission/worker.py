"""The worker: a process that reads hostile mail for the daemon, one mail after the other.

The parsers of PDF, pictures and MIME meet every kind of broken and hostile file. What goes wrong in them (a crash, a loop, memory
without end, foreign code) must not reach the daemon and the mails of others. So a worker loads all it needs, limits its own
memory and time, and then enters the sandbox: it gets each mail as an open file, and writes nothing but its responses. It ends
with its standard input, so none outlives the daemon. The daemon's workers are forked from a process that has loaded everything
already (see `fork_server`); `python -m mailbridge.submission.worker` is a single one.
"""

from __future__ import annotations

import array  # noqa: F401  # socket.recv_fds imports it when it is called
import contextlib
import io
import os
import resource
import signal
import socket
from pathlib import Path
from typing import BinaryIO

from mailbridge.errors import Refused
from mailbridge.page.confirmation import render_confirmation
from mailbridge.page.page_picture import CannotShow, render_page
from mailbridge.page.text_page import render
from mailbridge.preload import load_codecs
from mailbridge.store.document_reader import DocumentReader
from mailbridge.submission import sandbox
from mailbridge.submission.letter.parser import read_letter
from mailbridge.submission.letter.pictures import load_pictures
from mailbridge.submission.worker_protocol import (
    MAX_SECONDS,
    UNREADABLE,
    ConfirmationRequest,
    LetterRequest,
    PictureRequest,
    Request,
    Response,
    encode_response,
    ready_frame,
    receive_request,
)

MAX_MEMORY = 1 << 30  # bytes of address space; an idle worker has about a third of it mapped
# The slowest honest mails have many photographs to convert, which take half a second each.
_SECONDS, _SECONDS_PER_MB = 5.0, 0.3
MAX_FILE_SIZE = 0  # bytes of any file that a worker writes; pipes are not files
_LARGEST_SHOWN = 50_000_000  # bytes of a document whose first page a confirmation shows
_LIMITS = ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_FSIZE, MAX_FILE_SIZE), (resource.RLIMIT_CORE, 0))


def _letter(request: LetterRequest, files: list[int], mail: bytes) -> Response:
    changed = request.line_ends_changed
    return Response(letter=read_letter(files[0] if files else mail, request.path, request.page_mode, line_ends_changed=changed))


def _confirmation(request: ConfirmationRequest, files: list[int]) -> Response:
    document, content = request.document, None
    if document is not None and document.size <= _LARGEST_SHOWN:
        (file,) = files
        with DocumentReader(io.FileIO(file, closefd=False), document) as reader:
            content = reader.read()
    return Response(page=render_confirmation(request.text, content))


def _picture(request: PictureRequest, files: list[int]) -> Response:
    (file,) = files
    with DocumentReader(io.FileIO(file, closefd=False), request.document) as reader:
        content = reader.read()
    try:
        shown = render_page(content, request.number, request.width)
    except CannotShow as error:
        return Response(page=b"", not_shown=error.reason)
    return Response(page=shown.png, pages=shown.pages)


def _answer(request: Request, files: list[int], mail: bytes) -> Response:
    if isinstance(request, LetterRequest):
        return _letter(request, files, mail)
    return _picture(request, files) if isinstance(request, PictureRequest) else _confirmation(request, files)


def respond(request: Request, files: list[int], mail: bytes = b"") -> Response:
    """Answer one request. Any error of a parser, also of memory and recursion, means that the mail cannot be read."""
    try:
        return _answer(request, files, mail)
    except Refused as refused:
        return Response(refused=refused.reply)
    except OSError as error:
        return Response(unavailable=f"the spool cannot be read: {error.strerror}")
    except Exception:
        return Response(refused=UNREADABLE)


def processor_seconds(size: int) -> float:
    """Return the processor time that a mail of `size` bytes may take. SIGPROF ends the worker after that."""
    return _SECONDS + _SECONDS_PER_MB * size / 1_000_000


def _size(file: int) -> int:
    # The sandbox denies fstat, as newer C libraries call it.
    size = os.lseek(file, 0, os.SEEK_END)
    os.lseek(file, 0, os.SEEK_SET)
    return size


def serve(requests: socket.socket, responses: BinaryIO) -> None:
    """Answer requests until there are no more."""
    while (received := receive_request(requests)) is not None:
        # The daemon kills a worker that takes too long; if the daemon is gone, the alarm does.
        signal.alarm(int(MAX_SECONDS) + 5)
        request, files, mail = received
        signal.setitimer(signal.ITIMER_PROF, processor_seconds(len(mail) + sum(map(_size, files))))
        response = encode_response(respond(request, files, mail))
        # What is left of it is not the next mail's: that would be refused if the worker ended while it takes the mail.
        signal.setitimer(signal.ITIMER_PROF, 0)
        for file in files:
            os.close(file)
        signal.alarm(0)
        responses.writelines(response)
        responses.flush()


def ignore_signals() -> None:
    """Ignore what is sent to the whole service: it is for the daemon, which ends its workers after its sessions."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def load() -> None:
    """Load the codecs and readers of pictures, which are otherwise loaded when needed. Raises OSError, ImportError."""
    load_codecs()
    load_pictures()


def prepare() -> None:
    """Limit this process, which has loaded everything, and enter the sandbox. Raises OSError."""
    # If memory is short, the kernel ends a worker, not the daemon.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")
    # PDFium gets callbacks. Where memory may not be both writable and executable (MemoryDenyWriteExecute=yes), libffi writes an
    # anonymous file for the first one, which MAX_FILE_SIZE would forbid, and keeps its memory for the others. A fork would
    # share that memory, so the fork server makes no callback.
    render("page")
    for kind, maximum in _LIMITS:
        sandbox.limit(kind, maximum)
    # The reader of HEIC decodes in a thread.
    sandbox.enter(threads=load_pictures())


def run() -> None:
    """Enter the sandbox, and answer the requests on standard input."""
    requests, responses = socket.socket(fileno=0), os.fdopen(os.dup(1), "wb")
    # What a library prints must not get between the frames, and what a hostile mail prints must not look like the daemon's log.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    prepare()
    os.dup2(nowhere, 2)
    try:
        responses.write(ready_frame(os.getpid()))
        responses.flush()
        serve(requests, responses)
    except (BrokenPipeError, ConnectionResetError):
        # The daemon was killed. What is still buffered must not be written at exit.
        os._exit(0)


def main() -> None:
    """Be a single worker."""
    ignore_signals()
    load()
    run()


if __name__ == "__main__":
    main()
