"""A child process that reads mails: it takes limits upon itself, and answers questions until there are no more.

Both ways go frames of a 4-byte length and JSON. `Question` and `Answer` are what parent and child have in common.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import TypeAdapter

from mailbridge.errors import Refused
from mailbridge.submission.letter import Letter, read_letter

MEMORY = 1 << 30  # bytes of address space; a child at rest has about a third of it mapped
FILE_SIZE = 64_000_000  # bytes of a page that a child writes
SECONDS = 30.0  # for one mail
LENGTH: Final = struct.Struct("!I")
BEYOND = "554 5.6.0 The mail cannot be read within limits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a child is asked: one mail in the spool, and the mode of its page."""

    root: str
    path: str
    page: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a child answers, exactly one of the three: a letter, a refusal's reply, or why the disk did not take it."""

    letter: Letter | None = None
    refused: str | None = None
    unavailable: str | None = None


QUESTION: Final = TypeAdapter(Question)
ANSWER: Final = TypeAdapter(Answer)


def frame(content: bytes) -> bytes:
    """Return content with its length before it."""
    return LENGTH.pack(len(content)) + content


def read(question: Question) -> Answer:
    """Read one mail in the child. Whatever its parser raises, memory and recursion included, is a mail that cannot be read."""
    try:
        return Answer(letter=read_letter(Path(question.root), question.path, question.page))
    except Refused as refused:
        return Answer(refused=refused.reply)
    except OSError as error:
        return Answer(unavailable=f"the spool cannot be used: {error.strerror}")
    except Exception:
        return Answer(refused=BEYOND)


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer questions until there are no more."""
    while len(head := questions.read(LENGTH.size)) == LENGTH.size:
        question = QUESTION.validate_json(questions.read(LENGTH.unpack(head)[0]))
        # The daemon ends a child that takes too long; where the daemon itself is gone, the alarm does.
        signal.alarm(int(SECONDS) + 5)
        answer = read(question)
        signal.alarm(0)
        try:
            answered = frame(ANSWER.dump_json(answer))
        except ValueError:
            answered = frame(ANSWER.dump_json(Answer(refused=BEYOND)))
        answers.write(answered)
        answers.flush()


def main() -> None:
    """Be a child: take the limits, load what reads PDFs and pictures, and answer."""
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, FILE_SIZE), (resource.RLIMIT_CORE, 0)):
        # Under a tighter limit of the service's own that one holds; nobody but root may raise it.
        _, hard = resource.getrlimit(kind)
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (limit, limit))
    # A signal to the whole service is for the daemon, which ends its children when it has ended its sessions.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not fall between the frames.
    os.dup2(2, 1)
    pictures = ("PIL.Image", "PIL.TiffImagePlugin", "PIL.JpegImagePlugin", "PIL.PngImagePlugin")
    for heavy in ("pypdfium2", "mailbridge.submission.typesetting", *pictures):
        __import__(heavy)
    try:
        serve(sys.stdin.buffer, answers)
    except BrokenPipeError:
        # The daemon was killed. What is still buffered must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())


if __name__ == "__main__":
    main()
