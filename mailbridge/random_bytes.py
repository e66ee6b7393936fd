"""Random bytes from the kernel, many at a time.

Each read gives up the interpreter's lock, which the store's thread then takes, and the event loop waits for it. A mail had four.
"""

from __future__ import annotations

import os
from typing import Final

SIZE: Final = 10  # bytes
_ready: list[bytes] = []  # that nobody has had
os.register_at_fork(after_in_child=_ready.clear)


def random_bytes() -> bytes:
    """Return SIZE random bytes, in any thread."""
    try:
        return _ready.pop()
    except IndexError:
        fresh = os.urandom(64 * SIZE)
        first, *others = [fresh[at : at + SIZE] for at in range(0, len(fresh), SIZE)]
        _ready.extend(others)
        return first
