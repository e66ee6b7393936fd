"""Notices out: how many a second a local relay gets, and whether memory stays flat.

Mails are accepted and their faxes fail; then everything that is due is sent, half as DSNs. The relay is a stand-in in a process
of its own, or a Postfix of its own with `--postfix`. Exits with 1 below 100 notices a second, or if memory grows by more
than 20 MB between the first tenth and the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mailbridge import log
from mailbridge.model import Recipient
from tests.integration.mail_servers import postfix_running
from tests.integration.notice_fixtures import Office, an_office
from tests.integration.relay_stand_in import RelayStandIn, relay_running

_LEAST, _MOST_GROWTH = 100.0, 20e6


def _serve(ends: Connection) -> None:
    async def main() -> None:
        relay = RelayStandIn()
        async with relay_running(relay):
            ends.send(relay.port)
            while not await asyncio.to_thread(ends.poll, 0.2):
                relay.taken.clear()  # it shares the machine's memory

    asyncio.run(main())


@contextmanager
def _stand_in() -> Iterator[int]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


def _memory() -> int:
    """Return the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def _accept(office: Office, count: int) -> None:
    await office.stop()
    for n in range(count):
        recipient = Recipient(number="+97239876543", address="03-9876543@fax.local", notify="FAILURE" if n % 2 else None)
        [fax] = await office.accept(recipient, sender=f"user{n % 500}@example.co.il", ret="FULL")
        await office.move(fax, "fail")


async def _measure(count: int, port: int) -> dict[str, Any]:
    log.setup("error", "json")
    keys = f'relay = "smtp://127.0.0.1:{port}"\nper_hour = 1000000'
    with tempfile.TemporaryDirectory() as folder:
        async with an_office(Path(folder), keys, own_relay=False) as office:
            await _accept(office, count)
            office.start()
            started, first = time.perf_counter(), 0
            while (sent := await _sent(office)) < count:
                first = first or (_memory() if sent >= count / 10 else 0)
                await asyncio.sleep(0.2)
            seconds, growth = time.perf_counter() - started, _memory() - (first or _memory())
    return {"notices": count, "per_second": round(count / seconds, 1), "memory": _memory(), "growth": growth}


async def _sent(office: Office) -> int:
    counts = await office.store.run(lambda tx: tx.deliveries.counts())
    return counts.get(("notice", "delivered"), 0)


def main() -> int:
    """Measure, and print the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--postfix", action="store_true", help="send to a Postfix of its own")
    arguments = parser.parse_args()
    if arguments.postfix:
        with postfix_running() as server:
            result = asyncio.run(_measure(arguments.count, server.port))
    else:
        with _stand_in() as port:
            result = asyncio.run(_measure(arguments.count, port))
    print(json.dumps(result))
    return 0 if result["per_second"] >= _LEAST and result["growth"] <= _MOST_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
