"""Notices to administrators: one mail per cause and hour, and one when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailbridge.assembly import Assembly
from mailbridge.errors import StoreUnavailable
from mailbridge.notice.admin_text import CAUSES, admin_sections
from mailbridge.notice.admin_watch import AdminLead, AdminWatch
from mailbridge.notice.assembly import build_admin_watch
from mailbridge.notice.wording import as_text
from tests.factories import NOW
from tests.integration.notice_fixtures import Office, a_recipient, in_office, texts
from tests.wait_helpers import until

KEYS = 'admin = ["it@example.co.il", "boss@example.co.il"]\non = []\n'


def watching(folder: Path, scenario: Callable[[Office, AdminWatch], Awaitable[None]]) -> None:
    async def main(office: Office) -> None:
        watch = build_admin_watch(office.config, office.runtime)
        assert watch is not None
        await scenario(office, watch)

    in_office(folder, main, KEYS)


async def firsts(office: Office) -> list[str]:
    """Return the first line of each mail to the first administrator."""
    return [texts([mail])[0].splitlines()[0] for mail in await office.mails() if "<it@" in mail.rcpt_to]


async def condition(office: Office, name: str, *, on: bool) -> None:
    await office.store.run(lambda tx: tx.conditions.set(name, on=on))


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("mailbox office is down", "mailbox_down"),
        ("account office is paused", "account_paused"),
        ("credit of office is low", "credit_low"),
    ],
)
def test_one_mail_per_cause_and_hour_and_one_when_it_is_over(tmp_path: Path, name: str, cause: str) -> None:
    begin, over = (CAUSES[cause]["he"][n].format(name="office") + "." for n in (0, 2))

    async def scenario(office: Office, watch: AdminWatch) -> None:
        await watch.look()
        assert await firsts(office) == []
        await condition(office, name, on=True)
        for _ in range(3):
            await watch.look()
        assert await firsts(office) == [begin]
        assert len(office.relay.taken) == 2, "each administrator gets a mail"
        assert all(mail.message["Auto-Submitted"] == "auto-generated" for mail in office.relay.taken)
        office.leap(timedelta(minutes=61))
        await watch.look()
        assert await firsts(office) == [begin] * 2
        await condition(office, name, on=False)
        for _ in range(3):
            await watch.look()
        assert await firsts(office) == [begin, begin, over]
        # Again within the hour: nothing, until the hour is over.
        await condition(office, name, on=True)
        await watch.look()
        assert len(await firsts(office)) == 3
        await condition(office, name, on=False)
        await watch.look()
        assert len(await firsts(office)) == 3
        await condition(office, name, on=True)
        await watch.look()
        office.leap(timedelta(minutes=61))
        await watch.look()
        assert await firsts(office) == [begin, begin, over, begin]

    watching(tmp_path, scenario)


def test_doubts_refusals_stopped_webhooks_and_dead_deliveries(tmp_path: Path) -> None:
    async def scenario(office: Office, watch: AdminWatch) -> None:
        [doubt] = await office.accept("03-9876543", triggers=("claim", "lose"))
        [refused] = await office.accept("03-9876544", triggers=("claim",))
        await office.move(refused, "reject", code="unreachable")
        await office.store.run(lambda tx: tx.stopped_webhooks.add("crm", "HTTP 410", office.clock()))
        office.relay.refuse["RCPT TO:<dana"] = "550 no"
        [failed] = await office.accept(a_recipient("03-9876545", notify="FAILURE"))
        await office.move(failed, "fail")
        await office.settled()
        await watch.look()
        causes = {"account_refused", "webhook_stopped", "delivery_dead", "in_doubt"}
        names = {"account_refused": "office", "webhook_stopped": "crm", "delivery_dead": "notice", "in_doubt": ""}
        begins = {CAUSES[cause]["he"][0].format(name=names[cause]) + "." for cause in causes}
        assert set(await firsts(office)) == begins
        await office.move(doubt, "confirm")
        await office.accept("03-9876546")
        await office.store.run(lambda tx: tx.stopped_webhooks.remove("crm"))
        del office.relay.refuse["RCPT TO:<dana"]
        from mailbridge.control.delivery_actions import replay

        await replay(office.store, office.clock, endpoint="notice")
        await office.settled()
        await watch.look()
        over = {CAUSES[cause]["he"][2].format(name=names[cause]) + "." for cause in causes}
        assert set((await firsts(office))[4:]) == over

    watching(tmp_path, scenario)


def test_a_relay_that_was_down_is_mailed_when_it_is_back(tmp_path: Path) -> None:
    async def scenario(office: Office, watch: AdminWatch) -> None:
        office.relay.refuse["CONNECT"] = "421 closed"
        [fax] = await office.accept(a_recipient("03-9876545", notify="FAILURE"))
        await office.move(fax, "fail")
        await office.settled()
        await watch.look()
        office.relay.refuse.clear()
        await office.stop()
        office.leap(timedelta(minutes=10))
        office.start()
        await office.settled()
        await watch.look()
        begin, over = (CAUSES["relay"]["he"][n].format(name="relay") + "." for n in (0, 2))
        assert (await firsts(office)).count(over) == 1
        assert set(await firsts(office)) <= {begin, over}

    watching(tmp_path, scenario)


def test_a_disk_that_cannot_be_written_is_mailed_without_the_store(tmp_path: Path) -> None:
    async def scenario(office: Office, watch: AdminWatch) -> None:
        store = watch._store

        class Broken:
            async def run(self, work: Any) -> Any:
                raise StoreUnavailable("disk I/O error")

        watch._store = Broken()  # type: ignore[assignment]
        for _ in range(3):
            await watch.look()
        begin, over = (CAUSES["disk"]["he"][n] + "." for n in (0, 2))
        assert await firsts(office) == [begin]
        office.leap(timedelta(minutes=61))
        await watch.look()
        watch._store = store
        await watch.look()
        await watch.look()
        assert await firsts(office) == [begin, begin, over]

    watching(tmp_path, scenario)


def test_a_database_that_cannot_be_written_is_mailed_by_the_node_that_leads(tmp_path: Path) -> None:
    """That node also says that it is over, whoever leads then."""

    async def scenario(office: Office, watch: AdminWatch) -> None:
        store, lead = watch._store, AdminLead(watch)
        watch._cause = "database"

        class Broken:
            async def run(self, work: Any) -> Any:
                raise StoreUnavailable("the server does not answer")

        watch._store = Broken()  # type: ignore[assignment]
        await watch.look()
        assert await firsts(office) == []
        leading = asyncio.create_task(lead.run())
        await until(lambda: watch.leads)
        await watch.look()
        leading.cancel()  # its lease is over
        await asyncio.gather(leading, return_exceptions=True)
        await watch.look()
        watch._store = store
        await watch.look()
        await watch.look()
        assert await firsts(office) == [CAUSES["database"]["he"][n] + "." for n in (0, 2)]

    watching(tmp_path, scenario)


def test_with_sqlite_the_first_look_is_made_by_one_that_leads(tmp_path: Path) -> None:
    """Otherwise an administrator heard of a cause 15 seconds later."""

    async def scenario(office: Office, _: AdminWatch) -> None:
        await condition(office, "mailbox office is down", on=True)
        parts = Assembly(office.config, office.runtime, {})._notices()
        services = [part.service for part in parts if part.kind in ("admin", "lead")]
        [watch] = [service for service in services if isinstance(service, AdminWatch)]
        led, look = [], watch.look

        async def first_look() -> None:
            led.append(watch.leads)
            await look()

        watch.look = first_look  # type: ignore[method-assign]
        tasks = [asyncio.create_task(service.run()) for service in services]  # in their order, as Background does it
        await until(lambda: bool(led))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert led == [True]

    watching(tmp_path, scenario)


def test_a_mail_about_the_disk_that_the_relay_refuses_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(office: Office, watch: AdminWatch) -> None:
        class Broken:
            async def run(self, work: Any) -> Any:
                raise StoreUnavailable("disk I/O error")

        watch._store = Broken()  # type: ignore[assignment]
        office.relay.refuse["RCPT TO:<it@"] = "550 no such user"
        await watch.look()
        assert [mail.rcpt_to.split(" ")[0] for mail in office.relay.taken] == ["<boss@example.co.il>"]
        logged = "".join(capsys.readouterr())
        assert "notice dead" in logged
        assert "it@example.co.il" in logged

    watching(tmp_path, scenario)


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("language", ["he", "en"])
def test_each_cause_has_its_words(cause: str, language: Any) -> None:
    from zoneinfo import ZoneInfo

    facts = {"cause": cause, "name": "office", "since": NOW.isoformat(), "error": "it is so", "count": 3}
    for over in (False, True):
        text = as_text(admin_sections({**facts, "over": over}, ZoneInfo("Asia/Jerusalem"), language), language)
        assert "{" not in text
        assert len(text.splitlines()) >= 2
