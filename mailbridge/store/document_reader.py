"""Reads a document out of its mail, decoding it piece by piece, so that neither mail nor document is in memory as a whole."""

from __future__ import annotations

import io

from mailbridge.model import Document
from mailbridge.store.transfer_encoding import decoder

# Bytes read from the mail at a time.
_CHUNK = 64 * 1024


class DocumentReader(io.RawIOBase):
    """The decoded content of one document as a read-only file. It has no fileno, because the bytes on disk are encoded."""

    def __init__(self, file: io.RawIOBase, document: Document) -> None:
        self._file, self._document = file, document
        self._position = 0
        self._rewind()

    def _rewind(self) -> None:
        self._file.seek(self._document.offset)
        self._remaining = self._document.length
        self._decoder = decoder(self._document.encoding)
        self._ready = memoryview(b"")  # decoded, not yet returned
        self._decoded = 0  # the position of `_ready`, in bytes

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in the decoded content, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position. The next read decodes up to it; after going back, it decodes from the start again."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._document.size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # RawIOBase accepts any buffer, callers pass memoryview
        """Fill `buffer` from one decoded piece; return the number of bytes, 0 at the end."""
        self._decode_up_to_position()
        if not self._ready and not self._refill():
            return 0
        piece = self._next(len(buffer))
        memoryview(buffer).cast("B")[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _decode_up_to_position(self) -> None:
        if self._position < self._decoded:
            self._rewind()
        while self._decoded < self._position and (self._ready or self._refill()):
            self._next(self._position - self._decoded)

    def _next(self, count: int) -> memoryview:
        """Return up to `count` bytes of what is decoded."""
        piece, self._ready = self._ready[:count], self._ready[count:]
        self._decoded += len(piece)
        return piece

    def _refill(self) -> bool:
        while self._remaining > 0 and not self._ready:
            data = self._file.read(min(_CHUNK, self._remaining)) or b""
            self._remaining = self._remaining - len(data) if data else 0
            self._ready = memoryview(self._decoder.decode(data, self._remaining == 0))
        return bool(self._ready)

    def close(self) -> None:
        """Close the mail's file."""
        self._file.close()
        super().close()
