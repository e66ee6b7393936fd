"""The names of files in the spool. A worker imports this module, and nothing that opens files or the database."""

from __future__ import annotations

from typing import Final

DERIVED: Final = ".derived"  # ends the name of the file beside a mail


def derived_path(mail: str) -> str:
    """Return the path of the content derived from the mail at this path."""
    return f"{mail.removesuffix('.eml')}{DERIVED}"
