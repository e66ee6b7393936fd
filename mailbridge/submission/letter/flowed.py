"""Text whose lines were wrapped by the sender's mail program, joined to paragraphs again (RFC 3676, format=flowed). Pure."""

from __future__ import annotations

_SIGNATURE = "-- "


def join_flowed(text: str, delete_space: bool) -> str:
    """Return the text with one line for each paragraph; quoted lines keep one `>` for each level of quotation.

    A line that ends with a space goes on in the next, unless that one has another level of quotation or begins a signature.
    `delete_space` is the parameter DelSp: the space at a line's end is not part of the text.
    """
    paragraphs: list[tuple[int, list[str]]] = []
    goes_on = False
    for raw in text.replace("\r\n", "\n").split("\n"):
        line = raw.lstrip(">")
        level = len(raw) - len(line)
        # A space is put before a line that begins with a space, "From " or ">" (section 4.4).
        line = line.removeprefix(" ")
        if line == _SIGNATURE:
            paragraphs.append((level, [line]))
            goes_on = False
            continue
        if goes_on and paragraphs[-1][0] == level:
            paragraphs[-1][1].append(line)
        else:
            paragraphs.append((level, [line]))
        goes_on = line.endswith(" ")
        if goes_on and delete_space:
            paragraphs[-1][1][-1] = line[:-1]
    return "\n".join(_written(level, "".join(lines)) for level, lines in paragraphs)


def _written(level: int, paragraph: str) -> str:
    return f"{'>' * level} {paragraph}" if level else paragraph
