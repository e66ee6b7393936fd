"""A gateway's store, its notices and a relay, for the tests of notices, without the other stages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from mailbridge.config import Config, load
from mailbridge.errors import ErrorCode
from mailbridge.lifecycle import FaxTrigger
from mailbridge.model import Attempt, Delivery, Event, Failure, Fax, Recipient
from mailbridge.notice.assembly import build_dispatcher, build_folders
from mailbridge.notice.planner import Planner
from mailbridge.notice.writer import Confirm
from mailbridge.runtime import Runtime
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.webhook.payload import fax_data
from tests.factories import a_fax, an_envelope
from tests.integration.fax_fixtures import Clock
from tests.integration.relay_stand_in import RelayStandIn, Taken, relay_running
from tests.wait_helpers import PATIENCE, until

CONFIG = """
state_dir = "{state}"
[account.office]
email = "office-secret@example.co.il"
password = "x"
[smtp]
hostname = "gw.example.co.il"
[notice]
{notice}
"""
ORIGINAL = (
    b"From: Dana <dana@example.co.il>\r\nTo: 03-9876543@fax.local\r\nSubject: =?utf-8?b?16nXnNeV150=?=\r\n"
    b"Message-ID: <1@x>\r\nMIME-Version: 1.0\r\n\r\nThe contract is attached.\r\n.a line with a dot\r\n"
)
DANA = "dana@example.co.il"


class Office:
    """A store with the plan of a configuration, and its services."""

    def __init__(self, config: Config, store: SqliteStore, relay: RelayStandIn, confirm: Confirm | None) -> None:
        self.config, self.store, self.relay = config, store, relay
        self.clock = Clock()
        self.spool = LocalSpool(config.state_dir / "spool")
        self._confirm = confirm
        self._running: list[asyncio.Task[None]] = []

    @property
    def runtime(self) -> Runtime:
        return Runtime(self.store, self.spool, self.clock, lambda: 0.0)

    def start(self) -> None:
        """Deliver from now on."""
        services = build_dispatcher(self.config, self.runtime, self._confirm), build_folders(self.config, self.runtime)
        self._running = [asyncio.create_task(service.run()) for service in services if service is not None]

    async def stop(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running = []

    async def accept(
        self,
        *recipients: Recipient | str,
        content: bytes = ORIGINAL,
        triggers: tuple[FaxTrigger, ...] = ("claim", "accept"),
        **changes: Any,
    ) -> list[Fax]:
        """Accept a mail to these recipients (numbers such as 03-9876543 or whole ones); return its faxes after `triggers`."""
        now = self.clock()
        rcpts = tuple(a_recipient(one) if isinstance(one, str) else one for one in recipients)
        envelope = an_envelope(now, recipients=rcpts, size=len(content), **{"sender": DANA, **changes})
        file = self.spool.create(envelope.id)
        file.write(content)
        await file.commit()
        envelope = replace(envelope, path=file.relpath)
        numbers = dict.fromkeys(rcpt.number for rcpt in rcpts)
        document = replace(a_fax().documents[0], path=file.relpath)
        faxes = [a_fax(now, number=number, documents=(document,), user=envelope.user, pages=3) for number in numbers]
        await self.store.run(lambda tx: tx.submissions.add(envelope, faxes, None, now))
        return [await self.move(fax, *triggers) for fax in faxes]

    async def move(self, fax: Fax, *triggers: FaxTrigger, code: ErrorCode = "busy") -> Fax:
        now = self.clock()
        for trigger in triggers:
            changes: dict[str, Any] = {}
            if trigger == "claim":
                changes["attempts"] = (Attempt(n=1, started_at=now, ended_at=now),)
            if trigger in ("fail", "reject", "abandon", "expire"):
                changes["failure"] = Failure(code=code, message="/var/lib/secret www.internal.example", provider_code=3)
            fax = await self._transition(fax.id, trigger, changes)
        return fax

    async def _transition(self, fax_id: str, trigger: FaxTrigger, changes: dict[str, Any]) -> Fax:
        now = self.clock()
        return await self.store.run(lambda tx: tx.faxes.transition(fax_id, trigger, now, **changes))

    async def emit(self, type_: str, data: dict[str, Any], fax_id: str | None = None) -> Event:
        return await self.store.run(lambda tx: tx.events.emit(type_, data, self.clock(), fax_id))

    async def deliveries(self, endpoint: str = "notice") -> list[Delivery]:
        found = await self.store.run(lambda tx: tx.deliveries.newest(limit=10_000))
        return [one for one in reversed(found) if one.endpoint == endpoint]

    async def settled(self) -> None:
        """Return when nothing is due or under way."""

        async def nothing_due() -> bool:
            now = self.clock()
            found = [*await self.deliveries(), *await self.deliveries("folder")]
            return not any(one.state == "sending" or (one.state == "pending" and one.due_at <= now) for one in found)

        await until(nothing_due)

    async def mails(self) -> list[Taken]:
        """Return what the relay has, once nothing is due any more."""
        await self.settled()
        return list(self.relay.taken)

    def leap(self, by: timedelta) -> None:
        """Set the clock forward, and let the services see it."""
        self.clock.offset += by
        for endpoint in ("notice", "folder"):
            self.store.subscribe(f"deliver:{endpoint}").set()


def a_recipient(number: str, **parameters: str | None) -> Recipient:
    digits = "".join(sign for sign in number if sign.isdigit())
    e164 = f"+{digits}" if number.startswith("+") else f"+972{digits[1:]}"
    return Recipient(number=e164, address=f"{number}@fax.local", **parameters)


def read_config(folder: Path, notice: str, more: str) -> Config:
    path = folder / "config.toml"
    path.write_text(CONFIG.format(state=folder / "state", notice=notice) + more, encoding="utf-8")
    return load(path, {})


@contextlib.asynccontextmanager
async def an_office(
    folder: Path,
    notice: str = "",
    more: str = "",
    relay: RelayStandIn | None = None,
    confirm: Confirm | None = None,
    own_relay: bool = True,
) -> AsyncIterator[Office]:
    async with relay_running(relay or RelayStandIn()) as running:
        address = f'relay = "smtp://127.0.0.1:{running.port}"\n' if own_relay else ""
        config = read_config(folder, address + notice, more)
        async with SqliteStore(config.state_dir, fax_data, lambda _: [], 0.0, Planner(config)) as store:
            office = Office(config, store, running, confirm)
            office.start()
            try:
                yield office
            finally:
                await office.stop()


def in_office(
    folder: Path, scenario: Callable[[Office], Awaitable[None]], notice: str = "", more: str = "", **given: Any
) -> None:
    """Run a scenario in an office with these keys of [notice], and more of the configuration."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE * 5), an_office(folder, notice, more, **given) as office:
            await scenario(office)

    asyncio.run(main())


def texts(mails: Sequence[Taken]) -> list[str]:
    """Return the plain text of each mail."""
    found = []
    for mail in mails:
        part = mail.message.get_body(("plain",)) or next(p for p in mail.message.walk() if p.get_content_type() == "text/plain")
        found.append(str(part.get_content()).replace("\r\n", "\n"))
    return found
