"""Contacts as recipients, by SMTP and by `mailbridge send`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mailbridge.errors import ControlError
from mailbridge.submission.local_submission import LocalSubmission
from tests.integration.smtp_fixtures import MAIL, USERS, connect, gateway, read_reply
from tests.wait_helpers import PATIENCE

CONTACTS = {
    "leumi": "03-9876543",
    "hapoalim": "03-9876544",
    "clalit": "04-8765432",
    "banks": ["leumi", "hapoalim"],
    "בנק": "03-9876545",
}


def test_contact_is_one_recipient_and_a_list_is_several(tmp_path: Path) -> None:
    with gateway(tmp_path, contacts=CONTACTS) as mx:
        with mx.client() as client:
            client.mail("anna@example.co.il")
            assert client.rcpt("Banks@fax.local")[0] == 250
            assert client.rcpt("leumi@fax.local")[0] == 250
            assert client.rcpt("clalit@fax.local")[0] == 250
            assert client.data(MAIL)[0] == 250
        numbers = ["+97239876543", "+97239876544", "+97248765432"]
        assert sorted(fax.number for fax in mx.faxes()) == numbers


def test_contact_in_hebrew(tmp_path: Path) -> None:
    with gateway(tmp_path, contacts=CONTACTS) as mx:
        connection = connect(mx.port, b"EHLO x", b"MAIL FROM:<anna@example.co.il> SMTPUTF8")
        connection.sendall("RCPT TO:<בנק@fax.local>\r\n".encode())
        assert read_reply(connection).startswith(b"250 ")
        connection.sendall("RCPT TO:<בנקק@fax.local>\r\n".encode())
        assert "did you mean בנק?" in read_reply(connection).decode()
        connection.close()


def test_unknown_and_forbidden_contacts_are_refused(tmp_path: Path) -> None:
    contacts = {**CONTACTS, "votes": "1-900-123456", "mixed": ["leumi", "votes"]}
    with gateway(tmp_path, contacts=contacts) as mx, mx.client() as client:
        client.mail("anna@example.co.il")
        assert client.rcpt("hapoallim@fax.local") == (
            550,
            b"5.1.1 No contact here has the name hapoallim; did you mean hapoalim?",
        )
        assert client.rcpt("mixed@fax.local")[1][:5] == b"5.7.1"
        assert client.docmd("DATA")[0] == 503


def test_numbers_of_a_list_count_as_recipients_and_to_the_daily_limit(tmp_path: Path) -> None:
    with gateway(tmp_path, {"max_recipients": 2}, contacts=CONTACTS, user=USERS) as mx, mx.client() as client:
        client.mail("anna@example.co.il")
        assert client.rcpt("clalit@fax.local")[0] == 250
        status, words = client.rcpt("banks@fax.local")
        assert (status, words[:5]) == (452, b"4.5.3")
        assert client.rcpt("leumi@fax.local")[0] == 250
        assert client.data(MAIL)[0] == 250
        assert len(mx.faxes()) == 2
    with gateway(tmp_path / "limit", contacts={**CONTACTS, "all": ["banks", "clalit"]}, user=USERS) as mx, mx.client() as client:
        client.login("anna", "secret")
        client.mail("anna@example.co.il")
        assert client.rcpt("all@fax.local")[1][:5] == b"4.7.1"
        assert client.rcpt("banks@fax.local")[0] == 250


def test_send_takes_a_contact_but_no_list(tmp_path: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield MAIL

    with gateway(tmp_path, contacts=CONTACTS) as mx:
        local = LocalSubmission(mx.service.admission, mx.service.acceptance, "fax.local", 10_000)

        def send(name: str) -> dict[str, Any]:
            sent = local.send(numbers=[name], sender="root@mx.test", body=body())
            return asyncio.run_coroutine_threadsafe(sent, mx.loop).result(PATIENCE)

        assert send("Clalit")["reply"].startswith("250 2.0.0 queued as fax_")
        with pytest.raises(ControlError, match=r"^banks is a list of several numbers; send a mail to it"):
            send("banks")
        with pytest.raises(ControlError, match=r"^No contact here has the name clalitt; did you mean clalit\?"):
            send("clalitt")
        assert [fax.number for fax in mx.faxes()] == ["+97248765432"]
