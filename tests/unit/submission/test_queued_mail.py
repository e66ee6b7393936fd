"""A queued mail: one fax for each number, their ids and times, and the key of a repeated mail."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mailbridge.model import Document, QueuedMail, Recipient
from mailbridge.submission.letter.letter import Letter
from mailbridge.submission.queued_mail import queue_mail
from tests.factories import NOW, NUMBER, an_envelope

OTHER = "+972501234567"
DOCUMENT = Document(name="a.pdf", content_type="application/pdf", size=1, sha256="", path="mail/x", offset=0, length=1, pages=2)
LETTER = Letter(message_id="<1@x>", subject="s", sender=None, documents=(DOCUMENT, DOCUMENT), tags={"case": "17"})


def queued(letter: Letter = LETTER, *numbers: str, **envelope: Any) -> QueuedMail:
    recipients = tuple(Recipient(number=number, address=f"{number}@fax.local") for number in numbers or (NUMBER,))
    return queue_mail(an_envelope(recipients=recipients, **envelope), letter, 3600)


def test_each_number_gets_one_fax_in_the_order_of_the_ids() -> None:
    mail = queued(LETTER, NUMBER, OTHER, NUMBER)
    assert [fax.number for fax in mail.faxes] == [NUMBER, OTHER]
    assert mail.fax_ids == sorted(mail.fax_ids)
    assert {fax.envelope_id for fax in mail.faxes} == {mail.envelope.id}
    assert len({fax.token for fax in mail.faxes}) == 2


def test_fax_carries_what_the_letter_says() -> None:
    (fax,) = queued().faxes
    assert (fax.documents, fax.pages, fax.tags) == (LETTER.documents, 4, {"case": "17"})
    (fax,) = queued(replace(LETTER, documents=(DOCUMENT, replace(DOCUMENT, pages=None)))).faxes
    assert fax.pages is None


def test_fax_expires_after_it_is_due() -> None:
    (now,) = queued().faxes
    assert (now.due_at, now.expires_at) == (NOW, NOW + timedelta(hours=1))
    (later,) = queued(replace(LETTER, send_at=NOW + timedelta(days=2))).faxes
    assert (later.due_at, later.expires_at) == (NOW + timedelta(days=2), NOW + timedelta(days=2, hours=1))
    (past,) = queued(replace(LETTER, send_at=NOW - timedelta(days=2))).faxes
    assert (past.due_at, past.expires_at) == (NOW - timedelta(days=2), NOW + timedelta(hours=1))


def test_repeat_key_is_of_message_id_numbers_and_account() -> None:
    key = queued(LETTER, NUMBER, OTHER).repeat_key
    assert key is not None
    assert queued(LETTER, OTHER, NUMBER, OTHER).repeat_key == key
    assert queued(LETTER, NUMBER).repeat_key != key
    assert queued(LETTER, NUMBER, OTHER, account="second").repeat_key != key
    assert queued(LETTER, NUMBER, OTHER, message_id="<2@x>").repeat_key != key


@pytest.mark.parametrize("message_id", [None, ""])
def test_mail_without_a_message_id_is_never_a_repeat(message_id: str | None) -> None:
    assert queued(message_id=message_id).repeat_key is None
