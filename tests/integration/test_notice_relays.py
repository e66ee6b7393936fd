"""Notices through real relays, read by Python's email and by flufl.bounce, a parser of bounces that nobody here wrote."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
from flufl.bounce import all_failures

from mailbridge.error_table import MEANINGS
from mailbridge.notice import dispatcher
from mailbridge.notice.mime_writer import address_header
from tests.integration.mail_servers import MailServer, exim_running, postfix_running
from tests.integration.notice_fixtures import ORIGINAL, Office, a_recipient, in_office, texts
from tests.integration.relay_stand_in import RelayStandIn, Taken

RELAYS: dict[str, Callable[[], AbstractContextManager[MailServer]]] = {
    "postfix": postfix_running,
    "postfix-7-bit": lambda: postfix_running("8bitmime, smtputf8, dsn"),
    "exim": exim_running,
}
EIGHT_BIT = ORIGINAL + "שלום רב\r\n".encode()


def status_fields(mail: bytes) -> list[dict[str, str]]:
    """Return the groups of fields of a DSN, as Python's email reads them."""
    parts = MailServer.parsed(mail).walk()
    part = next(one for one in parts if one.get_content_type().endswith("delivery-status"))
    payload: Any = part.get_payload()
    return [{name: str(value) for name, value in group.items()} for group in payload]


@pytest.mark.parametrize("relay", RELAYS)
def test_N8_N16_notices_pass_real_relays_unchanged(tmp_path: Path, relay: str) -> None:
    with RELAYS[relay]() as server:

        async def scenario(office: Office) -> None:
            [plain] = await office.accept("03-9876543", content=EIGHT_BIT, subject="חוזה " * 40)
            [asked] = await office.accept(a_recipient("03-9876544", notify="FAILURE"), ret="FULL", envid="order+2B17")
            [eight] = await office.accept(a_recipient("03-9876545", notify="FAILURE"), ret="FULL", content=EIGHT_BIT)
            for fax in (plain, asked, eight):
                await office.move(fax, "fail")
                await office.settled()
            assert [one.state for one in await office.deliveries()] == ["delivered"] * 3

        in_office(tmp_path, scenario, f'relay = "smtp://127.0.0.1:{server.port}"', own_relay=False)
        mails = server.mails(3)
        for mail in mails:
            assert re.search(rb"^Return-Path: <>|^Return-path: <>", mail, re.MULTILINE | re.IGNORECASE)
        reports = [mail for mail in mails if MailServer.parsed(mail).get_content_type() == "multipart/report"]
        [ordinary] = [mail for mail in mails if mail not in reports]
        assert str(MailServer.parsed(ordinary)["Subject"]).startswith("Re: חוזה חוזה")
        assert "לא נשלח" in texts([Taken("", "", ordinary)])[0]
        assert len(reports) == 2
        [whole] = [mail for mail in reports if "order+17" in status_fields(mail)[0].values()]
        assert ORIGINAL.replace(b"\r\n", b"\n") in whole.replace(b"\r\n", b"\n")
        returned = next(mail for mail in reports if mail is not whole)
        # A relay without 8BITMIME gets the header of an 8-bit mail, not a changed one.
        assert ("שלום רב".encode() in returned) == (relay != "postfix-7-bit")
        for mail in reports:
            temporary, permanent = all_failures(message_from_bytes(mail))
            assert (temporary, len(permanent)) == (frozenset(), 1)
            assert next(iter(permanent)) in (b"03-9876544@fax.local", b"03-9876545@fax.local")


def sent(office: Office) -> list[bytes]:
    return [mail.content for mail in office.relay.taken]


def test_N8_N9_N11_two_parsers_agree_on_a_DSN(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        faxes = await office.accept(
            a_recipient("03-9876543", notify="SUCCESS,FAILURE,DELAY", orcpt="rfc822;Dana+2Bhere@example.co.il"),
            a_recipient("03-9876544", notify="SUCCESS,FAILURE,DELAY"),
            a_recipient("03-9876545", notify="SUCCESS,FAILURE,DELAY"),
            envid="QQ314159+2B",
        )
        await office.move(faxes[0], "fail", code="wrong_number")
        await office.move(faxes[1], "fail", code="no_answer")
        await office.move(faxes[2], "confirm")
        await office.settled()
        assert len(sent(office)) == 2, "one outcome in each DSN"
        [failed] = [mail for mail in sent(office) if b"Action: failed" in mail]
        [delivered] = [mail for mail in sent(office) if mail is not failed]
        assert b"Action: failed" not in delivered
        message = MailServer.parsed(failed)
        assert (message.get_content_type(), message.get_param("report-type")) == ("multipart/report", "delivery-status")
        kinds = [part.get_content_type() for part in message.iter_parts()]
        assert kinds == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
        [text] = texts([Taken("", "", failed)])
        assert all(word in text for word in ("03-9876543", "03-9876544", faxes[0].id, "המספר שגוי"))
        first, *recipients = status_fields(failed)
        assert first["Reporting-MTA"] == "dns; gw.example.co.il"
        assert first["Original-Envelope-Id"] == "QQ314159+"
        assert abs((parsedate_to_datetime(first["Arrival-Date"]) - office.clock()).total_seconds()) < 3600
        assert recipients[0]["Original-Recipient"] == "rfc822; Dana+here@example.co.il"
        assert [one["Final-Recipient"] for one in recipients] == ["rfc822; 03-9876543@fax.local", "rfc822; 03-9876544@fax.local"]
        assert [one["Status"] for one in recipients] == ["5.1.1", "5.4.1"]
        assert [one["Diagnostic-Code"] for one in recipients] == ["x-myfax; 3 wrong_number", "x-myfax; 3 no_answer"]
        assert [one["Final-Log-ID"] for one in recipients] == [faxes[0].id, faxes[1].id]
        assert "Original-Recipient" not in recipients[1]
        assert all(isinstance(parsedate_to_datetime(one["Last-Attempt-Date"]), datetime) for one in recipients)
        temporary, permanent = all_failures(message_from_bytes(failed))
        assert permanent == {b"Dana+here@example.co.il", b"03-9876544@fax.local"}
        assert temporary == frozenset()
        assert all_failures(message_from_bytes(delivered)) == (frozenset(), frozenset())

    in_office(tmp_path, scenario)


def test_N9_what_a_client_wrote_cannot_forge_fields(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        recipient = a_recipient("03-9876543", notify="FAILURE", orcpt="rfc822;x+0D+0AAction:+20delivered")
        [fax] = await office.accept(recipient, envid="a+0D+0A+0D+0AAction:+20delivered")
        await office.move(fax, "fail")
        await office.settled()
        assert re.findall(rb"^Action: (\w+)", sent(office)[0], re.MULTILINE) == [b"failed"]

    in_office(tmp_path, scenario)


def test_N10_each_error_code_has_a_row_and_each_status_fits_its_action() -> None:
    from typing import get_args

    from mailbridge.errors import ErrorCode

    assert set(MEANINGS) == {*get_args(ErrorCode), "delivered", "in_doubt", "delayed", "cancelled"}
    classes = {"delivered": "2", "delayed": "4", "failed": "5"}
    for means in MEANINGS.values():
        assert re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", means.status)
        assert means.status[0] == classes[means.action]
        for texts_ in (means.why, means.what_to_do):
            assert set(texts_) == {"he", "en"}
            assert all(texts_.values())
            assert re.match("[א-ת]|MyFax", texts_["he"])
    page = (Path(__file__).parents[2] / "docs/notices.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (\w+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert rows == [(code, means.action, means.status) for code, means in MEANINGS.items()]


@pytest.mark.parametrize(
    ("ret", "end", "limit", "whole"),
    [
        ("FULL", "fail", "1MB", True),
        ("FULL", "fail", "20B", False),
        ("HDRS", "fail", "1MB", False),
        (None, "fail", "1MB", False),
        ("FULL", "confirm", "1MB", False),
        ("full", "fail", "1MB", True),
    ],
)
def test_N13_what_of_the_mail_is_returned(tmp_path: Path, ret: str | None, end: Any, limit: str, whole: bool) -> None:
    original = ORIGINAL.replace(b"MIME-Version", b"X-Long: " + b"y" * 500 + b"\r\n folded\r\nMIME-Version")

    async def scenario(office: Office) -> None:
        [fax] = await office.accept(a_recipient("03-9876543", notify="SUCCESS,FAILURE"), ret=ret, content=original)
        await office.move(fax, end)
        await office.settled()
        [mail] = sent(office)
        last = list(MailServer.parsed(mail).iter_parts())[-1]
        assert last.get_content_type() == ("message/rfc822" if whole else "text/rfc822-headers")
        header = original.partition(b"\r\n\r\n")[0] + b"\r\n"
        assert (original if whole else b"\r\n\r\n" + header + b"\r\n--=_") in mail
        assert (original in mail) == whole

    in_office(tmp_path, scenario, f'return_limit = "{limit}"')


def test_N13_a_mail_too_large_for_the_relay_is_not_returned(tmp_path: Path) -> None:
    """Though it asked for RET=FULL: its sender must hear of the fax."""

    async def scenario(office: Office) -> None:
        [fax] = await office.accept(a_recipient("03-9876543", notify="FAILURE"), ret="FULL", content=ORIGINAL + b"y" * 9000)
        await office.move(fax, "fail")
        await office.settled()
        [mail] = sent(office)
        assert list(MailServer.parsed(mail).iter_parts())[-1].get_content_type() == "text/rfc822-headers"

    in_office(tmp_path, scenario, relay=RelayStandIn(limit=8000))


def test_N13_a_deleted_mail_leaves_out_the_third_part(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        [fax] = await office.accept(a_recipient("03-9876543", notify="FAILURE"), ret="FULL")
        for path in (office.spool.root / "mail").rglob("*.eml"):
            path.unlink()
        await office.move(fax, "fail")
        await office.settled()
        assert len(list(MailServer.parsed(sent(office)[0]).iter_parts())) == 2

    in_office(tmp_path, scenario)


def test_N17_a_sender_beyond_ascii_needs_SMTPUTF8(tmp_path: Path) -> None:
    with postfix_running() as server:

        async def scenario(office: Office) -> None:
            [fax] = await office.accept(a_recipient("03-9876543", notify="FAILURE"), sender="דנה@example.co.il")
            await office.move(fax, "fail")
            [fax] = await office.accept("03-9876543", sender="דנה@example.co.il")
            await office.move(fax, "fail")
            await office.settled()
            assert [one.state for one in await office.deliveries()] == ["delivered"] * 2

        in_office(tmp_path, scenario, f'relay = "smtp://127.0.0.1:{server.port}"', own_relay=False)
        [dsn] = [mail for mail in server.mails(2) if b"multipart/report" in mail]
        message = MailServer.parsed(dsn)
        assert message.get_param("report-type") == "global-delivery-status"
        assert [part.get_content_type() for part in message.iter_parts()][1] == "message/global-delivery-status"
        assert "דנה@example.co.il" in dsn.decode()


def test_N17_a_relay_without_SMTPUTF8_gets_no_mangled_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(office: Office) -> None:
        [fax] = await office.accept(a_recipient("03-9876543", notify="FAILURE"), sender="דנה@example.co.il")
        await office.move(fax, "fail")
        await office.settled()
        assert sent(office) == []
        [one] = await office.deliveries()
        assert (one.state, one.error) == ("dead", "the relay does not offer SMTPUTF8, which this address needs")
        assert [event.type for event in await office.store.run(lambda tx: tx.events.newest(limit=1))] == ["notice.failed"]
        assert "notice dead" in "".join(capsys.readouterr())

    in_office(tmp_path, scenario, relay=RelayStandIn(offers=("8BITMIME", "DSN")))


def test_an_address_with_another_one_in_its_quotes_stays_whole() -> None:
    assert address_header("To", '"<b@evil.example>"@example.co.il') == b'To: <"<b@evil.example>"@example.co.il>\r\n'


@pytest.mark.parametrize("notify", ["FAILURE", None])
def test_N17_a_gateway_beyond_ascii_needs_SMTPUTF8_too(tmp_path: Path, notify: str | None) -> None:
    """From has the gateway's address, in a DSN as in an ordinary mail."""

    async def scenario(office: Office) -> None:
        [fax] = await office.accept(a_recipient("03-9876543", notify=notify))
        await office.move(fax, "fail")
        await office.settled()
        [one] = await office.deliveries()
        assert (one.state, one.error) == ("dead", "the relay does not offer SMTPUTF8, which this address needs")

    in_office(tmp_path, scenario, 'sender = "Fax <פקס@example.co.il>"', relay=RelayStandIn(offers=("8BITMIME", "DSN")))


@pytest.mark.parametrize(
    ("written", "name", "address"),
    [
        ("Fax <fax@example.co.il>", "Fax", "fax@example.co.il"),
        ("fax@example.co.il", "", "fax@example.co.il"),
        ('"כהן, לוי ושות׳" <fax@example.co.il>', "כהן, לוי ושות׳", "fax@example.co.il"),
        ('"בע\\"מ" <fax@example.co.il>', 'בע"מ', "fax@example.co.il"),
        ('"Cohen, Levi" <fax@example.co.il>', "Cohen, Levi", "fax@example.co.il"),
        ("פקס <פקס@example.co.il>", "פקס", "פקס@example.co.il"),
        ("פקס@example.co.il", "", "פקס@example.co.il"),
    ],
)
def test_the_sender_of_notices_is_the_one_that_is_configured(tmp_path: Path, written: str, name: str, address: str) -> None:
    async def scenario(office: Office) -> None:
        [fax] = await office.accept("03-9876543")
        await office.move(fax, "fail")
        [mail] = await office.mails()
        [sender] = mail.message["From"].addresses
        # Python keeps the bytes of an address in UTF-8 as surrogates.
        found = sender.addr_spec.encode("utf-8", "surrogateescape").decode()
        assert (sender.display_name, found) == (name, address)

    in_office(tmp_path, scenario, f"sender = '{written}'")


def test_a_fault_in_the_dialogue_leaves_no_notice_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again over another connection, and so are those that were claimed with it."""
    data = aiosmtplib.SMTP.data

    async def fail(*_: object) -> None:
        raise ValueError("a fault")

    monkeypatch.setattr(aiosmtplib.SMTP, "data", fail)
    monkeypatch.setattr(dispatcher, "_FIRST_PAUSE", 0.01)

    async def scenario(office: Office) -> None:
        for number in ("03-9876543", "03-9876544"):
            [fax] = await office.accept(number)
            await office.move(fax, "fail")
        await office.settled()
        assert [one.state for one in await office.deliveries()] == ["pending"] * 2
        monkeypatch.setattr(aiosmtplib.SMTP, "data", data)
        await office.stop()
        office.leap(timedelta(minutes=30))
        office.start()
        assert len(await office.mails()) == 2

    in_office(tmp_path, scenario)
