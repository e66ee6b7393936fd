"""A document read out of its mail: decoded while it is read, so that neither mail nor document is held whole."""

from __future__ import annotations

import io

from mailbridge.model import Document
from mailbridge.store.transfer_encoding import decoder

_CHUNK = 64 * 1024


class DocumentReader(io.RawIOBase):
    """The decoded content of one document as a read-only file. It has no fileno: its bytes on disk are other bytes."""

    def __init__(self, file: io.FileIO, document: Document) -> None:
        self._file, self._document = file, document
        self._position = 0
        self._rewind()

    def _rewind(self) -> None:
        self._file.seek(self._document.offset)
        self._left = self._document.length
        self._decoder = decoder(self._document.encoding)
        self._ready = memoryview(b"")
        self._decoded = 0

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
        """Set the position; nothing is decoded until the next read. Going back means decoding from the start again."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._document.size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # narrower than any buffer, and all that is asked for
        """Fill `buffer` as far as one decoded piece goes; 0 at the end."""
        self._catch_up()
        if not self._ready and not self._refill():
            return 0
        taken = self._take(len(buffer))
        memoryview(buffer).cast("B")[: len(taken)] = taken
        self._position += len(taken)
        return len(taken)

    def _catch_up(self) -> None:
        if self._position < self._decoded:
            self._rewind()
        while self._decoded < self._position and (self._ready or self._refill()):
            self._take(self._position - self._decoded)

    def _take(self, count: int) -> memoryview:
        taken, self._ready = self._ready[:count], self._ready[count:]
        self._decoded += len(taken)
        return taken

    def _refill(self) -> bool:
        while self._left > 0 and not self._ready:
            data = self._file.read(min(_CHUNK, self._left)) or b""
            self._left = self._left - len(data) if data else 0
            self._ready = memoryview(self._decoder.decode(data, self._left == 0))
        return bool(self._ready)

    def close(self) -> None:
        """Close the file below."""
        self._file.close()
        super().close()
