"""Webhooks out: events per second to one fast endpoint, and what a hanging endpoint adds to the latency of another.

The baseline is a loop of httpx without a store: the same bodies to the same receiver, as many at once.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import httpx

from mailbridge import log
from mailbridge.config import Webhook
from mailbridge.model import Event
from mailbridge.runtime import Runtime
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.webhook.dispatcher import CONCURRENCY, Dispatcher
from mailbridge.webhook.payload import body, fax_data
from tests.bench.process import measured

SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
# The size of a fax's event as it leaves.
DATA = {"fax_id": "fax_01KE3T7M5Z0Q8YV2N4R6W9XCHB", "seq": 3, "status": "delivered", "filler": "x" * 900}


class ReceiverProtocol(asyncio.Protocol):
    """Answers 204 at once, except `/hang`. `GET /` returns the first arrival of each webhook-id, except those at `/other`."""

    arrivals: ClassVar[dict[str, float]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._buffer = transport, bytearray()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, _ = bytes(self._buffer).partition(b"\r\n\r\n")
        pairs = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]] if blank else []
        fields = {name.lower(): value for name, value in pairs}
        if not blank or len(self._buffer) < len(head) + 4 + int(fields.get(b"content-length", b"0")):
            return
        self._buffer.clear()
        if head.startswith(b"GET"):
            arrivals = json.dumps(self.arrivals).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(arrivals), arrivals))
        elif not head.startswith(b"POST /hang"):
            if not head.startswith(b"POST /other"):
                self.arrivals.setdefault(fields[b"webhook-id"].decode(), time.perf_counter())
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


async def receive() -> None:
    """Run the receiver until standard input ends."""
    server = await asyncio.get_running_loop().create_server(ReceiverProtocol, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


def now() -> datetime:
    return datetime.now(UTC)


def render(event: Event) -> bytes:
    return body(event, "none", link=lambda _: ("", now()), read=lambda _: b"", inline_limit=0)


@asynccontextmanager
async def outbox(names: tuple[str, ...]) -> AsyncIterator[SqliteStore]:
    """Yield a store whose events go to endpoints of these names."""
    with tempfile.TemporaryDirectory(prefix="mailbridge-bench-") as directory:
        async with SqliteStore(Path(directory), fax_data, lambda _: names) as store:
            yield store


@asynccontextmanager
async def delivering(store: SqliteStore, urls: dict[str, str]) -> AsyncIterator[None]:
    """Run a dispatcher for each endpoint."""
    settings = {"secret": SECRET, "allow_private": True}
    hooks = {name: Webhook.model_validate({"url": url, **settings}) for name, url in urls.items()}
    with tempfile.TemporaryDirectory(prefix="mailbridge-bench-") as directory:
        runtime = Runtime(store, LocalSpool(Path(directory)), now, random.random)
        dispatchers = [Dispatcher(name, hook, runtime, render) for name, hook in hooks.items()]
    running = [asyncio.create_task(dispatcher.run()) for dispatcher in dispatchers]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def throughput(url: str, count: int) -> float:
    """Return the events per second of an outbox that holds `count`, from the start to the last settled delivery."""
    async with outbox(("quick",)) as store:
        for start in range(0, count, 100):
            await asyncio.gather(*(store.run(lambda tx: tx.events.emit("bench", DATA, now())) for _ in range(start, start + 100)))
        began = time.perf_counter()
        async with delivering(store, {"quick": url}):
            while (await store.run(lambda tx: tx.deliveries.counts())).get(("quick", "delivered"), 0) < count:
                await asyncio.sleep(0.02)
        return count / (time.perf_counter() - began)


async def bare(url: str, count: int) -> float:
    """Return the events per second of the baseline."""
    events = iter([Event(id=f"evt_{n}", type="bench", at=now(), fax_id=None, seq=0, data=DATA) for n in range(count)])

    async def post(http: httpx.AsyncClient) -> None:
        for event in events:
            (await http.post(url, content=render(event), headers={"webhook-id": f"bare_{event.id}"})).raise_for_status()

    async with httpx.AsyncClient(trust_env=False) as http:
        began = time.perf_counter()
        await asyncio.gather(*(post(http) for _ in range(CONCURRENCY)))
        return count / (time.perf_counter() - began)


async def latencies(base: str, beside: str, count: int, pace: float) -> list[float]:
    """Emit events at a steady pace; return the seconds from each commit to its arrival at the fast endpoint."""
    urls = {"quick": base, "beside": f"{base}{beside}"}
    committed: dict[str, float] = {}
    async with outbox(tuple(urls)) as store, delivering(store, urls), httpx.AsyncClient(trust_env=False) as http:
        for _ in range(count):
            event = await store.run(lambda tx: tx.events.emit("bench", DATA, now()))
            committed[event.id] = time.perf_counter()
            await asyncio.sleep(random.uniform(0.5, 1.5) / pace)
        async with asyncio.timeout(30):
            while not committed.keys() <= (arrived := (await http.get(base)).json()).keys():
                await asyncio.sleep(0.1)
    return [max(0.0, arrived[event] - at) for event, at in committed.items()]


def spread(seconds: list[float]) -> dict[str, float]:
    """Return statistics of latencies, in milliseconds."""
    ordered = sorted(1000 * value for value in seconds)
    return {f"p{share}_ms": round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 2) for share in (50, 95, 99)}


async def measure(port: int, count: int, paced: int, pace: float) -> dict[str, Any]:
    """Measure everything. What is compared is measured in turns, so that a busy machine affects both alike."""
    base = f"http://127.0.0.1:{port}/"
    rates: dict[str, list[float]] = {"bare": [], "mailbridge": []}
    waits: dict[str, list[float]] = {"other": [], "hang": []}
    for _ in range(3):
        rates["bare"].append(await bare(base, count))
        rates["mailbridge"].append(await throughput(base, count))
    for beside in (*waits, *waits, *waits):
        waits[beside] += await latencies(base, beside, paced // 3, pace)
    return {
        "events": count,
        "events_per_s": {name: [round(rate) for rate in found] for name, found in rates.items()},
        "beside_a_quick_one": spread(waits["other"]),
        "beside_one_that_hangs": spread(waits["hang"]),
    }


def main() -> None:
    """Measure and print one JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=2000, help="events for the rate (default 2000)")
    options.add_argument("--paced", type=int, default=900, help="events for the latency (default 900)")
    options.add_argument("--pace", type=float, default=50, help="events per second for the latency (default 50)")
    options.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.receive:
        asyncio.run(receive())
        return
    log.setup("error")
    with tempfile.TemporaryDirectory() as directory:
        log_file = Path(directory) / "receiver.log"
        with measured(["tests.bench.webhooks", "--receive"], log_file) as receiver:
            figures = asyncio.run(measure(receiver.facts["port"], chosen.count, chosen.paced, chosen.pace))
    print(json.dumps({"bench": "webhooks", **figures}))


if __name__ == "__main__":
    main()
