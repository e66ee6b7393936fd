"""Sync a file or a directory: fsync of a file does not make its directory entry survive a power failure."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Fsync a file or directory, blocking. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Fsync a directory, blocking, to make the names in it durable. Raises OSError."""
    sync(path)
