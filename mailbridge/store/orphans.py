"""Orphans: files in the spool that no record knows, left by a crash between a file and its row."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from mailbridge import log
from mailbridge.store.interface import Store, Transaction
from mailbridge.store.spool import BESIDE_MAIL, Spool

# SQLite takes 32,766 values in one question at most; a few hundred at once take no longer for each.
_AT_ONCE = 500


async def sweep(store: Store, spool: Spool, started: datetime, made: datetime | None = None) -> int:
    """Delete the files that belong to no mail and no event, and return how many; none that is younger than `started`.

    `made` is when the database was made. A file that is older was left by no crash of it: an earlier database was lost, and the
    file may be all that is left of a mail that was taken. Such files stay, and a warning tells how many there are.

    To be called before mail is taken in: then no file waits for its record. Raises StoreUnavailable.
    """
    deleted, old = 0, 0
    since = 0.0 if made is None else made.timestamp()
    for directory in sorted(path for kind in ("mail", "received") for path in (spool.root / kind).iterdir() if path.is_dir()):
        owners = await asyncio.to_thread(_owners, directory, str(directory.relative_to(spool.root)))
        known = await _known(store, sorted(set(owners.values())))
        unknown = [name for name, owner in owners.items() if owner not in known]
        if unknown:
            ours, older = await asyncio.to_thread(_by_age, directory, unknown, since)
            deleted += await asyncio.to_thread(_delete, directory, ours, started.timestamp())
            old += len(older)
    if old:
        log.orphans_kept("spool", files=old, remedy="restore the database that knew them, or delete them")
    log.orphans_swept("spool", orphans=deleted)
    return deleted


def _owners(directory: Path, relative: str) -> dict[str, str]:
    """Return the files of one directory with the path under which a record would know each. Other files are not ours."""
    return {name: f"{relative}/{owner}" for name in os.listdir(directory) for owner in _owner(name, relative.startswith("mail"))}


def _owner(name: str, of_a_mail: bool) -> Iterator[str]:
    if not of_a_mail:
        yield name
        return
    for suffix in (".eml", *BESIDE_MAIL):
        if name.endswith(suffix):
            yield f"{name.removesuffix(suffix)}.eml"


async def _known(store: Store, paths: list[str]) -> set[str]:
    pieces = [paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE)]

    def work(tx: Transaction) -> set[str]:
        return {path for piece in pieces for path in tx.retention.known_files(piece)}

    return await store.run(work) if pieces else set()


def _by_age(directory: Path, names: list[str], since: float) -> tuple[list[str], list[str]]:
    """Return the names of the files that were written at `since` or later, and those of the older ones."""
    ours, older = list[str](), list[str]()
    for name in names:
        with contextlib.suppress(OSError):
            (ours if (directory / name).stat().st_mtime >= since else older).append(name)
    return ours, older


def _delete(directory: Path, names: list[str], started: float) -> int:
    deleted = 0
    for name in names:
        path = directory / name
        with contextlib.suppress(OSError):
            facts = path.stat()
            if facts.st_mtime < started:
                path.unlink()
                deleted += 1
                log.orphan_deleted(
                    name.partition(".")[0], path=f"{directory.parent.name}/{directory.name}/{name}", size=facts.st_size
                )
    return deleted
