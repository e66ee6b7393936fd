"""What a failed write means for a person: a full disk needs room, and nothing else is a remedy."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError

FULL = "the disk is full; make room: nothing that was accepted is lost"
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Bytes: SQLite needs some 32 KiB for its first files.
_NEEDED = 1 << 16


def is_full(error: BaseException, directory: Path | None = None) -> bool:
    """Whether a failed operation on the disk or the database failed for lack of space.

    SQLite reports some of these as I/O errors. With `directory`, what is free there decides about those.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, OSError):
        return cause.errno in _FULL
    name = getattr(cause, "sqlite_errorname", "")
    if name == "SQLITE_FULL":
        return True
    return isinstance(cause, sqlite3.Error) and name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and _is_full(directory)


def _is_full(directory: Path | None) -> bool:
    """Write as much as SQLite needs, to see whether that works: free space is not all that a quota allows."""
    if directory is None:
        return False
    path = directory / "probe"
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=0) as file:
            return file.write(bytes(_NEEDED)) < _NEEDED
    except OSError as error:
        return error.errno in _FULL
    finally:
        path.unlink(missing_ok=True)


def fault(error: OSError) -> str:
    """Return what a failed system call says, with the remedy for a full disk."""
    return f"{error.strerror}; make room: nothing that was accepted is lost" if error.errno in _FULL else str(error.strerror)
