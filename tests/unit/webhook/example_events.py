"""Every event, emitted by the code that emits it, in a real store: for the schemas, and the examples of docs/webhooks.md."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from mailbridge.config import Account, FaxOptions, Mailbox, Webhook
from mailbridge.fax.outcome import UploadOutcome
from mailbridge.fax.pause import DOUBTS_BEFORE_PAUSE, AccountPause
from mailbridge.fax.uploader import Uploader
from mailbridge.lifecycle import FAX, FAX_AFTER_FINAL, FaxState, FaxTrigger
from mailbridge.model import Attempt, Cursor, Delivery, Document, Email, Event, Failure, Fax, ReceivedItem, Report
from mailbridge.myfax import MyFax
from mailbridge.notice.outcome import failed_event, finished
from mailbridge.notice.relay import Result
from mailbridge.report.listing_recorder import Kind, ListingOptions, ListingRecorder
from mailbridge.report.mailbox_status import MailboxStatus
from mailbridge.report.received_document import SpooledMail
from mailbridge.report.recorder import Recorder
from mailbridge.report.report_recorder import report_data
from mailbridge.report.watcher_options import WatcherOptions
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Transaction
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.notice_records import DueNotice
from mailbridge.store.sqlite import SqliteStore
from mailbridge.web.links import Links
from mailbridge.webhook.client import Result as Answer
from mailbridge.webhook.dispatcher import Dispatcher
from mailbridge.webhook.outcome import outcome
from mailbridge.webhook.payload import body, fax_data
from tests.factories import a_fax

AT = datetime(2026, 1, 4, 9, 12, 44, tzinfo=UTC)
CODE = "3cf6c2ae-7d0b-4b8e-9b53-5a4f6f0c2d11"
DOCUMENT = {
    "path": "received/2026-01-04/doc_01KE4B8W3PZQ7T5RMN2VXJ6HCD",
    "sha256": "2c71130ca469c3d57d592ee8406400bb0861a200a67a6e807ddbe6c4177659ea",
    "size": 18452,
    "content_type": "application/pdf",
    "filename": "fax-2026-01-04.pdf",
    "pages": None,
}
REPORT = Report(
    kind="report",
    status="Fail",
    status_code=3,
    subject="Fax to 039876543 failed",
    message_id="<8841@myfax.co.il>",
    date=AT,
    to="039876543",
    trusted=True,
)
_SENT = Document(
    name="חוזה.pdf",
    content_type="application/pdf",
    size=88210,
    sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    path="mail/07/env_01KE4B8W3P0C8D6QYH4T2ZK7RM.eml",
    offset=1204,
    length=120708,
    encoding="base64",
    pages=3,
)
_NUMBERS = iter(range(10**6))


def clock() -> datetime:
    return AT


def triggers_to_states() -> dict[FaxState, tuple[FaxTrigger, ...]]:
    """Return the shortest list of triggers from queued to each state."""
    found: dict[FaxState, tuple[FaxTrigger, ...]] = {"queued": ()}
    open_ = deque(found)
    while open_:
        state = open_.popleft()
        for (before, trigger), transition in FAX.items():
            if before == state and transition.state not in found:
                found[transition.state] = (*found[state], trigger)
                open_.append(transition.state)
    return found


def _fax() -> Fax:
    number = next(_NUMBERS)
    return a_fax(
        AT,
        id=f"fax_01KE4B8W3PZQ7T5RMN2VXJ{number:04d}",
        token=f"MB-7K3QX{number:03d}",
        documents=(_SENT,),
        pages=3,
        email=Email(message_id="<CAF1c9@mail.example.co.il>", sender="dana@example.co.il", subject="חוזה שכירות"),
        tags={"case": "1723"},
        user="dana",
        client="192.168.1.20",
    )


def _changes(trigger: FaxTrigger, fax: Fax) -> dict[str, Any]:
    first = Attempt(n=1, started_at=AT - timedelta(seconds=40))
    over = replace(fax.attempts[-1] if fax.attempts else first, ended_at=AT)
    paid = {"price": "0.40", "credit_left": "118"}
    match trigger:
        case "claim":
            return {"attempts": (first,)}
        case "accept":
            return {"fax_code": CODE, "source": "upload", "attempts": (replace(over, fax_code=CODE),), **paid}
        case "confirm":
            return {"source": "poll", "attempts": (over,), **paid}
        case "fail":
            busy = Failure(code="busy", message="the line was busy", provider_code=3)
            return {
                "failure": busy,
                "source": "report",
                "attempts": (replace(over, error_code="busy"),),
                "report": report_data(REPORT, "token"),
            }
        case "reject":
            return {"failure": Failure(code="rejected", message="no such number", provider_code=-5), "source": "upload"}
        case "expire":
            return {"failure": Failure(code="expired", message="not final in time"), "source": "expiry"}
        case "lose":
            return {"attempts": (replace(over, error_code="in_doubt"),)}
        case "abandon":
            return {"failure": Failure(code="abandoned", message="it was not sent"), "source": "person"}
        case _:
            return {"source": "person"}


def _apply(tx: Transaction, triggers: Iterable[FaxTrigger]) -> None:
    fax = _fax()
    tx.faxes.add(fax, AT)
    for trigger in triggers:
        tx.faxes.transition(fax.id, trigger, AT, **_changes(trigger, tx.faxes.get(fax.id)))


def _every_transition(tx: Transaction) -> None:
    triggers_to = triggers_to_states()
    for state, trigger in {**FAX, **FAX_AFTER_FINAL}:
        _apply(tx, (*triggers_to[state], trigger))


def _mails(tx: Transaction) -> None:
    mailbox = Mailbox(host="127.0.0.1", username="office", password=SecretStr("x"))
    options = WatcherOptions(name="office", mailbox=mailbox, account="office", zone=ZoneInfo("Asia/Jerusalem"))
    recorder = Recorder(options, cast(Runtime, None))
    incoming = replace(REPORT, kind="incoming", status=None, status_code=None, sender="02-6543210", subject="Fax from 026543210")
    forged = replace(incoming, sender=None, trusted=False, defects=("no document",))
    mails = [
        SpooledMail(1, incoming, "a", "fax_01KE4B8W3PWJ5N0Q9Z7V3T1XGB", (DOCUMENT,)),
        SpooledMail(2, forged, "b", "fax_01KE4B8W3PWJ5N0Q9Z7V3T1XGC"),
        SpooledMail(3, replace(REPORT, to="02-1111111"), "c"),
        SpooledMail(4, replace(REPORT, to="02-1111111", trusted=False, status_code=None), "d"),
    ]
    recorder.apply(tx, mails, Cursor(uidvalidity=1, last_uid=4), AT)


def _listed(tx: Transaction) -> None:
    audio = {**DOCUMENT, "content_type": "audio/wav", "filename": "voicemail.wav", "pages": None}
    listed: list[tuple[Kind, str, dict[str, Any] | None]] = [
        ("voice", "vm_01KE4B8W3P9G2X5C7M4TZR8JQN", audio),
        ("incoming", "fax_01KE4B8W3P9G2X5C7M4TZR8JQN", None),
    ]
    for kind, id_, document in listed:
        item = ReceivedItem(
            id=id_,
            account="office",
            kind=kind,
            caller="+97226543210",
            called="+97239876543",
            at=AT - timedelta(minutes=2),
            noted_at=AT,
            listing_id="80417",
        )
        tx.received.put(item)
        recorder = ListingRecorder(ListingOptions(account="office", kind=kind, every=600, zone=ZoneInfo("Asia/Jerusalem")))
        assert recorder.emit(tx, id_, document, [] if document else ["its document is gone"], AT)


async def _credit(store: SqliteStore, spool: LocalSpool) -> None:
    account = Account.model_validate({"email": "office@example.co.il", "password": "x", "low_credit": 20})
    uploader = Uploader("office", account, cast(MyFax, None), FaxOptions(), Runtime(store, spool, clock, lambda: 0.0))
    fax = _fax()
    changes = _changes("accept", fax)
    changes.pop("attempts")
    await store.run(lambda tx: tx.faxes.add(fax, AT))
    await store.run(lambda tx: tx.faxes.transition(fax.id, "claim", AT, **_changes("claim", fax)))
    await store.run(
        lambda tx: uploader._store_outcome(tx, fax.id, 1, UploadOutcome("accept", {**changes, "due_at": AT, "credit_left": "18"}))
    )


async def _pause(store: SqliteStore, spool: LocalSpool) -> None:
    pause = AccountPause("office")
    for one in (*[UploadOutcome("lose")] * DOUBTS_BEFORE_PAUSE, UploadOutcome("accept")):
        pause.counted(one, await store.run(partial(pause.count, outcome=one, now=AT)))


async def _stopped(store: SqliteStore, spool: LocalSpool) -> None:
    options = {"url": "https://erp.example.co.il/hooks", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
    runtime = Runtime(store, spool, clock, lambda: 0.0)
    dispatcher = Dispatcher("erp", Webhook.model_validate(options), runtime, lambda event: b"")
    delivery = Delivery(id="dlv_1", event_id="evt_1", endpoint="erp", state="sending", due_at=AT, attempts=1)
    gone = outcome(delivery, Answer(410, "HTTP 410"), AT, 0.0)
    await store.run(lambda tx: dispatcher._stop(tx, gone.changes["error"], AT))


async def _mailbox(store: SqliteStore, spool: LocalSpool) -> None:
    status = MailboxStatus("office", "office", Runtime(store, spool, clock, lambda: 0.0))
    await status.emit("mailbox.down", "imap.example.co.il does not answer")
    await status.emit("mailbox.up", None)


async def _notice(store: SqliteStore) -> None:
    fax = _fax()
    delivery = Delivery(
        id="dlv_01KE4B8W3PZQ7T5RMN2VXJ6HCD",
        event_id="evt_01KE4B8W3PZQ7T5RMN2VXJ6HCD",
        endpoint="notice",
        state="sending",
        due_at=AT,
        attempts=1,
        address="dana@example.co.il",
        notice={"kind": "failed", "form": "mail", "blocks": [{"fax_id": fax.id}]},
    )
    event = Event(id=delivery.event_id, type="fax.failed", at=AT, fax_id=fax.id, seq=4, data={"account": "office"})
    refused = Result("refused", 550, "550 5.1.1 no such user")
    one = finished(DueNotice(delivery=delivery, event=event), refused, AT, 0.0)
    await store.run(lambda tx: tx.events.emit("notice.failed", failed_event(one), AT, fax.id))


async def _bodies(state: Path) -> list[dict[str, Any]]:
    links = Links(bytes(32), "https://fax.example.co.il")

    def link(document: Any) -> tuple[str, datetime]:
        return links.link(document, AT)

    async with SqliteStore(state, fax_data, lambda _: []) as store:
        for work in (_every_transition, _mails, _listed):
            await store.run(work)
        await _credit(store, LocalSpool(state / "spool"))
        await _mailbox(store, LocalSpool(state / "spool"))
        await _notice(store)
        await _pause(store, LocalSpool(state / "spool"))
        await _stopped(store, LocalSpool(state / "spool"))
        await store.run(lambda tx: tx.events.emit("ping", {"webhook": "crm"}, AT))
        events = await store.run(lambda tx: tx.events.newest(None, 10_000))
        read = {"link": link, "read": lambda _: b"%PDF", "inline_limit": 10**6}
        whole = [(event, body(event, wanted, **read)) for event in events for wanted in ("link", "inline", "none")]  # type: ignore[arg-type]
    # In the order in which they were emitted, as far as ids and `seq` say.
    ordered = sorted(whole, key=lambda pair: (pair[0].type, str(pair[0].fax_id), pair[0].seq))
    return [json.loads(content) for _, content in ordered]


@cache
def bodies() -> tuple[dict[str, Any], ...]:
    """Return the body of every event that the code can emit: with a link, inline and without the document."""
    global _NUMBERS
    _NUMBERS = iter(range(10**6))
    with tempfile.TemporaryDirectory() as directory:
        return tuple(asyncio.run(_bodies(Path(directory))))
