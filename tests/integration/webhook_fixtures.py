"""A store, a dispatcher and receivers for the tests of webhooks, with a clock that can be set and a receiver that misbehaves."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mailbridge.config import Webhook
from mailbridge.demo.receiver import Receiver
from mailbridge.lifecycle import DeliveryState
from mailbridge.model import Delivery, Event
from mailbridge.runtime import Runtime
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.webhook.dispatcher import Dispatcher
from mailbridge.webhook.payload import body, fax_data
from tests.integration.fax_fixtures import Clock, Waits, WatchedStore
from tests.wait_helpers import until

OLD, NEW = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
Render = Callable[[Event], bytes]


def now() -> datetime:
    return datetime.now(UTC)


def render(event: Event) -> bytes:
    return body(event, "none", link=lambda _: ("", now()), read=lambda _: b"", inline_limit=0)


class Hooks:
    """A store whose events go to every endpoint that was started."""

    def __init__(self, store: SqliteStore, spool: LocalSpool) -> None:
        self.plain, self.store = store, WatchedStore(store)
        self.clock = Clock()
        self.runtime = Runtime(self.store, spool, self.clock, lambda: 0.0)
        self.render: Render = render
        self.running: dict[str, asyncio.Task[None]] = {}
        self.waits = Waits()

    def start(self, name: str, url: str, render_linked: Render | None = None, **options: Any) -> Dispatcher:
        """Deliver to an endpoint from now on."""
        settings = {"url": url, "secret": [NEW, OLD], "allow_private": True, **options}
        hook = Webhook.model_validate(settings)
        dispatcher = Dispatcher(name, hook, self.runtime, lambda event: self.render(event), render_linked)
        self.running[name] = asyncio.create_task(dispatcher.run())
        return dispatcher

    async def stop(self, name: str) -> None:
        """Stop an endpoint's dispatcher as the daemon does."""
        task = self.running.pop(name)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def idle(self) -> None:
        """Return when every dispatcher waits. See `Waits`; a body is made in a thread, and is not waited for."""
        await self.waits.idle(len(self.running), self.store)

    async def emit(self, type_: str = "ping", **data: Any) -> Event:
        return await self.store.run(lambda tx: tx.events.emit(type_, data, self.clock()))

    async def of(self, event: Event, endpoint: str = "crm") -> Delivery:
        found = await self.store.run(lambda tx: tx.deliveries.newest(event_id=event.id))
        return next(delivery for delivery in found if delivery.endpoint == endpoint)

    async def until(self, event: Event, holds: Callable[[Delivery], bool], endpoint: str = "crm") -> Delivery:
        """Wait until `holds` is true of an event's delivery. Raises AssertionError."""
        found: list[Delivery] = []

        async def held() -> bool:
            found[:] = [await self.of(event, endpoint)]
            return holds(found[0])

        await until(held)
        return found[0]

    async def settled(self, event: Event, state: DeliveryState, endpoint: str = "crm") -> Delivery:
        return await self.until(event, lambda delivery: delivery.state == state, endpoint)

    async def failed(self, event: Event, tries: int = 1) -> Delivery:
        return await self.until(event, lambda d: d.error is not None and d.state != "sending" and d.attempts >= tries)

    def leap(self, by: timedelta) -> None:
        """Set the clock forward and make the dispatchers read it."""
        self.clock.offset += by
        for name in self.running:
            self.store.subscribe(f"deliver:{name}").set()


def in_hooks(state: Path, scenario: Callable[[Hooks], Awaitable[None]], endpoints: tuple[str, ...] = ("crm",)) -> None:
    """Run a scenario with the events routed to `endpoints`."""

    async def main() -> None:
        async with SqliteStore(state, fax_data, lambda _: endpoints) as store:
            hooks = Hooks(store, LocalSpool(state / "spool"))
            try:
                with hooks.waits.watched(Dispatcher, "_wait"):
                    await scenario(hooks)
            finally:
                for name in list(hooks.running):
                    await hooks.stop(name)

    asyncio.run(main())


@asynccontextmanager
async def receiving(secret: str = NEW) -> AsyncIterator[tuple[Receiver, str]]:
    """Yield a receiver that verifies with the Standard Webhooks library, and its URL."""
    receiver = Receiver(secret)
    try:
        yield receiver, await receiver.start()
    finally:
        await receiver.stop()


class Raw:
    """A receiver with a scripted answer. `met` counts connections, `posts` whole requests, `cut` connections the peer closed."""

    def __init__(self, answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> None:
        self._answer = answer
        self.met = self.posts = self.cut = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            self.posts += 1
            await self._answer(writer)
        except (OSError, asyncio.IncompleteReadError):
            self.cut += 1
        finally:
            writer.close()


@asynccontextmanager
async def raw(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[tuple[Raw, str]]:
    """Yield a receiver with a scripted answer, and its URL."""
    receiver = Raw(answer)
    talks: set[asyncio.Task[None]] = set()

    def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.ensure_future(receiver(reader, writer))
        talks.add(talk)
        talk.add_done_callback(talks.discard)

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield receiver, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


async def hang(_: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def drip_head(writer: asyncio.StreamWriter) -> None:
    """Answer with an endless header, a byte at a time."""
    writer.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
    while True:
        writer.write(b"z")
        await writer.drain()
        await asyncio.sleep(0.01)


async def drip_body(writer: asyncio.StreamWriter) -> None:
    """Answer 200 at once, with an endless body, a byte at a time."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        writer.write(b"z")
        await writer.drain()
        await asyncio.sleep(0.01)
