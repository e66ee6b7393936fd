"""The files of a fax as parts of a multipart request, read from disk while they are sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from mimetypes import guess_type
from typing import Any, BinaryIO

from mailbridge.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Upload:
    """One file to fax. `open` gives a fresh seekable binary file, which is read in chunks and closed after the call."""

    name: str
    content_type: str
    open: Callable[[], BinaryIO]


File = Upload | str | os.PathLike[str]


class _EmptyName(str):
    """The name of an empty file field. httpx leaves out a name that is false; browsers send `filename=""`."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True


def listed(documents: File | Sequence[File]) -> list[File]:
    """Return the files in their order, also where only one was given."""
    return [documents] if isinstance(documents, Upload | str | os.PathLike) else list(documents)


def parts(documents: Sequence[File], opened: ExitStack) -> list[tuple[str, Any]] | None:
    """Open the files; several go as parts of their own beside an empty `theFile`. Raises InvalidArgument for a path."""
    if not documents:
        return None
    files = [_part(document, opened) for document in documents]
    if len(files) == 1:
        return [("theFile", files[0])]
    # Without a name it would be no file at all for a server, but a text field.
    empty = ("theFile", (_EmptyName(), b"", "application/octet-stream"))
    return [empty, *((f"file{number}", part) for number, part in enumerate(files, 1))]


def _part(document: File, opened: ExitStack) -> tuple[str, BinaryIO, str]:
    if isinstance(document, Upload):
        return _sendable(document.name), opened.enter_context(document.open()), document.content_type
    path = os.fspath(document)
    name = _sendable(os.path.basename(path))
    try:
        return name, opened.enter_context(open(path, "rb")), guess_type(name)[0] or "application/octet-stream"
    except (OSError, ValueError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is no path"
        raise InvalidArgument("theFile", f"{_sendable(path)} cannot be read ({why})") from None


def _sendable(name: str) -> str:
    """Return a name without the bytes that a file system may have and no text can."""
    return name.encode("utf-8", "replace").decode()
