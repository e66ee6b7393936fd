"""The watcher against the embedded IMAP server and a real store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import SecretStr

from mailbridge.demo.mailbox import DemoMailbox, incoming_mail, report_mail
from mailbridge.lifecycle import FaxTrigger
from mailbridge.model import Attempt, Cursor
from mailbridge.report.imap_connection import Connection
from tests.integration.watcher_fixtures import a_fax, a_store, clock, events, settings, watching
from tests.wait_helpers import PATIENCE, until

FINAL = ("fax.delivered", "fax.failed", "fax.received")


def test_a_trusted_report_ends_its_fax(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store, watching(settings(box.port), store, tmp_path):
            good, bad = await a_fax(store, "claim", "accept"), await a_fax(store, "claim", "accept")
            early = await a_fax(store, "claim")
            await box.deliver(report_mail("Success", 9, f"invoice {good.token}.pdf"))
            await box.deliver(report_mail("Fail", 3, f"invoice {bad.token}.pdf"))
            await box.deliver(report_mail("Success", 9, f"invoice {early.token}.pdf"))
            assert len(await events(store, 1, "fax.failed")) == 1
            assert len(await events(store, 2, "fax.delivered")) == 2
            delivered = await store.run(lambda tx: tx.faxes.get(good.id))
            failed = await store.run(lambda tx: tx.faxes.get(bad.id))
            assert (delivered.state, delivered.source) == ("delivered", "report")
            assert delivered.report is not None
            assert delivered.report["status_code"] == 9
            assert failed.failure is not None
            assert (failed.failure.code, failed.failure.provider_code) == ("busy", 3)

    asyncio.run(scenario())


def test_the_same_report_twice_is_one_final_event(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store, watching(settings(box.port), store, tmp_path):
            fax = await a_fax(store, "claim", "accept")
            mail = report_mail("Success", 9, fax.token)
            await box.deliver(mail)
            await box.deliver(mail)
            await box.deliver(report_mail("Success", 9, "marker of another"))
            await events(store, 1, "report.received")
            assert len(await events(store, 1, "fax.delivered")) == 1

    asyncio.run(scenario())


def test_an_untrusted_report_changes_no_state_and_requests_a_poll(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            DemoMailbox() as box,
            a_store(tmp_path) as store,
            watching(settings(box.port, trust="authserv:mx.example.co.il"), store, tmp_path),
        ):
            fax = await a_fax(store, "claim", "accept")
            await box.deliver(report_mail("Success", 9, fax.token))
            [event] = await events(store, 1, "report.received")
            assert event.data["trusted"] is False
            assert (event.data["matched"], event.data["match"]) == (fax.id, "token")
            now = await store.run(lambda tx: tx.faxes.get(fax.id))
            assert now.state == "submitted"
            assert now.due_at < fax.due_at
            await store.run(lambda tx: tx.faxes.update(fax.id, due_at=fax.due_at))
            await box.deliver(report_mail("Fail", 7, fax.token))
            await events(store, 2, "report.received")
            # At most one immediate poll in a minute.
            assert (await store.run(lambda tx: tx.faxes.get(fax.id))).due_at == fax.due_at

    asyncio.run(scenario())


@pytest.mark.parametrize(("trust", "believed"), [("none", True), ("authserv:mx.example.co.il", False)])
def test_a_report_with_only_the_number_ends_a_fax_only_if_nobody_else_can_deliver_to_the_mailbox(
    tmp_path: Path, trust: str, believed: bool
) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store, watching(settings(box.port, trust=trust), store, tmp_path):
            fax = await a_fax(store, "claim", "accept")
            passed = b"Authentication-Results: mx.example.co.il; dkim=pass header.d=myfax.co.il\n"
            await box.deliver(passed + report_mail("Success", 9, "to 03-9876543"))
            [event] = await events(store, 1, "fax.delivered" if believed else "report.received")
            assert (event.data["report"]["trusted"], event.data["report"]["match"]) == (True, "destination")
            now = await store.run(lambda tx: tx.faxes.get(fax.id))
            assert now.state == ("delivered" if believed else "submitted")
            assert believed or now.due_at < fax.due_at

    asyncio.run(scenario())


@pytest.mark.parametrize("others", [["claim", "accept"], ["claim", "lose"], ["cancel"], ["claim", "accept", "confirm"]])
def test_a_report_with_only_the_number_of_two_faxes_ends_neither(tmp_path: Path, others: list[FaxTrigger]) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store, watching(settings(box.port), store, tmp_path):
            fax, _ = await a_fax(store, "claim", "accept"), await a_fax(store, *others)
            await box.deliver(report_mail("Success", 9, "to 03-9876543"))
            [event] = await events(store, 1, "report.received")
            assert event.data["matched"] is None
            assert (await store.run(lambda tx: tx.faxes.get(fax.id))).state == "submitted"

    asyncio.run(scenario())


def test_a_report_with_only_the_number_does_not_end_a_fax_in_doubt(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store, watching(settings(box.port), store, tmp_path):
            fax = await a_fax(store, "claim", "lose")
            await box.deliver(report_mail("Success", 9, "to 03-9876543"))
            [event] = await events(store, 1, "report.received")
            assert (event.data["matched"], event.data["match"]) == (fax.id, "destination")
            assert (await store.run(lambda tx: tx.faxes.get(fax.id))).state == "in_doubt"

    asyncio.run(scenario())


def test_two_mailboxes_request_a_poll_once_a_minute(tmp_path: Path) -> None:
    async def scenario() -> None:
        untrusted = {"trust": "authserv:mx.example.co.il"}
        async with (
            DemoMailbox() as one,
            DemoMailbox() as two,
            a_store(tmp_path) as store,
            watching(settings(one.port, **untrusted), store, tmp_path, name="one"),
            watching(settings(two.port, **untrusted), store, tmp_path, name="two"),
        ):
            fax = await a_fax(store, "claim", "accept")
            await one.deliver(report_mail("Success", 9, fax.token))
            await events(store, 1, "report.received")
            assert (await store.run(lambda tx: tx.faxes.update(fax.id, due_at=fax.due_at))).due_at == fax.due_at
            await two.deliver(report_mail("Success", 9, fax.token))
            await events(store, 2, "report.received")
            assert (await store.run(lambda tx: tx.faxes.get(fax.id))).due_at == fax.due_at

    asyncio.run(scenario())


def test_repeated_headers_are_never_trusted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store, watching(settings(box.port), store, tmp_path):
            fax = await a_fax(store, "claim", "accept")
            await box.deliver(b"X-Fax-Status: Success\n" + report_mail("Fail", 7, fax.token))
            [event] = await events(store, 1, "report.received")
            assert event.data["defects"] == ["x-fax-status occurs 2 times"]
            assert event.data["trusted"] is False
            assert (await store.run(lambda tx: tx.faxes.get(fax.id))).state == "submitted"

    asyncio.run(scenario())


def test_a_report_without_an_outcome_requests_a_poll(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store, watching(settings(box.port), store, tmp_path):
            fax = await a_fax(store, "claim", "accept")
            await box.deliver(report_mail("Fail", 4, fax.token))

            async def asked() -> bool:
                return (await store.run(lambda tx: tx.faxes.get(fax.id))).due_at != fax.due_at

            await until(asked)
            assert (await store.run(lambda tx: tx.faxes.get(fax.id))).state == "submitted"
            assert store.subscribe("poll").is_set()

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [1000, 300_000])
def test_a_received_fax_is_spooled_and_reported(tmp_path: Path, size: int) -> None:
    async def scenario() -> None:
        document = b"%PDF-1.4\n" + bytes(range(256)) * (size // 256)
        async with DemoMailbox() as box, a_store(tmp_path) as store, watching(settings(box.port), store, tmp_path):
            await box.deliver(incoming_mail(document, "08-9999999", did="+97239876543"))
            await box.deliver(incoming_mail(document, "", filename="פקס.pdf"))
            first, second = await events(store, 2, "fax.received")
            assert (first.data["from"], first.data["to"]) == ("+97289999999", "+97239876543")
            assert second.data["from"] is None
            assert second.data["document"]["filename"] == "פקס.pdf"
            assert first.fax_id == first.data["fax_id"]
            stored = first.data["document"]
            assert (tmp_path / "spool" / stored["path"]).read_bytes() == document
            assert (stored["size"], stored["content_type"]) == (len(document), "application/pdf")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("printed", "caller"), [("08-9999999", "+97289999999"), ("*123", "*123"), ("", None), ("Anonymous", None)]
)
def test_a_caller_is_written_as_the_list_writes_it(tmp_path: Path, printed: str, caller: str | None) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store, watching(settings(box.port), store, tmp_path):
            await box.deliver(incoming_mail(b"%PDF-1.4", printed))
            [event] = await events(store, 1)
            assert event.data["from"] == caller

    asyncio.run(scenario())


def test_old_mail_is_skipped_and_waiting_mail_processed_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store:
            await box.deliver(report_mail("Success", 9, "old"))
            await box.deliver(b"Subject: lunch\n\nat one?\n")
            async with watching(settings(box.port), store, tmp_path):
                await box.deliver(report_mail("Success", 9, "new"))
                await events(store, 1)
            for n in range(130):
                await box.deliver(report_mail("Success", 9, f"waiting {n}") if n % 2 else b"Subject: other\n\nx\n")
            async with watching(settings(box.port), store, tmp_path):
                found = await events(store, 66)
            subjects = sorted(event.data["report"]["subject"] for event in found)
            assert subjects == sorted(["new", *(f"waiting {n}" for n in range(1, 130, 2))])

    asyncio.run(scenario())


def test_a_new_uidvalidity_repeats_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store:
            await box.deliver(report_mail("Success", 9, "before the first start"))
            async with watching(settings(box.port), store, tmp_path):
                await box.deliver(report_mail("Success", 9, "one"))
                await events(store, 1)
            await store.run(lambda tx: tx.mailboxes.save_cursor("office", "INBOX", Cursor(uidvalidity=1, last_uid=999)))
            async with watching(settings(box.port), store, tmp_path):
                await box.deliver(report_mail("Success", 9, "two"))
                found = await events(store, 2)
            assert [event.data["report"]["subject"] for event in found] == ["one", "two"]

    asyncio.run(scenario())


def test_a_mailbox_that_is_down_is_reported_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailbridge.report.watcher.reconnect_delay", lambda failures, jitter: 0.02)

    async def scenario() -> None:
        async with a_store(tmp_path) as store:
            async with DemoMailbox() as box:
                port = box.port
                async with watching(settings(port), store, tmp_path):
                    pass
            async with watching(settings(port), store, tmp_path, wait=False) as watcher:
                [down] = await events(store, 1, "mailbox.down")
                assert "cannot be reached" in down.data["error"]
                assert not watcher.connected
                async with DemoMailbox(port=port):
                    await until(lambda: watcher.connected)
                    await events(store, 1, "mailbox.up")
                assert len(await events(store, 1, "mailbox.down")) == 1

    asyncio.run(scenario())


def test_mailbox_up_follows_mailbox_down_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_store(tmp_path) as store, DemoMailbox() as box:
            wrong = settings(box.port, password=SecretStr("hunter22"))
            for times in (1, 2):  # each start reports that the mailbox is down
                async with watching(wrong, store, tmp_path, wait=False):
                    await events(store, times, "mailbox.down")
            for _ in range(2):
                async with watching(settings(box.port), store, tmp_path):
                    [up] = await events(store, 1, "mailbox.up")
            assert up.data == {"mailbox": "office", "account": "office", "error": None}

    asyncio.run(scenario())


def test_a_refused_login_is_reported_without_the_password(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            DemoMailbox(password="another") as box,
            a_store(tmp_path) as store,
            watching(settings(box.port, password=SecretStr("hunter22")), store, tmp_path, wait=False),
        ):
            [down] = await events(store, 1, "mailbox.down")
            assert "refuses LOGIN" in down.data["error"]
            assert "hunter22" not in down.data["error"]

    asyncio.run(scenario())


def test_a_crash_between_the_event_and_seen_repeats_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = asyncio.Event()

    async def crash(self: Connection, uids: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with DemoMailbox() as box:
            async with a_store(tmp_path) as store, watching(settings(box.port), store, tmp_path):
                fax = await a_fax(store, "claim", "accept")
            await box.deliver(report_mail("Success", 9, fax.token))
            await box.deliver(incoming_mail(b"%PDF-1", "08-9999999"))
            with monkeypatch.context() as patch:
                patch.setattr(Connection, "mark_seen", crash)
                async with a_store(tmp_path) as store, watching(settings(box.port), store, tmp_path, wait=False):
                    await asyncio.wait_for(reached.wait(), PATIENCE)
                    before = await events(store, 2, "fax.")
            # What was known of the mailbox is gone too, as after a restore of its server: mails are recognised by content.
            for cursor in (None, Cursor(uidvalidity=1, last_uid=0)):
                async with a_store(tmp_path) as store:
                    if cursor is not None:
                        await store.run(lambda tx, cursor=cursor: tx.mailboxes.save_cursor("office", "INBOX", cursor))  # type: ignore[misc]
                    async with watching(settings(box.port), store, tmp_path):
                        await box.deliver(report_mail("Success", 9, "marker"))
                        await events(store, 1 if cursor is None else 2, "report.received")
                        after = [event for event in await events(store, 2) if event.type in FINAL]
                    assert {event.id for event in after} == {event.id for event in before if event.type in FINAL}
                    assert len(after) == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("first", ["report", "poll"])
@pytest.mark.parametrize(("status", "code", "trigger"), [("Success", 9, "confirm"), ("Fail", 3, "fail")])
def test_a_report_and_a_poll_with_the_same_result_make_one_final_event(
    tmp_path: Path, first: str, status: Literal["Success", "Fail"], code: int, trigger: FaxTrigger
) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store, watching(settings(box.port), store, tmp_path):
            fax = await a_fax(store, "claim", "accept")

            async def report() -> None:
                await box.deliver(report_mail(status, code, fax.token))
                await box.deliver(report_mail("Success", 9, "marker"))
                await events(store, 1, "report.received")

            async def poll() -> None:
                await store.run(lambda tx: tx.faxes.transition(fax.id, trigger, clock(), source="poll"))

            for step in (report, poll) if first == "report" else (poll, report):
                await step()
            found = [event for event in await events(store, 3) if event.type not in ("fax.queued", "fax.submitted")]
            assert len([event for event in found if event.type in FINAL]) == 1
            assert {event.type for event in found} <= {*FINAL, "report.received"}
            assert (await store.run(lambda tx: tx.faxes.get(fax.id))).source == first

    asyncio.run(scenario())


@pytest.mark.parametrize(("first", "then"), [("Success", "fail"), ("Fail", "confirm")])
def test_a_report_and_a_poll_that_contradict_make_a_conflict_event(
    tmp_path: Path, first: Literal["Success", "Fail"], then: FaxTrigger
) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store, watching(settings(box.port), store, tmp_path):
            fax = await a_fax(store, "claim", "accept")
            await box.deliver(report_mail(first, 9 if first == "Success" else 7, fax.token))
            [final] = [event for event in await events(store, 3, "fax.") if event.type in FINAL]
            await store.run(lambda tx: tx.faxes.transition(fax.id, then, clock()))
            await events(store, 1, "fax.conflict")
            assert f"fax.{(await store.run(lambda tx: tx.faxes.get(fax.id))).state}" == final.type
            assert len([event for event in await events(store, 4, "fax.") if event.type in FINAL]) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("status", ["Success", "Fail"])
def test_a_report_before_the_answer_of_the_upload_ends_the_fax(tmp_path: Path, status: Literal["Success", "Fail"]) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store, watching(settings(box.port), store, tmp_path):
            fax = await a_fax(store, "claim")
            await box.deliver(report_mail(status, 9 if status == "Success" else 7, fax.token))
            await events(store, 2, "fax.")
            answered = await store.run(lambda tx: tx.faxes.transition(fax.id, "accept", clock(), fax_code="late"))
            lost = await a_fax(store, "claim")
            await store.run(lambda tx: tx.faxes.transition(lost.id, "lose", clock()))
            await box.deliver(report_mail(status, 9 if status == "Success" else 7, lost.token))
            await events(store, 1, "fax.resolved")
            settled = await store.run(lambda tx: tx.faxes.get(lost.id))
            assert answered.state == settled.state == ("delivered" if status == "Success" else "failed")
            assert len([event for event in await events(store, 6, "fax.") if event.type in FINAL]) == 2

    asyncio.run(scenario())


def test_a_late_failure_of_an_earlier_attempt_does_not_fail_the_next(tmp_path: Path) -> None:
    """The token is the fax's; only the date shows which attempt is meant."""

    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store, watching(settings(box.port), store, tmp_path):
            fax = await a_fax(store, "claim", "accept")
            now = clock()
            attempts = (Attempt(n=1, started_at=now - timedelta(minutes=30)), Attempt(n=2, started_at=now))
            await store.run(lambda tx: tx.faxes.update(fax.id, attempts=attempts))
            await box.deliver(report_mail("Fail", 3, fax.token, date=now - timedelta(minutes=20)))
            await box.deliver(report_mail("Success", 9, "marker"))
            await events(store, 1, "report.received")
            asked = await store.run(lambda tx: tx.faxes.get(fax.id))
            assert asked.state == "submitted"
            assert asked.due_at < fax.due_at
            # An earlier attempt that arrived did arrive.
            await box.deliver(report_mail("Success", 9, fax.token, date=now - timedelta(minutes=20)))
            await events(store, 1, "fax.delivered")

    asyncio.run(scenario())


def test_uids_that_restart_below_the_cursor_lose_no_mail(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store:
            async with watching(settings(box.port), store, tmp_path):
                await box.deliver(report_mail("Success", 9, "one"))
                await events(store, 1)
            here = await store.run(lambda tx: tx.mailboxes.cursor("office", "INBOX"))
            assert here is not None
            await store.run(lambda tx: tx.mailboxes.save_cursor("office", "INBOX", replace(here, last_uid=here.last_uid + 5000)))
            await box.deliver(report_mail("Success", 9, "two"))
            async with watching(settings(box.port), store, tmp_path):
                found = await events(store, 2)
            assert [event.data["report"]["subject"] for event in found] == ["one", "two"]

    asyncio.run(scenario())


def test_a_mail_in_the_gap_before_idle_is_found_by_a_noop_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pymap does not announce a mail that came just before IDLE; the first, short IDLEs end in a NOOP that does."""
    wait = Connection.wait_for_exists
    turns: list[float] = []

    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store:

            async def deliver_first(self: Connection, seconds: float) -> None:
                turns.append(seconds)
                if len(turns) == 2:
                    await box.deliver(report_mail("Success", 9, "in the gap"))
                await wait(self, seconds / 100)

            monkeypatch.setattr(Connection, "wait_for_exists", deliver_first)
            async with watching(settings(box.port), store, tmp_path):
                await events(store, 1)
                await until(lambda: max(turns) > 30)
            assert turns[:2] == [0.5, 4.0]
            assert max(turns) <= 240

    asyncio.run(scenario())
