"""The state_dir: the names of its files, the space on its disk, and the lock that only one process may hold."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailbridge.errors import StateLocked, StoreUnavailable
from mailbridge.store.disk_errors import FULL, is_full

DATABASE = "mailbridge.sqlite3"
# In the state_dir while a backup is restored into it.
RESTORING = "restoring"
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
