"""The state_dir: the names of its files, and the lock that only one process may hold."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from mailbridge.errors import StateLocked, StoreUnavailable
from mailbridge.store.disk_errors import FULL, is_full

DATABASE = "mailbridge.sqlite3"
# In the state_dir while a backup is restored into it.
RESTORING = "restoring"


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
