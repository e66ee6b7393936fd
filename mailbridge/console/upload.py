"""A form with files, read piece by piece: large files go to temporary files, and nothing is larger than its limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from mailbridge.console.composition import Attachment
from mailbridge.console.visit import BadForm, Visit

_MOST_FILES, _MOST_FIELDS = 50, 20
_LARGEST_FIELD: Final = 200_000  # bytes
PIECE: Final = 32_768  # bytes of a form that are read in one turn of the event loop
_MOST_DRAINED: Final = 1_000_000_000  # bytes that are read and thrown away, so that the browser shows the answer


class TooLarge(Exception):
    """The form is larger than its limit."""


@asynccontextmanager
async def read_upload(visit: Visit, most: int) -> AsyncIterator[FormData]:
    """Yield the form; its files are gone at the end. Raises BadForm, and TooLarge beyond so many bytes."""
    if not visit.request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise BadForm("the form has no files")
    parser = MultiPartParser(
        visit.request.headers, _limited(visit, most), max_files=_MOST_FILES, max_fields=_MOST_FIELDS, max_part_size=_LARGEST_FIELD
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise BadForm("the form cannot be read") from error
    try:
        yield form
    finally:
        await form.close()


async def _limited(visit: Visit, most: int) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in visit.request.stream():
        size += len(chunk)
        if size <= most:
            # A piece of beginnings of a boundary takes 15 ms to read; others get their turn between two.
            for at in range(0, len(chunk), PIECE):
                yield chunk[at : at + PIECE]
                await asyncio.sleep(0)
        elif size > _MOST_DRAINED:
            break
    if size > most:
        raise TooLarge


def text_of(form: FormData, name: str) -> str:
    """Return a field; empty if it is missing. A form may name a charset with halves of surrogate pairs, such as UTF-7."""
    value = form.get(name)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def files_of(form: FormData, name: str) -> list[Attachment]:
    """Return the files that were chosen. A browser sends one without a name where none was."""
    found = [one for one in form.getlist(name) if isinstance(one, UploadFile) and one.filename]
    return [Attachment(name=one.filename or "", content_type=one.content_type or "", file=one.file) for one in found]
