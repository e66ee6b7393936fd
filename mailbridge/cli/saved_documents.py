"""Saves the documents of a fax from the spool, under their names, and never over another file."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import click

from mailbridge.errors import ControlError, NotFound
from mailbridge.model import EXTERNAL, Document
from mailbridge.store.local_spool import document_in

_LONGEST_NAME = 120


def save_documents(stored: Sequence[Mapping[str, Any]], state_dir: Path, directory: Path) -> list[Path]:
    """Save documents, fields of `model.Document`; return their files. Raises ControlError, NotFound if one was deleted."""
    documents = [Document(**{"pages": None, **facts}) for facts in stored]
    if not documents:
        raise NotFound("it has no document")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return [_save(document, state_dir / "spool", directory) for document in documents]
    except OSError as error:
        place, why = error.filename or directory, os.strerror(error.errno or 0)
        raise click.ClickException(f"{place} cannot be written ({why}); name another directory with --save") from None


def _save(document: Document, spool: Path, directory: Path) -> Path:
    if document.content_type == EXTERNAL:
        raise ControlError(f"MyFax fetched the document from {document.name}; it was never stored here")
    with document_in(spool, document) as content:
        for path in _free_names(directory / _file_name(document.name)):
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                continue
            with os.fdopen(descriptor, "wb") as file:
                shutil.copyfileobj(content, file)
            return path
    raise AssertionError("count() ends nowhere")


def _file_name(name: str) -> str:
    """Return a name without a path, control characters, or a leading dot."""
    kept = re.sub(r"[/\\\x00]", "_", "".join(letter for letter in name if letter.isprintable())).lstrip(". ")
    stem, suffix = PurePosixPath(kept).stem[:_LONGEST_NAME], PurePosixPath(kept).suffix[:16]
    return f"{stem or 'document'}{suffix}"


def _free_names(path: Path) -> Iterator[Path]:
    yield path
    yield from (path.with_name(f"{path.stem} ({number}){path.suffix}") for number in count(2))
