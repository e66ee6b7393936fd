"""The headers of a letter: authors, X-Mailbridge headers, and marks of automatic mail."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailbridge.page import text_page as page
from tests.unit.submission.letter.letter_fixtures import mail, read, refused


def test_authors_are_every_address_of_from(tmp_path: Path) -> None:
    letter = read(tmp_path, b"From: Anna <anna@x.il>, bob@x.il\r\n\r\nhello")
    assert (letter.sender, letter.authors) == ("anna@x.il", ("anna@x.il", "bob@x.il"))


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (b"From: =?utf-8?q?boss=40corp.il?=\r\nFrom: scanner@example.co.il", "more than one From"),
        (b"From: scanner@example.co.il\r\nfrom: scanner@example.co.il", "more than one From"),
        (b"From: =?utf-8?q?boss=40corp.il?=", "cannot be read"),
        (b"From: a@" + b"(" * 3000, "cannot be read"),
        (b"From: " + b"a:" * 1900 + b" a@x.il", "cannot be read"),
        (b"From: =?utf-8?b?Ym9zc0Bjb3JwLmls?=", "cannot be read"),
        (b"From: " + b"x" * 4000 + b" <scanner@example.co.il>", "longer than 4000"),
        (b"From: " + b"\r\n ".join([b"x" * 900] * 5) + b" <boss@corp.il>", "longer than 4000"),
    ],
)
def test_attack_11_a_from_that_cannot_be_checked_is_refused(tmp_path: Path, field: bytes, words: str) -> None:
    assert words in refused(tmp_path, field + b"\r\nSubject: pay\r\n\r\nplease pay\r\n")


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("Scanner <scanner@example.co.il>", "Scanner <scanner@example.co.il>"),
        ("scanner@example.co.il", "scanner@example.co.il"),
        ('"boss@corp.il" <scanner@example.co.il>', "scanner@example.co.il"),
        ("=?utf-8?q?boss=40corp.il?= <scanner@example.co.il>", "scanner@example.co.il"),
        ("scanner@example.co.il, =?utf-8?q?boss=40corp.il?=", "scanner@example.co.il"),
        ("=?utf-8?b?16HXldeo16c=?= <scanner@example.co.il>, b@x.il", "סורק <scanner@example.co.il>, b@x.il"),
        ("root (Cron Daemon)", "root (Cron Daemon)"),
        ("MAILER-DAEMON", "MAILER-DAEMON"),
    ],
)
def test_attack_11_the_page_shows_the_address_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, line: str
) -> None:
    shown, render = [], page.render

    def record(text: str, subject: str, sender: str, *more: Any, **options: Any) -> tuple[bytes, int]:
        shown.append(sender)
        return render(text, subject, sender, *more, **options)

    monkeypatch.setattr(page, "render", record)
    read(tmp_path, f"From: {field}\r\nSubject: pay\r\n\r\nplease pay\r\n".encode())
    assert shown == [line]


def test_recipients_in_nested_groups_or_comments_are_not_shown(tmp_path: Path) -> None:
    for field in (b"(" * 3000, b"a:" * 1900):
        assert read(tmp_path, b"From: a@x.il\r\nTo: " + field + b"\r\n\r\nplease pay\r\n").documents


def test_headers_of_a_letter_are_read(tmp_path: Path) -> None:
    headers = {"X_Mailbridge_Account": "law", "X_Mailbridge_Send_At": "2026-01-04T09:00:00+02:00", "X_Mailbridge_Tag": "case=1=2"}
    letter = read(tmp_path, mail("x", Message_ID="<1@x>", Received="by y", **headers))
    assert (letter.account, letter.tags, letter.received_count) == ("law", {"case": "1=2"}, 1)
    assert letter.send_at == datetime(2026, 1, 4, 7, tzinfo=UTC)
    assert (letter.message_id, letter.subject, letter.sender) == ("<1@x>", "נושא", "office@example.co.il")


def test_tag_encoded_together_with_its_key_is_read(tmp_path: Path) -> None:
    message = mail("x")
    message["X-Mailbridge-Tag"] = "תיק=חוזה 7"
    message["X-Mailbridge-Tag"] = "client=דנה"
    assert b"\nX-Mailbridge-Tag: =?utf-8?" in message.as_bytes()
    assert read(tmp_path, message).tags == {"תיק": "חוזה 7", "client": "דנה"}


def test_half_a_character_in_a_subject_or_a_tag_is_replaced(tmp_path: Path) -> None:
    letter = read(tmp_path, b"Subject: =?utf-7?q?a+2AA-?=\r\nX-Mailbridge-Tag: k==?utf-7?q?b+2AA-?=\r\n\r\nhello\r\n")
    assert (letter.subject, letter.tags) == ("a\ufffd", {"k": "b\ufffd"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Page", "often"),
        ("Send-At", "soon"),
        ("Send-At", "2026-01-04T09:00:00"),
        ("Send-At", "9999-12-31T23:59:59+00:00"),
        ("Tag", "k"),
    ],
)
def test_invalid_mailbridge_header_is_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    reply = refused(tmp_path, mail("x", **{f"X-Mailbridge-{name}": value}))
    assert reply.startswith(f"554 5.6.0 The header X-Mailbridge-{name}")


def test_automatic_mails_and_mail_loops_are_recognized(tmp_path: Path) -> None:
    assert read(tmp_path, mail("x", Auto_Submitted="auto-replied; x=y")).auto_submitted
    assert not read(tmp_path, mail("x", Auto_Submitted="no")).auto_submitted
    assert read(tmp_path, mail("x", X_Mailbridge_Loop="gw")).mail_loop


@pytest.mark.parametrize(
    ("fields", "date", "recipient"),
    [
        (b"Date: Thu, 26 Nov 2026 10:12:31 +0200\nTo: 03-9876543@fax.local", "26/11/2026 10:12", "03-9876543"),
        (b"Date: today\nTo: =?utf-8?b?16HXldeo16c=?= <clalit@fax.local>, a@b", "today", "סורק clalit, a"),
        (b"Date: Thu, 99 Nov 2026 99:12 +9999\nTo: undisclosed-recipients:;", "Thu, 99 Nov 2026 99:12 +9999", ""),
        (b"To: 03-9876543@fax.local <03-9876543@fax.local>", "", "03-9876543"),
        (b"X-A: b", "", ""),
    ],
)
def test_page_shows_date_and_recipient_as_a_reader_knows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: bytes, date: str, recipient: str
) -> None:
    shown, render = [], page.render

    def record(text: str, subject: str, sender: str, *more: str, **options: Any) -> tuple[bytes, int]:
        shown.append(more)
        return render(text, subject, sender, *more, **options)

    monkeypatch.setattr(page, "render", record)
    read(tmp_path, b"From: a@b.example\n" + fields + b"\n\nPlease deliver 20 boxes\n")
    assert shown == [(date, recipient)]
