"""A read-only file whose bytes come from somewhere else than a file of their own."""

from __future__ import annotations

import io


class ReadOnlyFile(io.RawIOBase):
    """A seekable file of `size` bytes. A subclass has `_piece`, which returns the next bytes."""

    def __init__(self, size: int) -> None:
        self._size, self._position = size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position. Raises ValueError for one before the start."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # RawIOBase accepts any buffer, callers pass memoryview
        """Fill `buffer` from one piece; return the number of bytes, 0 at the end."""
        piece = self._piece(len(buffer))
        memoryview(buffer).cast("B")[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _piece(self, most: int) -> bytes | memoryview:
        """Return at most so many bytes from the position on, none at the end."""
        raise NotImplementedError
