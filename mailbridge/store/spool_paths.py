"""The names of what is in the spool. A worker imports this module, and nothing that opens files or the database.

A mail is a file of its own, or a stretch of a segment, which has many mails. The path of a stretch is that of its segment with
the stretch behind it: `mail/3f/seg_01J….segment/8192-20480` are 20,480 bytes from byte 8,192 on.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

DERIVED: Final = ".derived"  # ends the name of the file beside a mail
# Files beside a mail, which are deleted with it. Version 0.1.0 stored the page of the text as a PDF of its own.
BESIDE_MAIL: Final = (DERIVED, ".page.pdf")
SEGMENT: Final = ".segment"  # ends the name of a file with many mails
IN_MEMORY: Final = "memory"  # stands for the path of a mail that has none yet
DIRECTORIES: Final = 64
# Characters of an id such as env_01KCX9Z8…: the prefix and the time, in steps of 32.8 s.
_ID_PREFIX: Final = 11


def _directory(id: str) -> str:
    return f"{zlib.crc32(id[:_ID_PREFIX].encode()) % DIRECTORIES:02x}"


def mail_directory(id: str) -> str:
    """Return the directory of a mail or segment with this id."""
    return f"mail/{_directory(id)}"


def mail_path(id: str) -> str:
    """Return the path of the mail with this envelope id, which is a file of its own."""
    return f"{mail_directory(id)}/{id}.eml"


def received_name(fax_id: str, n: int) -> str:
    """Return the name of the nth document of a received fax, from 1. A column names the first; see `received_owner`."""
    return fax_id if n == 1 else f"{fax_id}.{n}"


def received_owner(name: str) -> str:
    """Return the name of the first document of the fax whose document this is."""
    return name.partition(".")[0]


def received_path(name: str) -> str:
    """Return the path of a received document."""
    return f"received/{_directory(name)}/{name}"


class Stretch(NamedTuple):
    """Bytes of a segment: one mail, and behind it what was derived from it."""

    segment: str  # path of the file
    start: int
    length: int

    @property
    def path(self) -> str:
        """The path that records have."""
        return f"{self.segment}/{self.start}-{self.length}"


def stretch_of(path: str) -> Stretch | None:
    """Return the stretch that a path names, None for the path of a file."""
    segment, _, place = path.rpartition("/")
    start, _, length = place.partition("-")
    if not (segment.endswith(SEGMENT) and start.isdecimal() and length.isdecimal()):
        return None
    return Stretch(segment, int(start), int(length))


def file_of(path: str) -> str:
    """Return the path of the file that has what a path names."""
    stretch = stretch_of(path)
    return path if stretch is None else stretch.segment


def derived_path(mail: str) -> str:
    """Return the path of the content derived from the mail at this path, which has a file of its own."""
    return f"{mail.removesuffix('.eml')}{DERIVED}"


def files_beside(mail: str) -> list[str]:
    """Return the paths of the files that may be beside the mail at this path; a stretch of a segment has none."""
    return [] if stretch_of(mail) else [f"{mail.removesuffix('.eml')}{suffix}" for suffix in BESIDE_MAIL]
