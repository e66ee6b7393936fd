"""A line of the client's becomes a command and its argument. Pure."""

from __future__ import annotations

from mailbridge.errors import Refused

LONGEST = 4096  # bytes of a line; RFC 5321 section 4.5.3.1.4 asks for 512, and AUTH and ORCPT for more
LONGEST_BEFORE_EHLO = 512
TOO_LONG = "500 5.5.2 Command line too long"


def parse_command(line: bytes, *, extended: bool) -> tuple[str, str | None]:
    """Return the command in capitals, and its argument, None without one. Raises Refused (500).

    Bytes of an argument that are not UTF-8 become halves of surrogate pairs, whatever the client has said about its charset.
    """
    if len(line) > (LONGEST if extended else LONGEST_BEFORE_EHLO):
        raise Refused(TOO_LONG)
    command, _, argument = line.partition(b" ")
    if not command or not command.isascii():
        raise Refused("500 5.5.2 Error: bad syntax")
    return command.upper().decode(), argument.strip().decode("utf-8", "surrogateescape") if argument else None
