"""One, two and three nodes on one machine and one PostgreSQL, beside SQLite: mails in, uploads to MyFax, webhooks out.

Prints one JSON line. Of each kind: mails accepted a second while sending is held; then, once it is not, uploads a second until
MyFax has every fax, and webhooks a second until every event has left. The MyFax simulator and the receiver run in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.bench.mails import with_pdf
from tests.bench.smtp_client import SmtpClient
from tests.e2e import environment
from tests.e2e.environment import Environment
from tests.e2e.several_nodes import nodes
from tests.postgres_server import running_server
from tests.wait_helpers import until

_MORE = '\n[fax]\nper_number = 0\nfirst_poll = "1h"\nslowest_poll = "1h"\n'
_PATIENCE = 900.0


async def _intake(daemons: list[Environment], mails: int, connections: int, size: int) -> float:
    """Send mails over so many connections, to the nodes in turn; return how many they accept a second."""
    kind = with_pdf(size)
    clients = [SmtpClient(daemons[number % len(daemons)].smtp[1]) for number in range(connections)]

    def send(client: SmtpClient, numbers: Sequence[int]) -> None:
        for number in numbers:
            # The simulator delivers what goes to a number that ends in 43.
            client.send(kind, b"03-9%04d43@fax.local" % (number % 10_000))
        client.close()

    shares = [range(mails)[start::connections] for start in range(connections)]
    began = time.perf_counter()
    with ThreadPoolExecutor(connections) as threads:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(threads, send, *pair) for pair in zip(clients, shares, strict=True)))
    return mails / (time.perf_counter() - began)


async def measure(directory: Path, count: int, mails: int, connections: int, size: int) -> dict[str, float]:
    """Measure so many nodes."""
    async with nodes(directory, count, reports=False, more=_MORE, uploads=20) as daemons:
        first = daemons[0]
        await first.ask("hold", account=None, by="bench")
        rate = await _intake(daemons, mails, connections, size)
        faxes = len(await first.ask("queue", limit=1_000_000))
        await until(lambda: len(first.receiver.events) >= faxes, patience=_PATIENCE, every=0.05)
        before = len(first.receiver.events)
        began = time.perf_counter()
        await first.ask("resume")
        await until(lambda: len(first.simulator.uploads) >= faxes, patience=_PATIENCE, every=0.01)
        uploaded = time.perf_counter() - began
        await until(lambda: len(first.receiver.events) >= 2 * faxes, patience=_PATIENCE, every=0.01)
        sent = time.perf_counter() - began
        events = len(first.receiver.events) - before
        return {
            "mails_per_s": round(rate, 1),
            "uploads_per_s": round(faxes / uploaded, 1),
            "webhooks_per_s": round(events / sent, 1),
        }


async def _measure_all(directory: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    load = (chosen.mails, chosen.connections, chosen.size)
    async with AsyncExitStack() as stack:
        figures = {"sqlite": await measure(_below(directory, "sqlite"), 1, *load)}
        environment.server = stack.enter_context(running_server(durable_in=directory))
        for count in chosen.nodes:
            figures[f"postgresql_{count}"] = await measure(_below(directory, f"nodes{count}"), count, *load)
    return figures


def _below(directory: Path, name: str) -> Path:
    below = directory / name
    below.mkdir()
    return below


def main() -> None:
    """Measure and print one JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mails", type=int, default=1200, help="mails of each measurement (default 1200)")
    options.add_argument("--connections", type=int, default=24, help="connections of the clients, over all nodes (default 24)")
    options.add_argument("--size", type=int, default=20_000, help="bytes of each mail (default 20000)")
    options.add_argument("--nodes", type=int, nargs="*", default=[1, 2, 3], help="numbers of nodes (default 1 2 3)")
    options.add_argument("--directory", type=Path, help="where everything is kept, on the disk to be measured")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="mailbridge-bench-", dir=chosen.directory) as directory:
        Path(directory).chmod(0o755)  # PostgreSQL runs as another user
        print(json.dumps({"bench": "nodes", "mails": chosen.mails, **asyncio.run(_measure_all(Path(directory), chosen))}))


if __name__ == "__main__":
    main()
