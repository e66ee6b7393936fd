"""A document that is verified while it is uploaded, so that a file damaged in the spool is never faxed."""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO

from mailbridge.errors import NeedsPerson
from mailbridge.model import Document


class Damaged(NeedsPerson):
    """A document's file in the spool differs from what was accepted, or cannot be read. It must not be faxed."""


class VerifiedDocument(io.RawIOBase):
    """A document's content as a file, which ends only if its size and SHA-256 are those recorded when it was accepted.

    Otherwise `read` raises Damaged instead of returning the end. By then some bytes have left, but not the last ones, so MyFax
    never has the whole request.
    """

    def __init__(self, file: BinaryIO, document: Document) -> None:
        self._file, self._document = file, document
        self._begin()

    def _begin(self) -> None:
        self._digest, self._count = hashlib.sha256(), 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, in bytes."""
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position. The HTTP library seeks to learn the size; reading must begin at the start."""
        position = self._file.seek(offset, whence)
        if position == 0:
            self._begin()
        return position

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes. Raises Damaged if they cannot be read, or instead of the end of any other content."""
        try:
            chunk = self._file.read(size)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "it cannot be decoded"
            raise Damaged(f"its document {self._document.name} cannot be read from the spool ({why})") from None
        self._digest.update(chunk)
        self._count += len(chunk)
        ended = self._count > self._document.size or (not chunk and size != 0)
        if ended and (self._count, self._digest.hexdigest()) != (self._document.size, self._document.sha256):
            raise Damaged(f"its document {self._document.name} was damaged in the spool; send it again")
        return chunk

    def close(self) -> None:
        """Close the underlying file."""
        self._file.close()
        super().close()
