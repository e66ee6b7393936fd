"""A backup of a state_dir while its daemon works: the database by SQLite's online backup, then the spool files that it names.

In this order nothing is missing: a file is in the spool before the transaction that names it, and it is deleted only by
retention, which the caller holds back meanwhile. `backup.json` is written last, with the size and the SHA-256 of every file: a
backup without it is not complete.

What a backup has: `mailbridge.sqlite3`, the folder `spool`, and the small files beside them, such as the key of document links
and renewed OAuth2 tokens. The configuration and its secrets are not in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from mailbridge.errors import StoreUnavailable
from mailbridge.store.fsync import sync_directory
from mailbridge.store.spool_paths import file_of, files_beside
from mailbridge.store.state_dir import DATABASE, RESTORING

MANIFEST = "backup.json"
# Files of the state_dir that belong to a running process, or that are copied in another way.
_NOT_COPIED = {"lock", RESTORING, MANIFEST, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal"}
_CHUNK = 1 << 20


class BackedUp(NamedTuple):
    """What a backup has."""

    faxes: int
    files: int
    size: int  # bytes, of all files
    missing: tuple[str, ...]  # files that the database names and the spool does not have


def back_up(state_dir: Path, target: Path, version: str) -> BackedUp:
    """Copy the state of `state_dir` to the empty directory `target`, blocking, durably. Nothing is left there if it fails.

    Raises StoreUnavailable: the target is not empty or cannot be written, or the state cannot be read.
    """
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise StoreUnavailable(f"{target} is not empty; give a directory of its own to each backup")
        os.chmod(target, 0o700)
    except OSError as error:
        raise StoreUnavailable(f"{target} cannot be written ({error.strerror}); choose another directory") from None
    try:
        return _back_up(state_dir, target, version)
    except (OSError, sqlite3.Error) as error:
        _empty(target)
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise StoreUnavailable(f"the backup to {target} failed ({why}); nothing was left there") from None
    except BaseException:
        _empty(target)
        raise


def _back_up(state_dir: Path, target: Path, version: str) -> BackedUp:
    started = datetime.now(UTC)
    copy_database(state_dir / DATABASE, target / DATABASE)
    files: dict[str, dict[str, Any]] = {}
    missing: list[str] = []
    for path, required in named_files(target / DATABASE):
        name = f"spool/{path}"
        try:
            files[name] = copy_file(state_dir / name, target / name)
        except FileNotFoundError:
            missing += [path] if required else []
    for name in sorted(os.listdir(state_dir)):
        if name not in _NOT_COPIED and (state_dir / name).is_file():
            files[name] = copy_file(state_dir / name, target / name)
    files[DATABASE] = _facts(target / DATABASE)
    os.sync()  # once for all files, instead of an fsync for each
    with read_only(target / DATABASE) as database:
        faxes = int(database.execute("SELECT count(*) FROM fax").fetchone()[0])
    _write_manifest(target, {"version": version, "made_at": started.isoformat(), "faxes": faxes, "files": files})
    return BackedUp(faxes, len(files), sum(facts["size"] for facts in files.values()), tuple(missing))


def _write_manifest(target: Path, manifest: dict[str, Any]) -> None:
    with open(os.open(target / MANIFEST, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(target)
    sync_directory(target.parent)


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database that another process may be writing. Raises sqlite3.Error."""
    database = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=30.0)
    try:
        yield database
    finally:
        database.close()


def copy_database(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment, blocking, to a single file. Its writer goes on. Raises OSError, sqlite3.Error."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with read_only(source) as original, contextlib.closing(sqlite3.connect(target)) as copy:
        original.backup(copy)
        # In one file, which can be read where nothing can be written.
        copy.execute("PRAGMA journal_mode=DELETE")


def named_files(database: Path) -> Iterator[tuple[str, bool]]:
    """Yield each spool file that a database names, relative to the spool, and whether it must exist.

    Beside a mail there may be others. A mail whose documents retention has deleted is gone. Raises sqlite3.Error.
    """
    with read_only(database) as found:
        undeleted = "EXISTS (SELECT 1 FROM fax WHERE fax.envelope_id = envelope.id AND fax.documents_deleted_at IS NULL)"
        mails: dict[str, bool] = {}
        for path, required in found.execute(f"SELECT path, {undeleted} FROM envelope"):
            mails[path] = mails.get(path, False) or bool(required)
        files: dict[str, bool] = {}
        for path, required in mails.items():
            file = file_of(path)
            files[file] = files.get(file, False) or required
            files |= dict.fromkeys(files_beside(path), False)
        yield from files.items()
        each = "SELECT json_extract(value, '$.path') FROM event, json_each(event.data, '$.documents')"
        for (path,) in found.execute(
            f"SELECT document FROM event WHERE document IS NOT NULL UNION {each} WHERE document IS NOT NULL"
        ):
            yield path, True


def copy_file(source: Path, target: Path) -> dict[str, Any]:
    """Copy a file, for its owner alone, and return its size and digest. Raises OSError; the copy is not synced.

    Holes stay holes: in a segment they are deleted mails.
    """
    digest, size = hashlib.sha256(), 0
    with open(source, "rb", buffering=0) as original:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as copy:
            while chunk := original.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                if chunk.count(0) == len(chunk):
                    copy.seek(size)
                else:
                    copy.write(chunk)
            copy.truncate(size)
    return {"size": size, "sha256": digest.hexdigest()}


def _facts(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
