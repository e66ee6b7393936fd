"""Restores a backup into an empty state_dir.

A backup is older than what happened after it: a fax that it has as queued may have been sent since, and sending it again would
cost money and annoy its recipient. So every fax that was not yet accepted by MyFax is put in doubt, and nothing is sent until a
person says what became of it, or until a trusted report does.

While a restore is under way the state_dir has a file `restoring`, and no daemon starts there. An interrupted restore can be
repeated.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from mailbridge.errors import StoreUnavailable
from mailbridge.store.backup import MANIFEST, copy_file, named_files
from mailbridge.store.fsync import sync_directory
from mailbridge.store.interface import Store, Transaction
from mailbridge.store.state_dir import DATABASE, RESTORING, lock_state_dir

# The user of the service, to whom a new state_dir belongs if root restores.
_USER = "mailbridge"
# Faxes in one transaction.
_BATCH = 500


class _Owner(NamedTuple):
    uid: int
    gid: int


def restore_files(backup: Path, state_dir: Path) -> None:
    """Copy a backup into an empty state_dir, blocking and durably, and mark it as `restoring`.

    Root gives the files to the owner of the state_dir. Raises StateLocked, StoreUnavailable.
    """
    try:
        with contextlib.suppress(FileExistsError):
            state_dir.mkdir(mode=0o700)
            _give(state_dir, _owner_of_new())
        lock = lock_state_dir(state_dir)
    except OSError as error:
        raise StoreUnavailable(f"state_dir {state_dir} cannot be created ({error.strerror})") from None
    try:
        strange = {path.name for path in state_dir.iterdir()} - {"lock"}
        if strange and RESTORING not in strange:
            raise StoreUnavailable(f"{state_dir} is not empty ({', '.join(sorted(strange)[:3])} …); move its content away first")
        _copy(backup, state_dir)
    except OSError as error:
        raise StoreUnavailable(f"the restore failed ({error.strerror}); repeat it when the fault is corrected") from None
    finally:
        os.close(lock)


def _copy(backup: Path, state_dir: Path) -> None:
    owner = _Owner(state_dir.stat().st_uid, state_dir.stat().st_gid)
    (state_dir / RESTORING).touch(mode=0o600)
    sync_directory(state_dir)
    # A start makes write-ahead files of its own, and those of an interrupted restore belong to another copy.
    for leftover in state_dir.glob(f"{DATABASE}*"):
        leftover.unlink()
    for name in _names(backup):
        with contextlib.suppress(FileNotFoundError):
            copy_file(backup / name, state_dir / name)
    copy_file(backup / DATABASE, state_dir / DATABASE)
    for folder, _, files in os.walk(state_dir):
        for path in (Path(folder), *(Path(folder) / name for name in files)):
            _give(path, owner)
    os.sync()


def _names(backup: Path) -> list[str]:
    """Return the files of a backup without its database: as its manifest says, or as the database names them."""
    try:
        names = json.loads((backup / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return [f"spool/{path}" for path, _ in named_files(backup / DATABASE)]
    return [name for name in names if name != DATABASE and ".." not in Path(name).parts and not Path(name).is_absolute()]


def _owner_of_new() -> _Owner:
    with contextlib.suppress(KeyError):
        if os.geteuid() == 0:
            user = pwd.getpwnam(_USER)
            return _Owner(user.pw_uid, user.pw_gid)
    return _Owner(os.geteuid(), os.getegid())


def _give(path: Path, owner: _Owner) -> None:
    if os.geteuid() == 0:
        os.chown(path, owner.uid, owner.gid)


async def hold_unsent(store: Store, now: datetime) -> list[str]:
    """Put every fax in doubt that MyFax had not accepted when the backup was made; return their ids. Raises StoreUnavailable."""

    def work(tx: Transaction) -> list[str]:
        held = []
        for fax in (*tx.faxes.newest("uploading", _BATCH), *tx.faxes.newest("queued", _BATCH)):
            if fax.state == "queued":
                tx.faxes.transition(fax.id, "claim", now, source=None)
            tx.faxes.transition(fax.id, "lose", now, source="person", restored_at=now)
            held.append(fax.id)
        return held

    ids: list[str] = []
    while held := await store.run(work):
        ids += held
    return sorted(ids)


def finish(state_dir: Path) -> None:
    """Let a daemon start on the restored state. Raises StoreUnavailable."""
    try:
        owner = state_dir.stat()
        for path in state_dir.iterdir():
            _give(path, _Owner(owner.st_uid, owner.st_gid))
        (state_dir / RESTORING).unlink(missing_ok=True)
        sync_directory(state_dir)
    except OSError as error:
        raise StoreUnavailable(f"the restore failed ({error.strerror}); repeat it when the fault is corrected") from None
