"""Log lines: one for each event, the id first, secrets redacted."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from pathlib import Path

import pytest

from mailbridge import log


def test_a_json_line_begins_with_the_id(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("info", "json")
    log.fax_queued("fax_1", to="+97239876543", subject="שלום")
    line = capsys.readouterr().err
    assert next(iter(json.loads(line))) == "id"
    assert json.loads(line)["event"] == "fax queued"


def test_a_console_line_has_the_facts(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("info", "console")
    log.fax_failed("fax_1", reason="the line is busy", n=2)
    assert capsys.readouterr().err.endswith("warning fax_1 fax failed reason='the line is busy' n=2\n")


def test_attack_13_no_control_character_of_a_mail_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("info", "console")
    log.report_unmatched("<\x1b[2Jowned@x>", subject="a\x1b[31mb\r\nc\x9bd", files=["\x07", "שלום"], number=3, bidi="\u202eabc")
    [line] = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert line.endswith(r"""bidi='\u202eabc'""")
    assert r"'<\x1b[2Jowned@x>'" in line
    assert r"files=['\x07', 'שלום'] number=3" in line


def test_secrets_are_redacted_and_lower_levels_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("warning", "json")
    log.fax_queued("fax_1")
    log.mailbox_down("office", imap_password="hunter2")
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "hunter2" not in err


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError(errno.EPIPE, "Broken pipe")])
def test_a_log_that_cannot_be_written_loses_the_line_and_fails_nothing(
    error: OSError, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str, /) -> int:
            raise error

    log.setup("info", "json")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Broken())
        log.fax_queued("fax_1")
    log.fax_queued("fax_2")
    assert json.loads(capsys.readouterr().err)["id"] == "fax_2"


def test_lines_in_the_journal_have_their_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "journal").open("w") as journal:
        facts = os.fstat(journal.fileno())
        monkeypatch.setattr(sys, "stderr", journal)
        monkeypatch.setenv("JOURNAL_STREAM", f"{facts.st_dev}:{facts.st_ino}")
        log.setup("debug", "json")
        log.fax_polled("fax_1")
        log.fax_queued("fax_1")
        log.fax_failed("fax_1")
        log.mailbox_down("office")
        log.setup("info", "console")
        log.fax_failed("fax_1")
    lines = (tmp_path / "journal").read_text().splitlines()
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>", "<4>"]
    assert json.loads(lines[0][3:])["id"] == "fax_1"


def test_lines_elsewhere_have_none_even_if_systemd_started_the_program(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    log.setup("info", "json")
    log.fax_queued("fax_1")
    assert capsys.readouterr().err.startswith("{")
