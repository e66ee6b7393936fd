"""Moves an installation from SQLite to PostgreSQL: `mailbridge import`. `store.postgres_import` has the order of its steps."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from mailbridge import stores
from mailbridge.config import Config
from mailbridge.errors import ConfigError, StateMoved, StoreUnavailable, Undecided
from mailbridge.model import new_id
from mailbridge.store.backup import copy_database, read_only
from mailbridge.store.schema import SCHEMA_VERSION
from mailbridge.store.sqlite_source import SqliteSource
from mailbridge.store.state_dir import DATABASE, MOVED, Moved, lock_state_dir, mark_as_moved, moved_to, unmark_as_moved

# Called with the bytes of what was copied, and the bytes of all.
Progress = Callable[[int, int], None]


class Imported(NamedTuple):
    """What was moved, or would be: rows by table, mails and documents, and their bytes.

    `uploading` faxes are in an upload that has not ended. `missing` are names of mails and documents that are not in the spool.
    `done_before` is whether an earlier run has moved all.
    """

    rows: dict[str, int]
    bodies: int
    size: int
    uploading: int
    missing: tuple[str, ...]
    done_before: bool = False


def import_sqlite(config: Config, source: Path, *, dry_run: bool, damaged: bool, progress: Progress) -> Imported:
    """Move what the state_dir `source` has into the database of `store.url`, blocking. With `dry_run` nothing is changed.

    With `damaged` also where mails or documents are missing. Raises StateLocked: a daemon uses the state_dir. Raises
    StoreUnavailable, for example if the database is not empty, SchemaTooNew, StateMoved: to another database, ConfigError.
    """
    if config.store.url is None:
        raise ConfigError("store.url", "is not set", "name the PostgreSQL database to which everything is moved")
    if not (source / DATABASE).is_file():
        raise StoreUnavailable(f"{source} has no {DATABASE}; name the state_dir of the installation that is to be moved")
    url = config.store.url.get_secret_value()
    if not dry_run:
        stores.migrate(config)
        _migrate(source)
    lock = lock_state_dir(source)
    try:
        return _moved(url, source, dry_run, damaged, progress)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"{source} cannot be read ({error})") from None
    finally:
        os.close(lock)


def _migrate(source: Path) -> None:
    """Migrate the source to the newest schema, unless it was moved already."""
    if moved_to(source) is None:
        stores.migrate_state_dir(source)


def _moved(url: str, source: Path, dry_run: bool, damaged: bool, progress: Progress) -> Imported:
    moved = moved_to(source)
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(_opened(source))
        bodies, missing = found.bodies()
        facts = Imported(found.counts(), len(bodies), sum(body.size for body in bodies), found.uploading(), tuple(missing))
        target = stack.enter_context(contextlib.closing(stores.import_target(url)))
        imported = target.imported()
        if moved is not None and imported == moved.id:
            if not (moved.complete or dry_run):
                mark_as_moved(source, moved._replace(complete=True))
            return facts._replace(done_before=True)
        if moved is not None:
            _check_may_go_on(source, moved, _place(url))
        target.check_empty()
        if dry_run:
            return facts
        if missing and not damaged:
            raise StoreUnavailable(f"{len(missing)} mails or documents are missing, such as {missing[0]}; add --damaged to go on")
        copied = 0

        def count(size: int) -> None:
            nonlocal copied
            copied += size
            progress(copied, facts.size)

        target.copy_bodies(found, bodies, count)
        moved = moved or Moved(new_id("imp"), _place(url), complete=False)
        mark_as_moved(source, moved)
        try:
            rows = target.copy_rows(found, bodies, moved.id)
        except (StoreUnavailable, sqlite3.Error) as error:
            # Whatever else ends this, such as Ctrl-C, may have done so while the commit was made.
            if not isinstance(error, Undecided):
                unmark_as_moved(source)
            raise
        mark_as_moved(source, moved._replace(complete=True))
    return facts._replace(rows=rows)


def _check_may_go_on(source: Path, moved: Moved, here: str) -> None:
    """Raise StateMoved unless an import into this database was interrupted."""
    if moved.complete:
        raise StateMoved(
            f"what is in {source} was moved to {moved.where}, and faxes may have been sent there since; restore that"
        )
    if moved.where != here:
        raise StateMoved(
            f"an import of {source} into {moved.where} was interrupted, and this database is {here}."
            f" If that one has no faxes, delete {source / MOVED} and begin anew"
        )


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[SqliteSource]:
    """Open the database, or a copy with the newest schema."""
    with contextlib.ExitStack() as stack:
        database = source / DATABASE
        with read_only(database) as connection:
            [(schema,)] = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchall()
        if str(schema) != str(SCHEMA_VERSION):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            copy_database(database, folder / DATABASE)
            stores.migrate_state_dir(folder)
            database = folder / DATABASE
        yield stack.enter_context(contextlib.closing(SqliteSource(source, database)))


def _place(url: str) -> str:
    """Return a URL without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
