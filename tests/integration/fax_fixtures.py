"""A store, a spool and MyFax clients for the tests of uploading and polling, with a clock that can be shifted."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from structlog.testing import capture_logs

from mailbridge.config import Account, FaxOptions
from mailbridge.demo.simulator import Simulator
from mailbridge.errors import StoreUnavailable
from mailbridge.fax.in_flight import InFlightCalls
from mailbridge.fax.poller import Poller
from mailbridge.fax.uploader import Uploader
from mailbridge.model import Attempt, Document, Email, Fax, new_id
from mailbridge.myfax import MyFax
from mailbridge.runtime import Runtime
from mailbridge.store.hand_over import HandOver
from mailbridge.store.interface import Transaction
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.webhook.payload import fax_data
from tests.factories import NUMBER, a_fax, an_envelope
from tests.integration.scripted_servers import PASSWORD, PDF
from tests.wait_helpers import PATIENCE, until

T = TypeVar("T")
EMAIL = "office@example.co.il"


class Clock:
    """The real time, shifted by `offset`."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.offset


class WatchedStore:
    """A Store that counts its transactions, and that can hold or refuse those whose function has a given name.

    New deliveries are claimed by a transaction of their dispatcher, not in the commit that adds them.
    """

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.runs = self.running = 0
        self.refuse: dict[str, int] = {}
        self.hold: dict[str, asyncio.Event] = {}
        self.hand_over = HandOver(lambda _: None)

    async def run(self, work: Callable[[Transaction], T]) -> T:
        self.runs += 1
        self.running += 1
        try:
            return await self._run(work)
        finally:
            self.running -= 1

    async def _run(self, work: Callable[[Transaction], T]) -> T:
        name = getattr(getattr(work, "func", work), "__name__", "")
        if name in self.hold:
            await self.hold[name].wait()
        if self.refuse.get(name, 0) > 0:
            self.refuse[name] -= 1
            raise StoreUnavailable("the database cannot take it now")
        return await self._store.run(work)

    def subscribe(self, topic: str) -> asyncio.Event:
        return self._store.subscribe(topic)


class Waits:
    """The loops that wait now for the next thing to do: how many, and at most how long the last one, None without a limit."""

    count: int = 0
    seconds: float | None = 0.0

    @contextlib.contextmanager
    def watched(self, owner: type, name: str) -> Iterator[None]:
        """Watch the waits of the loops that run meanwhile, by the method of that name."""
        real = getattr(owner, name)

        async def wait(this: object, wakeup: asyncio.Event, seconds: float | None) -> None:
            self.count, self.seconds = self.count + 1, seconds
            try:
                await real(this, wakeup, seconds)
            finally:
                self.count -= 1

        with patch.object(owner, name, wait):
            yield

    async def idle(self, loops: int, store: WatchedStore) -> None:
        """Return when so many loops wait, and nothing has changed that for many turns of the event loop.

        What they began before they wait, such as a connection, has come about by then: it needs some turns, and no thread.
        """
        turns = 0
        async with asyncio.timeout(PATIENCE):
            while turns < 200:
                turns = turns + 1 if self.count == loops and not store.running else 0
                await asyncio.sleep(0)


@dataclass
class FaxEnvironment:
    """Everything around the uploader and the poller under test."""

    state: Path
    store: WatchedStore
    spool: LocalSpool
    clients: dict[str, MyFax]
    options: FaxOptions
    log_lines: list[Any]
    clock: Clock = field(default_factory=Clock)
    running: list[asyncio.Task[None]] = field(default_factory=list)
    waits: Waits = field(default_factory=Waits)

    @property
    def runtime(self) -> Runtime:
        return Runtime(self.store, self.spool, self.clock, lambda: 0.5)

    def document(self, content: bytes = PDF, name: str = "invoice.pdf") -> Document:
        path = self.spool.store_received(new_id("doc"), content)
        digest = hashlib.sha256(content).hexdigest()
        return Document(
            name=name, content_type="application/pdf", size=len(content), sha256=digest, path=path, offset=0, length=len(content)
        )

    def fax(self, number: str = NUMBER, **changes: Any) -> Fax:
        plain = {"number": number, "email": Email(sender="dana@example.co.il"), "tags": {}}
        return a_fax(self.clock(), **{**plain, **changes, "documents": changes.get("documents") or (self.document(),)})

    async def queued(self, *numbers: str, **changes: Any) -> list[Fax]:
        faxes = [self.fax(number, **changes) for number in numbers or ("+97239876543",)]
        await self.accept(*faxes)
        return faxes

    async def accept(self, *faxes: Fax) -> None:
        envelope = an_envelope(self.clock(), message_id=None)
        await self.store.run(lambda tx: tx.submissions.add(envelope, faxes, None, self.clock()))

    async def submitted(self, number: str = "+97239876543", code: str = "c-1", **changes: Any) -> Fax:
        """Store a fax that MyFax has accepted."""
        fax = self.fax(number, **changes)
        await self.accept(fax)
        attempt = Attempt(n=1, started_at=self.clock(), whole_at=self.clock(), fax_code=code)
        await self.store.run(lambda tx: tx.faxes.transition(fax.id, "claim", self.clock(), attempts=(*fax.attempts, attempt)))
        return await self.store.run(lambda tx: tx.faxes.transition(fax.id, "accept", self.clock(), fax_code=code))

    def uploader(self, account: str = "office", **settings: Any) -> Uploader:
        configured = Account(email=EMAIL, password=PASSWORD, **settings)  # type: ignore[arg-type]
        uploader = Uploader(account, configured, self.clients[account], self.options, self.runtime)
        self.running.append(asyncio.create_task(uploader.run()))
        return uploader

    def poller(self) -> Poller:
        poller = Poller(self.clients, self.options, self.runtime)
        self.running.append(asyncio.create_task(poller.run()))
        return poller

    async def stop(self) -> None:
        for task in self.running:
            task.cancel()
        for ended in await asyncio.gather(*self.running, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended
        self.running.clear()

    def shift_clock(self, seconds: float) -> None:
        """Shift the clock, and wake the uploader and the poller, as the next event would."""
        self.clock.offset += timedelta(seconds=seconds)
        for topic in ("upload:office", "poll"):
            self.store.subscribe(topic).set()

    async def idle(self) -> None:
        """Return when the uploader and the poller wait. See `Waits`."""
        await self.waits.idle(len(self.running), self.store)

    async def now(self, fax: Fax) -> Fax:
        return await self.store.run(lambda tx: tx.faxes.get(fax.id))

    async def events(self, fax: Fax | None = None) -> list[str]:
        found = await self.store.run(lambda tx: tx.events.newest(fax.id if fax else None))
        return [event.type for event in reversed(found)]

    async def becomes(self, fax: Fax, *states: str) -> Fax:
        async def there() -> bool:
            return (await self.now(fax)).state in states

        await until(there, what=f"{fax.id} is not {states}")
        return await self.now(fax)

    def on_disk(self, fax: Fax) -> tuple[str, str]:
        """Return state and attempts as another process would find them now."""
        with contextlib.closing(sqlite3.connect(f"file:{self.state}/mailbridge.sqlite3?mode=ro", uri=True)) as database:
            state, attempts = database.execute("SELECT state, attempts FROM fax WHERE id = ?", (fax.id,)).fetchone()
        return str(state), json.dumps(json.loads(attempts))

    def logged(self, text: str, id: str | None = None) -> list[Any]:
        return [line for line in self.log_lines if line["event"] == text and id in (None, line["id"])]


@asynccontextmanager
async def fax_environment(state: Path, *urls: str, timeout: float = PATIENCE, **options: Any) -> AsyncIterator[FaxEnvironment]:
    """The first URL is that of the account `office`, the others those of `second` and `third`."""
    with capture_logs() as lines:
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(SqliteStore(state, fax_data, lambda _: []))
            names = ("office", "second", "third")
            clients = {
                name: await stack.enter_async_context(MyFax(EMAIL, PASSWORD, url, timeout))
                for name, url in zip(names, urls, strict=False)
            }
            # Most tests send several faxes to one number at a time.
            chosen = FaxOptions.model_validate({"per_number": 0, **options})
            env = FaxEnvironment(state, WatchedStore(store), LocalSpool(state / "spool"), clients, chosen, lines)
            stack.enter_context(env.waits.watched(InFlightCalls, "wait"))
            try:
                yield env
            finally:
                await env.stop()
            assert PASSWORD not in repr(lines)


@asynccontextmanager
async def running_simulator(**options: Any) -> AsyncIterator[tuple[Simulator, str]]:
    simulator = Simulator(email=EMAIL, password=PASSWORD, **{"step": 0.0, **options})
    url = await simulator.start()
    try:
        yield simulator, url
    finally:
        await simulator.stop()
