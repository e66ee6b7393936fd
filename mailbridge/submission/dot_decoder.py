"""The byte stream of DATA: where it ends, and which of its dots are content (RFC 5321 sections 4.1.1.4 and 4.5.2). Pure."""

from __future__ import annotations

from mailbridge.store.equal_lines import has_crlf_alone

_END = b"\r\n.\r\n"
# A search for one byte is many times quicker than one for three, as long as it finds little. Nor are many dots taken one by one.
_FEW_DOTS = 40
# The lines of a mail's headers and of its last boundary differ in length; those of base64 between them do not.
_HEAD, _TAIL = 4096, 1024


class DotDecoder:
    """Finds the end of data and removes the stuffed dots, however the stream is cut.

    Only CR LF . CR LF ends a mail. A bare CR or LF never does, so no variant of the end smuggles in a second mail. It becomes
    CR LF in the output, because scripts, old scanners and some mail libraries still send bare LF. CR CR LF, which some programs
    on Windows send, becomes one CR LF.
    `size` counts the bytes of content so far. `line_ends_changed` says that a line end of the content was changed.
    """

    __slots__ = ("_carry", "_held", "_started", "line_ends_changed", "size")

    def __init__(self) -> None:
        # As if a line had just ended: a mail may begin with its end, or with a stuffed dot.
        self._carry = b"\r\n"
        # A CR of the content that may belong to the CR LF which is carried over.
        self._held = b""
        self._started = False
        self.size = 0
        self.line_ends_changed = False

    def feed(self, chunk: bytes) -> tuple[bytes, bytes | None]:
        """Return the content in `chunk`, and the bytes after the end of data, None before the end."""
        buffer = self._carry + chunk if self._carry else chunk
        self._carry = b""
        pieces, rest = self._split(buffer) if b"." in buffer else ([self._carry_over(buffer, 0)], None)
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if not self._started and len(content) >= 2:
            content, self._started = content[2:], True
        content = self._held + content if self._held else content
        self._held = b"\r" if rest is None and content.endswith(b"\r") else b""
        if self._held:
            content = content[:-1]
        if not has_crlf_alone(content, _HEAD, _TAIL):
            self.line_ends_changed = True
            content = content.replace(b"\r\r\n", b"\r\n").replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        self.size += len(content)
        return content, rest

    def _split(self, buffer: bytes) -> tuple[list[bytes], bytes | None]:
        pieces: list[bytes] = []
        start = 0
        while (found := _find_line_dot(buffer, start)) >= 0:
            if len(pieces) == _FEW_DOTS:
                return self._split_many(pieces, buffer[start:])
            after = buffer[found + 3 : found + 5]
            if after == b"\r\n":
                pieces.append(buffer[start : found + 2])
                return pieces, buffer[found + 5 :]
            if after in (b"", b"\r"):
                pieces.append(buffer[start:found])
                self._carry = buffer[found:]
                return pieces, None
            pieces.append(buffer[start : found + 2])
            start = found + 3
        pieces.append(self._carry_over(buffer, start))
        return pieces, None

    def _split_many(self, pieces: list[bytes], buffer: bytes) -> tuple[list[bytes], bytes | None]:
        """Split the rest of a buffer in which many lines begin with a dot: one by one they would hold the event loop."""
        end = buffer.find(_END)
        if end >= 0:
            pieces.append(buffer[: end + 2].replace(b"\r\n.", b"\r\n"))
            return pieces, buffer[end + 5 :]
        unsure = next((length for length in (4, 3, 2, 1) if buffer.endswith(_END[:length])), 0)
        self._carry = buffer[len(buffer) - unsure :]
        pieces.append(buffer[: len(buffer) - unsure].replace(b"\r\n.", b"\r\n"))
        return pieces, None

    def _carry_over(self, buffer: bytes, start: int) -> bytes:
        """Return `buffer` from `start`, and carry over to the next chunk what may be the beginning of the end of data."""
        end = len(buffer)
        for length in (2, 1):
            if end - start >= length and buffer.endswith(_END[:length]):
                end -= length
                break
        self._carry = buffer[end:]
        return buffer[start:end]


def _find_line_dot(buffer: bytes, start: int) -> int:
    """The same as `buffer.find(b"\\r\\n.", start)`, but quicker where there are few dots."""
    after = start + 2
    for _ in range(_FEW_DOTS):
        dot = buffer.find(b".", after)
        if dot < 0 or buffer[dot - 2 : dot] == b"\r\n":
            return dot - 2 if dot >= 0 else dot
        after = dot + 1
    return buffer.find(b"\r\n.", after - 2)
