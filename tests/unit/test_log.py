"""Log lines: one for each event, the id first, secrets redacted."""

from __future__ import annotations

import json

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


def test_secrets_are_redacted_and_lower_levels_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("warning", "json")
    log.fax_queued("fax_1")
    log.mailbox_down("office", imap_password="hunter2")
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "hunter2" not in err
