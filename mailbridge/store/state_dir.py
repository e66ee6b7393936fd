"""The state_dir: the names of its files, the space on its disk, and the lock that only one process may hold."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from mailbridge.errors import StateLocked, StateMoved, StoreUnavailable
from mailbridge.store.disk_errors import FULL, is_full
from mailbridge.store.fsync import sync_directory

DATABASE = "mailbridge.sqlite3"
# In the state_dir while a backup is restored into it.
RESTORING = "restoring"
# In the state_dir from before its rows are committed elsewhere: `mailbridge import` has moved its content, or tried to.
MOVED = "moved"
# Seconds between attempts to lock the state_dir.
_LOCK_INTERVAL: Final = 0.05
_DATABASE_FILES: Final = (DATABASE, f"{DATABASE}-wal")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSpace:
    """The disk of the state_dir, in bytes. `database` is the size of the database with its write-ahead log."""

    free: int
    size: int
    database: int


def disk_space(state_dir: Path) -> DiskSpace:
    """Return the space on the disk of the state_dir, blocking. Raises OSError."""
    disk, database = os.statvfs(state_dir), 0
    for name in _DATABASE_FILES:
        with suppress(FileNotFoundError):
            database += (state_dir / name).stat().st_size
    return DiskSpace(free=disk.f_bavail * disk.f_frsize, size=disk.f_blocks * disk.f_frsize, database=database)


class Moved(NamedTuple):
    """Where the content of a state_dir was moved. `id` is that of the import; until it is `complete`, it may have failed."""

    id: str
    where: str
    complete: bool


def moved_to(state_dir: Path) -> Moved | None:
    """Return where the content of a state_dir was moved, None if it was not. Raises StoreUnavailable."""
    try:
        id, where, complete = (state_dir / MOVED).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreUnavailable(f"{state_dir / MOVED} cannot be read ({error})") from None
    return Moved(id, where, complete == "complete")


def mark_as_moved(state_dir: Path, moved: Moved) -> None:
    """Let no daemon start on this state_dir from now on, durably. Raises StoreUnavailable."""
    new = state_dir / f"{MOVED}.new"
    try:
        with open(new, "w", encoding="utf-8") as file:
            if os.geteuid() == 0:
                owner = state_dir.stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(f"{moved.id}\n{moved.where}\n{'complete' if moved.complete else 'begun'}\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(state_dir / MOVED)
        sync_directory(state_dir)
    except OSError as error:
        raise StoreUnavailable(f"{state_dir} cannot be marked as moved ({error.strerror})") from None


def unmark_as_moved(state_dir: Path) -> None:
    """Let a daemon start again: nothing was moved. Raises OSError."""
    (state_dir / MOVED).unlink(missing_ok=True)
    sync_directory(state_dir)


def check_not_moved(state_dir: Path) -> None:
    """Raise StateMoved if the faxes of this state_dir are somewhere else. Raises StoreUnavailable."""
    moved = moved_to(state_dir)
    if moved is not None and not moved.complete:
        raise StateMoved(f"an import of {state_dir} into {moved.where} was interrupted; run mailbridge import again")
    if moved is not None:
        raise StateMoved(
            f"mailbridge import has moved what is in {state_dir} to {moved.where}; set store.url, or choose an empty state_dir"
        )


def lock_state_dir(state_dir: Path) -> int:
    """Lock the state_dir for this process; return the descriptor that holds the lock. Raises StateLocked, StoreUnavailable.

    The kernel releases the lock when the process ends, even if killed.
    """
    try:
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if is_full(error):
            raise StoreUnavailable(f"state_dir {state_dir} cannot be written: {FULL}") from None
        raise StoreUnavailable(
            f"state_dir {state_dir} cannot be written ({error.strerror}); create it for mailbridge's user"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StateLocked(f"another mailbridge already works on {state_dir}; stop it first") from None
    return descriptor


async def lock_within(state_dir: Path, patience: float) -> int:
    """Lock the state_dir, waiting up to `patience` seconds for another process. Creates it if its parent exists."""
    # Not its parents: a wrong path is reported.
    with suppress(OSError):
        state_dir.mkdir(mode=0o700, exist_ok=True)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            return lock_state_dir(state_dir)
        except StateLocked:
            if loop.time() >= deadline:
                raise
        await asyncio.sleep(_LOCK_INTERVAL)
