"""Orphans: files in the spool without a record, left by a crash between writing the file and its row."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from mailbridge import log
from mailbridge.store.interface import Store, Transaction
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.spool_paths import BESIDE_MAIL, SEGMENT, received_owner

# Paths in one query: SQLite accepts up to 32,766 values, and a few hundred take no longer for each.
_BATCH = 500


async def sweep(store: Store, spool: LocalSpool, started: datetime, created: datetime | None = None) -> int:
    """Delete the files last changed before `started` that belong to no mail, event or pending deletion; return how many.

    `created` is when the database was created. An older file was not left by a crash: an earlier database was lost, and the file
    may be all that is left of an accepted mail. Such files are kept, and a warning says how many there are.

    Call it before mail is accepted, when no file waits for its record. Raises StoreUnavailable.
    """
    deleted, kept = 0, 0
    since = 0.0 if created is None else created.timestamp()
    for directory in sorted(path for kind in ("mail", "received") for path in (spool.root / kind).iterdir() if path.is_dir()):
        owners = await asyncio.to_thread(_owners, directory, str(directory.relative_to(spool.root)))
        known = await _known(store, sorted(set(owners.values())))
        known |= await _known_segments(store, [owner for owner in owners.values() if owner.endswith(SEGMENT)])
        unknown = [name for name, owner in owners.items() if owner not in known]
        if unknown:
            orphans, older = await asyncio.to_thread(_by_age, directory, unknown, since)
            deleted += await asyncio.to_thread(_delete, directory, orphans, started.timestamp())
            kept += len(older)
    if kept:
        log.orphans_kept("spool", files=kept, remedy="restore the database that they belong to, or delete them")
    log.orphans_swept("spool", orphans=deleted)
    return deleted


def _owners(directory: Path, relative: str) -> dict[str, str]:
    """Return the mailbridge files in a directory, each with the path that its record would have."""
    return {name: f"{relative}/{owner}" for name in os.listdir(directory) for owner in _owner(name, relative.startswith("mail"))}


def _owner(name: str, is_mail: bool) -> Iterator[str]:
    if not is_mail:
        yield received_owner(name)
        return
    if name.endswith(SEGMENT):
        yield name
    for suffix in (".eml", *BESIDE_MAIL):
        if name.endswith(suffix):
            yield f"{name.removesuffix(suffix)}.eml"


async def _known(store: Store, paths: list[str]) -> set[str]:
    batches = [paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH)]

    def work(tx: Transaction) -> set[str]:
        return {path for batch in batches for path in tx.retention.known_files(batch)}

    return await store.run(work) if batches else set()


async def _known_segments(store: Store, paths: list[str]) -> set[str]:
    return await store.run(lambda tx: tx.retention.known_segments(paths)) if paths else set()


def _by_age(directory: Path, names: list[str], since: float) -> tuple[list[str], list[str]]:
    """Return the files changed at `since` (seconds since 1970) or later, and the older ones."""
    newer, older = list[str](), list[str]()
    for name in names:
        with contextlib.suppress(OSError):
            (newer if (directory / name).stat().st_mtime >= since else older).append(name)
    return newer, older


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
