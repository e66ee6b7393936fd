"""The key that signs document links. The store has it, so that each node opens the links of every other."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from pathlib import Path
from typing import Final

from mailbridge import log
from mailbridge.store.interface import Store

_KEY_SIZE: Final = 32  # bytes
_NAME: Final = "link key"


async def load_link_key(store: Store, state_dir: Path) -> bytes:
    """Return the key; the first call makes it. Earlier versions had it in the file `link.key`, which moves into the store.

    A file of another size has no key: anybody could sign with an empty one. It is replaced, and links that were sent end.
    Raises StoreUnavailable.
    """
    path = state_dir / "link.key"
    in_file = await asyncio.to_thread(_read, path)
    if in_file is not None and len(in_file) != _KEY_SIZE:
        log.link_key_replaced("daemon", path=str(path), size=len(in_file))
    good = in_file if in_file is not None and len(in_file) == _KEY_SIZE else None
    new = base64.b64encode(good or os.urandom(_KEY_SIZE)).decode()
    key = base64.b64decode(await store.run(lambda tx: tx.secrets.add(_NAME, new)))
    if in_file is not None and good in (None, key):
        with contextlib.suppress(OSError):
            path.unlink()
    return key


async def find_link_key(store: Store, state_dir: Path) -> bytes:
    """Return the key without storing one: a command may run as another user than the daemon. Raises StoreUnavailable."""
    stored = await store.run(lambda tx: tx.secrets.get(_NAME))
    if stored is not None:
        return base64.b64decode(stored)
    in_file = await asyncio.to_thread(_read, state_dir / "link.key")
    return in_file if in_file is not None and len(in_file) == _KEY_SIZE else os.urandom(_KEY_SIZE)


def _read(path: Path) -> bytes | None:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return None
