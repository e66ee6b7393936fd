"""Attacks 3, 4 and 17: what a forger can do with genuine mails of MyFax. Signatures and the store are real."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import SecretStr

from mailbridge.config import Mailbox
from mailbridge.model import Attempt, Event, Fax, ReceivedItem
from mailbridge.report.imap_responses import FetchedMail
from mailbridge.report.parser import digest, parse
from mailbridge.report.received_document import SpooledMail
from mailbridge.report.received_fax_recorder import NOT_ADDRESSED, ReceivedFaxRecorder
from mailbridge.report.report_recorder import ReportRecorder
from mailbridge.report.trust import is_trusted, verify
from mailbridge.report.watcher_options import WatcherOptions
from mailbridge.store.interface import Transaction
from mailbridge.store.sql_store import SqlStore
from tests.factories import NOW, NUMBER, a_fax
from tests.store.factories import with_store

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
PUBLIC = base64.b64encode(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
FROM = ("myfax.co.il",)
PASSED = b"Authentication-Results: mx.example.co.il; dkim=pass header.d=myfax.co.il\r\n"
AUTHSERV = "authserv:mx.example.co.il"
FIELDS = {
    "From": "MyFax <fax@myfax.co.il>",
    "To": "office@example.co.il",
    "Subject": "fax",
    "Date": "Sun, 04 Jan 2026 09:00:00 +0000",
    "Message-ID": "<genuine@myfax.co.il>",
    "MIME-Version": "1.0",
    "Content-Type": "text/plain; charset=utf-8",
    "Content-Transfer-Encoding": "8bit",
}
REPORT = {**FIELDS, "X-Fax-Status": "Fail", "X-Fax-Status-Code": "3", "X-Fax-Subject": "a MB-7K3QXA2M.pdf"}
INCOMING = {**FIELDS, "X-Fax-Sender": "08-9999999"}
OLD, NEW = "MB-7K3QXA2M", "MB-00000002"


def dns(name: bytes, timeout: float = 5) -> bytes:
    return b"v=DKIM1; k=rsa; p=" + PUBLIC


def mail(fields: dict[str, str], body: bytes = b"text\r\n") -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode() + b"\r\n" + body


def signed(fields: dict[str, str], *, without: tuple[str, ...] = (), body: bytes = b"text\r\n") -> bytes:
    raw = mail(fields, body)
    covered = [name.lower().encode() for name in fields if name not in without]
    signature: bytes = dkim.sign(raw, b"s1", b"myfax.co.il", PEM, include_headers=covered)
    return signature + raw


def trusted(raw: bytes, trust: str = "dkim") -> bool:
    return is_trusted(raw, trust, FROM, dns)


def fetched(raw: bytes) -> FetchedMail:
    return FetchedMail(1, len(raw), raw)


ADDED = {
    "Date": "Mon, 05 Jan 2026 09:00:00 +0000",
    "Message-ID": "<evil@x>",
    "To": "someone@example.com",
    "Content-Type": "text/plain; charset=utf-7",
    "Content-Transfer-Encoding": "base64",
    "MIME-Version": "1.0",
}


@pytest.mark.parametrize("name", ADDED)
@pytest.mark.parametrize("fields", [REPORT, INCOMING], ids=["report", "incoming"])
def test_attack_3_a_field_that_decides_stands_once(name: str, fields: dict[str, str]) -> None:
    genuine, added = signed(fields), f"{name}: {ADDED[name]}\r\n".encode()
    assert trusted(genuine)
    assert trusted(PASSED + genuine, AUTHSERV)
    assert not trusted(added + genuine)
    assert not trusted(PASSED + added + genuine, AUTHSERV)
    assert not trusted(genuine.replace(b"\r\n\r\n", b"\r\n" + added + b"\r\n", 1))


@pytest.mark.parametrize("name", ["Date", "Message-ID"])
def test_attack_3_a_date_and_a_message_id_must_be_signed(name: str) -> None:
    assert not trusted(signed(REPORT, without=(name,)))
    assert not trusted(PASSED + signed(REPORT, without=(name,)), AUTHSERV)
    lacking = {other: value for other, value in REPORT.items() if other != name}
    assert trusted(signed(lacking))
    assert not trusted(f"{name}: {ADDED[name]}\r\n".encode() + signed(lacking))


def test_attack_3_a_copy_of_a_genuine_mail_is_the_same_mail() -> None:
    genuine = signed(REPORT)
    name = digest(fetched(genuine))
    for copy in (b"X-Note: x\r\n" + genuine, b"Received: by x\r\n" + genuine, b"DKIM-Signature: x\r\n" + genuine):
        assert trusted(copy)
        assert digest(fetched(copy)) == name
    assert digest(fetched(signed({**REPORT, "Message-ID": "<2@myfax.co.il>"}))) != name


def options(trust: str = "dkim", **more: Any) -> WatcherOptions:
    mailbox = Mailbox(host="127.0.0.1", username="imap-user", password=SecretStr("x"), trust=trust, **more)
    accounts = frozenset({"office@example.co.il"})
    return WatcherOptions(name="office", mailbox=mailbox, account="office", accounts=accounts, zone=ZoneInfo("UTC"))


def recorded(tmp_path: Path, raw: bytes, prepare: Callable[[Transaction], Any], how: WatcherOptions | None = None) -> list[Event]:
    """Take a mail through every step, and return the events that it makes after `prepare`."""
    how = how or options()
    verified = verify(parse(fetched(raw), UTC, how.addresses), how.mailbox.trust, FROM, dns)
    ready = SpooledMail(1, verified.report, verified.digest, "fax_received")
    found: list[Event] = []

    async def scenario(store: SqlStore) -> None:
        await store.run(prepare)

        def record(tx: Transaction) -> None:
            if ready.report.kind == "incoming":
                ReceivedFaxRecorder(how).record(tx, ready, NOW)
            else:
                ReportRecorder(how).record(tx, ready.report, NOW)

        before = {event.id for event in await store.run(lambda tx: tx.events.newest())}
        await store.run(record)
        found.extend(event for event in await store.run(lambda tx: tx.events.newest()) if event.id not in before)

    with_store(tmp_path, scenario)
    return found


def sent_twice(tx: Transaction) -> Fax:
    """A fax whose first upload is in doubt, and that was submitted by a second one."""
    attempts = tuple(Attempt(n=n, started_at=NOW - timedelta(hours=2 - n), token=token) for n, token in ((1, OLD), (2, NEW)))
    tx.faxes.add(replace(a_fax(token=OLD), id="fax_1"), NOW - timedelta(hours=2))
    tx.faxes.transition("fax_1", "claim", NOW, attempts=attempts[:1])
    tx.faxes.transition("fax_1", "lose", NOW)
    tx.faxes.transition("fax_1", "resend", NOW)
    tx.faxes.transition("fax_1", "claim", NOW, attempts=attempts, token=NEW)
    return tx.faxes.transition("fax_1", "accept", NOW, fax_code="c-2")


@pytest.mark.parametrize("date", ["Sun, 04 Jan 2026 06:00:00 +0000", "Sun, 04 Jan 2026 10:00:00 +0000", "nonsense"])
def test_attack_3_a_genuine_report_of_an_earlier_upload_does_not_end_a_later_one(tmp_path: Path, date: str) -> None:
    """Whatever its date: the token of each upload is its own."""
    assert [event.type for event in recorded(tmp_path, signed({**REPORT, "Date": date}), sent_twice)] == []


def test_a_report_of_the_last_upload_ends_it(tmp_path: Path) -> None:
    raw = signed({**REPORT, "Date": "Sun, 04 Jan 2026 10:00:00 +0000", "X-Fax-Subject": f"a {NEW}.pdf"})
    (event,) = recorded(tmp_path, raw, sent_twice)
    assert (event.type, event.fax_id) == ("fax.failed", "fax_1")


@pytest.mark.parametrize(
    ("to", "subject", "is_trusted"),
    [
        ("office@example.co.il", "fax", True),
        ("Office <OFFICE@Example.co.il>", "fax", True),
        ("x@y.example, office@example.co.il", "fax", True),
        ("attacker@evil.example", "fax", False),
        ('"office@example.co.il" <attacker@evil.example>', "fax", False),
        ("office@example.co.il.evil.example", "fax", False),
        ("attacker@evil.example", "fax to 03-5555555", False),
        ("attacker@evil.example", "fax to 03-9876543", True),
        ("+97239876543@myfax.co.il", "fax", True),
    ],
)
def test_attack_4_a_received_fax_is_trusted_only_if_it_is_ours(tmp_path: Path, to: str, subject: str, is_trusted: bool) -> None:
    """Another customer of MyFax sends us a genuine mail about a fax of his. 03-9876543 is a line that incoming.do has shown."""

    def line(tx: Transaction) -> None:
        tx.received.put(item("other", at=NOW - timedelta(days=9)))

    (event,) = recorded(tmp_path, signed({**INCOMING, "To": to, "Subject": subject}), line)
    assert (event.type, event.data["trusted"]) == ("fax.received", is_trusted)
    assert event.data.get("defects", []) == ([] if is_trusted else [NOT_ADDRESSED])


def item(name: str, **changes: Any) -> ReceivedItem:
    plain = ReceivedItem(
        id=f"fax_{name}", account="office", kind="incoming", caller="+97289999999", called=NUMBER, at=NOW, noted_at=NOW
    )
    return replace(plain, **{"listing_id": name, **changes})


def test_attack_4_a_redirected_mail_is_not_ours_by_its_delivery(tmp_path: Path) -> None:
    """Our own server writes Delivered-To for every mail, whomever MyFax wrote to."""
    raw = b"Delivered-To: office@example.co.il\r\nX-Original-To: office@example.co.il\r\n"
    (event,) = recorded(tmp_path, raw + signed({**INCOMING, "To": "attacker@evil.example"}), lambda tx: None)
    assert event.data["trusted"] is False


def test_attack_4_a_fax_that_incoming_do_lists_is_trusted(tmp_path: Path) -> None:
    raw = signed({**INCOMING, "To": "alias@example.co.il"})
    (event,) = recorded(tmp_path, raw, lambda tx: tx.received.put(item("listed", due_at=NOW)))
    assert (event.data["trusted"], event.fax_id) == (True, "fax_received")


def test_attack_4_the_addressee_must_be_signed() -> None:
    assert trusted(signed(INCOMING))
    assert not trusted(signed(INCOMING, without=("To",)))
    assert trusted(signed(REPORT, without=("To",)))


def test_attack_4_own_addresses_are_configured_ones_too(tmp_path: Path) -> None:
    raw = signed({**INCOMING, "To": "Faxes@example.co.il"})
    (event,) = recorded(tmp_path, raw, lambda tx: None, options(addresses=("faxes@EXAMPLE.co.il",)))
    assert event.data["trusted"] is True


def test_attack_4_a_mailbox_that_trusts_everything_asks_nobody(tmp_path: Path) -> None:
    (event,) = recorded(tmp_path, mail({**INCOMING, "To": "x@y.example"}), lambda tx: None, options("none"))
    assert event.data["trusted"] is True


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("sent to 03-9876543", ["fax.delivered"]),
        ("sent on 2026-01-04, 20260104 3 pages", ["fax.delivered"]),
        ("sent to 08-9999999", []),
        ("sent to +442071234567", []),
        ("sent to 03-9876543, from 08-9999999", ["fax.delivered"]),
    ],
)
def test_attack_4_a_report_with_our_token_about_another_number_ends_nothing(tmp_path: Path, text: str, types: list[str]) -> None:
    delivered = {**REPORT, "X-Fax-Status": "Success", "X-Fax-Status-Code": "9", "X-Fax-Subject": f"a {NEW}.pdf"}
    raw = signed(delivered, body=f"{text}\r\n".encode())
    assert [event.type for event in recorded(tmp_path, raw, sent_twice)] == types


@pytest.mark.parametrize("name", ["Content-Type", "Content-Transfer-Encoding"])
def test_attack_17_what_says_how_to_read_the_body_must_be_signed(name: str) -> None:
    assert not trusted(signed(REPORT, without=(name,)))
    lacking = {other: value for other, value in REPORT.items() if other != name}
    assert trusted(signed(lacking))
    assert not trusted(f"{name}: {ADDED[name]}\r\n".encode() + signed(lacking))


@pytest.mark.parametrize(
    "results",
    [
        b"mx.example.co.il; dkim=none; spf=pass smtp.mailfrom=a;dkim=pass header.d=myfax.co.il",
        b"mx.example.co.il; dkim = none (no signature); spf=pass smtp.mailfrom=a;dkim=pass header.d=myfax.co.il",
    ],
)
def test_attack_17_a_result_that_a_sender_wrote_into_its_address_is_not_trusted(results: bytes) -> None:
    assert not trusted(b"Authentication-Results: " + results + b"\r\n" + mail(REPORT), AUTHSERV)


def test_attack_17_a_result_for_a_mail_that_only_others_signed_is_not_trusted() -> None:
    raw = mail(REPORT)
    foreign: bytes = dkim.sign(raw, b"s1", b"evil.example", PEM, include_headers=[name.lower().encode() for name in REPORT])
    assert trusted(PASSED + raw, AUTHSERV)
    assert not trusted(PASSED + foreign + raw, AUTHSERV)


@pytest.mark.parametrize(
    "added",
    [
        b"X-Fax-Status : Success\r\n",
        b"x-fax-status: Success\r\n",
        b"X-Fax-Status\t: Success\r\n",
        b"X-Fax-St\xe4tus: Success\r\n",
        b"X-Note: x\rX-Fax-Status: Success\r\n",
        b"X-Note: x\nX-Fax-Status: Success\r\n",
        b" X-Fax-Status: Success\r\n",
        b"X-Fax-Other: x\r\n",
        b": x\r\n",
    ],
)
def test_held_fields_that_two_readers_could_read_differently_are_not_trusted(added: bytes) -> None:
    genuine = signed(REPORT)
    assert trusted(genuine)
    head, _, body = genuine.partition(b"\r\n\r\n")
    for forged in (added + genuine, head + b"\r\n" + added + b"\r\n" + body):
        report = verify(parse(fetched(forged), UTC), "dkim", FROM, dns).report
        assert not report.trusted or (report.status, report.status_code) == ("Fail", 3)
    assert not trusted(genuine.replace(b"X-Fax-Status: Fail", b"X-Fax-Status:\r\n Success"))
