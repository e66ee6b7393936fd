"""Lines of one length, as base64 has them: what is done with their ends takes a tenth of the time of a search for each. Pure."""

from __future__ import annotations


def equal_lines(data: bytes, start: int, end: int) -> int:
    """Return the length, with CR LF, of the lines between `start` and `end` if it is the same of all, else 0.

    A line may have more line ends inside.
    """
    length = data.find(b"\n", start, end) + 1 - start
    if length < 2 or (end - start) % length:
        return 0
    lines = (end - start) // length
    ends = data[start + length - 2 : end : length], data[start + length - 1 : end : length]
    return length if ends == (b"\r" * lines, b"\n" * lines) else 0


def without_line_ends(data: bytes) -> bytes:
    """Return the data without any CR and LF."""
    length = data.find(b"\n") + 1
    end = length * max(0, len(data) // length - 1) if length else 0  # the last lines are shorter
    if end and equal_lines(data, 0, end):
        lines = bytearray(data[:end])
        del lines[length - 1 :: length]
        del lines[length - 2 :: length - 1]
        if b"\r" not in lines and b"\n" not in lines:
            return bytes(lines) + data[end:].translate(None, b"\r\n")
    return data.translate(None, b"\r\n")


def has_crlf_alone(data: bytes, head: int, tail: int) -> bool:
    """Return whether each CR and each LF is of a CR LF.

    Lines of one length are looked for from the first line end behind `head` bytes to the last one before `tail` bytes.
    """
    start = data.find(b"\n", head) + 1
    end = data.rfind(b"\n", start, -tail) + 1
    if start and end > start and (length := equal_lines(data, start, end)):
        lines = bytearray(data[start:end])
        lines[length - 2 :: length] = lines[length - 1 :: length] = bytes((end - start) // length)
        if b"\r" not in lines and b"\n" not in lines:
            data = data[:start] + data[end:]
    breaks = data.count(b"\n")
    return breaks == data.count(b"\r") == data.count(b"\r\n")
