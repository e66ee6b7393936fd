"""Reads a document out of its mail, decoding it piece by piece, so that neither mail nor document is in memory as a whole."""

from __future__ import annotations

import io

from mailbridge.model import Document
from mailbridge.store.read_only_file import ReadOnlyFile
from mailbridge.store.transfer_encoding import decoder

# Bytes read from the mail at a time.
_CHUNK = 64 * 1024


class DocumentReader(ReadOnlyFile):
    """The decoded content of one document as a read-only file. It has no fileno, because the bytes on disk are encoded.

    After going back, it decodes from the start again.
    """

    def __init__(self, file: io.RawIOBase, document: Document) -> None:
        super().__init__(document.size)
        self._file, self._document = file, document
        self._rewind()

    def _rewind(self) -> None:
        self._file.seek(self._document.offset)
        self._remaining = self._document.length
        self._decoder = decoder(self._document.encoding)
        self._ready = memoryview(b"")  # decoded, not yet returned
        self._decoded = 0  # the position of `_ready`, in bytes

    def _piece(self, most: int) -> memoryview:
        self._decode_up_to_position()
        if not self._ready:
            self._refill()
        return self._next(most)

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
