"""Saves the documents of a fax from the spool, under their names, and never over another file."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import click

from mailbridge.cli.options import environment
from mailbridge.cli.store_query import find_state_dir, is_shared
from mailbridge.errors import ControlError, NotFound
from mailbridge.model import EXTERNAL, Document
from mailbridge.preload import quick_imports
from mailbridge.store.document_reader import DocumentReader
from mailbridge.store.local_spool import document_in
from mailbridge.store.stored_documents import open_document

_LONGEST_NAME = 120
# Opens a document. Raises NotFound, StoreUnavailable.
Open = Callable[[Document], DocumentReader]


def save_documents(stored: Sequence[Mapping[str, Any]], config_path: Path, directory: Path) -> list[Path]:
    """Save documents, fields of `model.Document`; return their files. Raises ControlError, StoreUnavailable, and
    NotFound if one was deleted.
    """
    documents = [Document(**{"pages": None, **facts}) for facts in stored]
    if not documents:
        raise NotFound("it has no document")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _opener(config_path) as open_one:
            return [_save(document, open_one, directory) for document in documents]
    except OSError as error:
        place, why = error.filename or directory, os.strerror(error.errno or 0)
        raise click.ClickException(f"{place} cannot be written ({why}); name another directory with --save") from None


@contextmanager
def _opener(config_path: Path) -> Iterator[Open]:
    if not is_shared(config_path):
        yield partial(document_in, find_state_dir(config_path) / "spool")
        return
    with quick_imports():
        from mailbridge.config import load
        from mailbridge.stores import open_bodies
    with open_bodies(load(config_path, environment(config_path))) as bodies:
        yield partial(open_document, bodies.open)


def _save(document: Document, open_one: Open, directory: Path) -> Path:
    if document.content_type == EXTERNAL:
        raise ControlError(f"MyFax fetched the document from {document.name}; it was never stored here")
    with open_one(document) as content:
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
