"""A document read out of its mail: decoded while it is read, so that neither mail nor document is held whole."""

from __future__ import annotations

import binascii
import io
from typing import Protocol

from mailbridge.model import Document

_CHUNK = 64 * 1024
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))


class Decoder(Protocol):
    """Decodes one body piece by piece; `last` marks the end of the body."""

    def decode(self, data: bytes, last: bool) -> bytes:
        """Return what can be decoded by now."""


class Identity:
    """7bit, 8bit and binary: bytes as they are (RFC 2045 section 6.2)."""

    def decode(self, data: bytes, last: bool) -> bytes:
        """Return `data`."""
        return data


class Base64:
    """Base64 as mail clients write it: foreign bytes are skipped, padding ends it, missing padding is forgiven (RFC 2045 6.8)."""

    def __init__(self) -> None:
        self._rest = b""
        self._ended = False

    def decode(self, data: bytes, last: bool) -> bytes:
        """Return the decoded whole quads; at the end also a broken one, as far as it goes."""
        if self._ended:
            return b""
        clean = self._rest + data.translate(None, _NOT_BASE64)
        end = clean.find(b"=")
        # One '=' may stand within a quad that is still to come: it says the same as the end.
        self._ended = last or end >= 0
        if end >= 0:
            clean = clean[:end]
        if not self._ended:
            whole = len(clean) & ~3
            self._rest = clean[whole:]
            return binascii.a2b_base64(clean[:whole])
        if len(clean) % 4 == 1:
            clean = clean[:-1]
        return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))


class QuotedPrintable:
    """Quoted-printable, decoded line by line (RFC 2045 section 6.7)."""

    def __init__(self) -> None:
        self._rest = b""

    def decode(self, data: bytes, last: bool) -> bytes:
        """Return the decoded whole lines; at the end, and from a line without end, what there is."""
        data = self._rest + data
        cut = len(data) if last else data.rfind(b"\n") + 1
        if cut == 0 and len(data) > _CHUNK:
            # Never between the characters of an escape, nor before what may be a soft line break.
            cut = data.rfind(b"=", len(data) - 3)
            cut = len(data) if cut < 0 else cut
        self._rest = data[cut:]
        return binascii.a2b_qp(data[:cut])


def decoder(encoding: str) -> Decoder:
    """Return a fresh decoder for a Document's encoding."""
    if encoding == "base64":
        return Base64()
    return QuotedPrintable() if encoding == "quoted-printable" else Identity()


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
