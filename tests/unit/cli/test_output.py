"""Tables on a terminal and in a pipe."""

from __future__ import annotations

import io
import sys
from zoneinfo import ZoneInfo

import pytest

from mailbridge.cli.output import local, plain, print_table, short_id

ID = "fax_01M87C14PBQ5WTSC4GKPEBFKJX"
REASON = "the recipient's line was busy each time, and nobody answered the last call"
ROWS = [(ID, "failed", REASON)]


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


def table(monkeypatch: pytest.MonkeyPatch, stdout: io.StringIO, columns: int | None) -> list[str]:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", stdout)
    print_table(("ID", "STATE", "REASON"), ROWS, "no faxes", prose=("REASON",))
    return stdout.getvalue().splitlines()


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_prose_goes_below_its_row_on_a_narrow_terminal_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    head, below, rule, first, *others = table(monkeypatch, Terminal(), columns)
    assert (head.split(), below.split(), set(rule)) == (["ID", "STATE"], ["REASON"], {"-"})
    assert first.split() == [ID, "failed"]
    assert [word for line in others for word in line.split()] == REASON.split()
    assert max(map(len, [head, below, rule, first, *others])) <= columns


def test_last_columns_go_below_too_if_the_others_are_still_too_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, _, first, second, *_ = table(monkeypatch, Terminal(), 36)
    assert (first, second.split()[:2]) == (ID, ["failed", "·"])


def test_table_that_fits_has_one_line_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    head, row = table(monkeypatch, Terminal(), 130)
    assert (head.split(), row.split()[:2]) == (["ID", "STATE", "REASON"], [ID, "failed"])


def test_row_is_one_line_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    _, row = table(monkeypatch, io.StringIO(), None)
    assert (row.split()[0], REASON in row) == (ID, True)


def test_ids_are_short_on_a_terminal_and_whole_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert (short_id(ID), short_id(None)) == ("KPEBFKJX", "-")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert short_id(ID) == ID


def test_words_that_are_too_long_are_cut_and_wide_letters_count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stdout = Terminal()
    monkeypatch.setattr(sys, "stdout", stdout)
    print_table(("ID", "TEXT"), [("x", "傳真" * 40)], "", prose=("TEXT",))
    pieces = stdout.getvalue().splitlines()[4:]
    assert "".join(piece.strip() for piece in pieces) == "傳真" * 40
    assert max(len(piece.strip()) * 2 + 10 for piece in pieces) <= 40


def test_times_are_local_and_name_their_zone() -> None:
    zone = ZoneInfo("Asia/Jerusalem")
    assert local("2026-01-04T07:00:00.123+00:00", zone) == "2026-01-04 09:00:00 IST"
    assert local("2026-07-04T06:00:00+00:00", zone) == "2026-07-04 09:00:00 IDT"
    assert local(None, zone) == "-"


def test_sentence_instead_of_an_empty_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("ID",), [], "no faxes")
    assert capsys.readouterr().out == "no faxes\n"


@pytest.mark.parametrize(("value", "shown"), [(None, "-"), ("", "-"), (3, "3"), ("a\x1b[31mb\u202e", "a�[31mb�")])
def test_plain_text_of_a_value(value: object, shown: str) -> None:
    assert plain(value) == shown
