"""Tables on a terminal and in a pipe."""

from __future__ import annotations

import io
import sys

import pytest

from mailbridge.cli.output import plain, print_table

ID = "fax_01M87C14PBQ5WTSC4GKPEBFKJX"
REASON = "the recipient's line was busy each time, and nobody answered the last call"
ROWS = [(ID, "failed", REASON)]


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


def table(monkeypatch: pytest.MonkeyPatch, stdout: io.StringIO, columns: int) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", stdout)
    print_table(("ID", "STATE", "REASON"), ROWS, "no faxes", prose=("REASON",))
    return stdout.getvalue().splitlines()


@pytest.mark.parametrize("columns", [20, 60, 80])
def test_only_prose_wraps_on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    head, first, *others = table(monkeypatch, Terminal(), columns)
    assert head.split() == ["ID", "STATE", "REASON"]
    assert first.split()[:2] == [ID, "failed"]
    assert others, "the reason takes several lines"
    words = [*first.split()[2:], *(word for line in others for word in line.split())]
    assert words == REASON.split()


def test_row_is_one_line_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    _, row = table(monkeypatch, io.StringIO(), 20)
    assert (row.split()[0], REASON in row) == (ID, True)


def test_sentence_instead_of_an_empty_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("ID",), [], "no faxes")
    assert capsys.readouterr().out == "no faxes\n"


@pytest.mark.parametrize(("value", "shown"), [(None, "-"), ("", "-"), (3, "3"), ("a\x1b[31mb\u202e", "a�[31mb�")])
def test_plain_text_of_a_value(value: object, shown: str) -> None:
    assert plain(value) == shown
