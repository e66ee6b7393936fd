"""Lines of the client become commands."""

from __future__ import annotations

import pytest

from mailbridge.errors import Refused
from mailbridge.submission.command_line import LONGEST, LONGEST_BEFORE_EHLO, parse_command


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"QUIT", ("QUIT", None)),
        (b"quit ", ("QUIT", None)),
        (b"mail FROM:<a@b> ", ("MAIL", "FROM:<a@b>")),
        (b"EHLO  a b", ("EHLO", "a b")),
        (b"HELO \xd7\xa9", ("HELO", "ש")),
        (b"HELO \xff", ("HELO", "\udcff")),
        (b" NOOP", None),
        (b"", None),
        (b"MA\xe4L x", None),
    ],
)
def test_line_becomes_a_command_and_its_argument(line: bytes, command: tuple[str, str | None] | None) -> None:
    if command is None:
        with pytest.raises(Refused, match="bad syntax"):
            parse_command(line, extended=True)
    else:
        assert parse_command(line, extended=True) == command


@pytest.mark.parametrize(("extended", "longest"), [(True, LONGEST), (False, LONGEST_BEFORE_EHLO)])
def test_line_is_as_long_as_the_greeting_allows(extended: bool, longest: int) -> None:
    assert parse_command(b"NOOP ".ljust(longest, b"x"), extended=extended)[0] == "NOOP"
    with pytest.raises(Refused, match="too long"):
        parse_command(b"NOOP ".ljust(longest + 1, b"x"), extended=extended)
