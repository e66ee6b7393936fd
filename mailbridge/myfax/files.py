"""The files of a fax as parts of a multipart request (RFC 7578), read from disk while they are sent."""

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
    """One file to fax. `open` returns a new seekable binary file, which is read in chunks and closed after the call."""

    name: str
    content_type: str
    open: Callable[[], BinaryIO]


File = Upload | str | os.PathLike[str]


class _EmptyName(str):
    """The name of an empty file field, sent as `filename=""` as browsers do. httpx would leave out a name that is false."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True


def as_list(documents: File | Sequence[File]) -> list[File]:
    """Return the files in their order; a single one as a list."""
    return [documents] if isinstance(documents, Upload | str | os.PathLike) else list(documents)


def multipart_files(documents: Sequence[File], opened: ExitStack) -> list[tuple[str, Any]] | None:
    """Open the files: one is `theFile`, several are parts of their own beside an empty `theFile`.

    Raises InvalidArgument for a path that cannot be read.
    """
    if not documents:
        return None
    files = [_part(document, opened) for document in documents]
    if len(files) == 1:
        return [("theFile", files[0])]
    # Without a file name, a server would take it for a text field.
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
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is not a path"
        raise InvalidArgument("theFile", f"{_sendable(path)} cannot be read ({why})") from None


def _sendable(name: str) -> str:
    """Return a name with every byte replaced that a file system allows and UTF-8 does not."""
    return name.encode("utf-8", "replace").decode()
