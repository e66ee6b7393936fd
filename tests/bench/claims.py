"""Claims of faxes by several nodes: processes that claim on one PostgreSQL at once, as the uploaders of daemons do.

Prints one JSON line: how many claims a second all make together, and how long the transaction of one takes, among so many rows of
faxes that have ended. `run` is for tests too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

from sqlalchemy import select

from mailbridge.config import Account, FaxOptions
from mailbridge.fax.uploader import Uploader
from mailbridge.model import Fax
from mailbridge.myfax import MyFax
from mailbridge.runtime import Runtime
from mailbridge.store import schema
from mailbridge.store.interface import Transaction
from mailbridge.store.postgres import PostgresStore
from mailbridge.store.spool import Spool
from mailbridge.webhook.payload import fax_data
from tests.bench.process import percentile
from tests.factories import a_fax, an_envelope
from tests.postgres_server import PostgresServer, running_server
from tests.preloaded_process import Start, preloaded
from tests.wait_helpers import PATIENCE

_CHUNK = 500
_UPLOADS = 20


def _store(url: str) -> PostgresStore:
    return PostgresStore(url, fax_data, lambda type_: [], unsafe=True)


def _now() -> datetime:
    return datetime.now(UTC)


class _Claimer(Uploader):
    """An uploader that only claims. It notes the seconds of each of its transactions."""

    def __init__(self, store: PostgresStore) -> None:
        account = Account.model_validate({"email": "office@example.co.il", "password": "demo", "uploads": _UPLOADS})
        runtime = Runtime(store, cast(Spool, None), store.node.now if store.node else _now, lambda: 0.0)
        super().__init__("office", account, cast(MyFax, None), FaxOptions(), runtime)
        self.seconds: list[float] = []

    def claim(self, tx: Transaction) -> list[Fax]:
        began = time.perf_counter()
        # What is claimed goes on at once, so that there is room for more.
        claimed = [tx.faxes.transition(fax.id, "accept", _now(), fax_code=fax.id) for fax in self._claim(tx, _UPLOADS - 1)]
        self.seconds.append(time.perf_counter() - began)
        return claimed


async def _claim_all(url: str, claimers: int) -> dict[str, Any]:
    """Claim with so many claimers at once until nothing is due; return what was claimed, and the times."""
    claimed: list[str] = []
    async with _store(url) as store:
        claimer = _Claimer(store)

        async def work() -> None:
            while True:
                if found := await store.run(claimer.claim):
                    claimed.extend(fax.id for fax in found)
                elif await store.run(lambda tx: tx.faxes.next_due("queued", "office")) is None:
                    return

        print(json.dumps({"ready": True}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(claimers)))
        return {"claimed": claimed, "seconds": time.perf_counter() - began, "times": claimer.seconds}


async def fill(server: PostgresServer, database: str, due: int, ended: int) -> None:
    """Store so many faxes that are due, and at least so many that have ended, as the store would have left them."""
    now = _now()

    def mails(tx: Transaction, numbers: Sequence[int]) -> None:
        faxes = [
            a_fax(now, number=f"+9723{number:07}", user=f"user{number % 20}", expires_at=now + timedelta(days=9))
            for number in numbers
        ]
        tx.submissions.add(an_envelope(now), faxes, None, now)

    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(_store(server.url(database)))
        for start in range(0, due, _CHUNK):
            await store.run(partial(mails, numbers=range(start, min(due, start + _CHUNK))))
    if ended:
        _multiply(server, database, ended)
    server.ask(database, "ANALYZE")


def _multiply(server: PostgresServer, database: str, ended: int) -> None:
    """Copy one fax as often as needed, each copy delivered, with an id, token and number of its own."""
    changed = {
        "id": "'fax_00' || lpad(n::text, 24, '0')",
        "token": "'old-' || n",
        "number": "'+9724' || lpad(n::text, 7, '0')",
        "state": "'delivered'",
        "final_at": "created_at",
    }
    names = [f'"{column.name}"' for column in select(schema.fax).selected_columns]
    values = [changed.get(name.strip('"'), name) for name in names]
    statement = (
        f"INSERT INTO fax ({', '.join(names)}) SELECT {', '.join(values)}"
        f" FROM (SELECT * FROM fax LIMIT 1) AS one, generate_series(1, {ended}) AS n"
    )
    # The triggers count each row, all in one row that grows old in one transaction.
    server.ask(database, "ALTER TABLE fax DISABLE TRIGGER USER")
    server.ask(database, cast(Any, statement))
    server.ask(database, "ALTER TABLE fax ENABLE TRIGGER USER")


def run(url: str, nodes: int, claimers: int) -> list[dict[str, Any]]:
    """Let so many processes claim all that is due, beginning together; return what each did."""
    arguments = ["--claim", url, "--claimers", str(claimers)]
    with ExitStack() as stack:
        pipes = [_start(arguments, stack) for _ in range(nodes)]
        for _, output in pipes:
            assert json.loads(output.readline()) == {"ready": True}
        for given, _ in pipes:
            given.write("\n")
            given.flush()
        return [json.loads(output.readline()) for _, output in pipes]


def _start(arguments: Sequence[str], stack: ExitStack) -> tuple[TextIO, TextIO]:
    """Start a process; return its standard input and output."""
    ends = [os.pipe(), os.pipe()]
    theirs = [ends[0][0], ends[1][1], 2]
    start = Start(arguments=arguments, env=dict(os.environ), program="from tests.bench.claims import main; main()")
    process = preloaded().start_now(start, theirs)
    stack.callback(process.wait_for, PATIENCE)
    for end in theirs[:2]:
        os.close(end)
    return stack.enter_context(open(ends[0][1], "w")), stack.enter_context(open(ends[1][0]))


def measure(directory: Path, due: int, ended: int, nodes: int, claimers: int) -> dict[str, Any]:
    """Measure claims on a server that keeps what it commits, with its files in this directory."""
    with running_server(durable_in=directory) as server:
        database = server.database("claims")
        asyncio.run(fill(server, database, due, ended))
        found = run(server.url(database), nodes, claimers)
    times = [seconds for one in found for seconds in one["times"]]
    claimed = sum(len(one["claimed"]) for one in found)
    assert claimed == due
    return {
        "nodes": nodes,
        "claims_per_s": round(claimed / max(one["seconds"] for one in found)),
        **{f"p{share}_ms": round(1000 * percentile(times, share / 100), 1) for share in (50, 95, 99)},
    }


def main() -> None:
    """Measure and print one JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--due", type=int, default=10_000, help="faxes that are due (default 10000)")
    options.add_argument("--ended", type=int, default=1_000_000, help="faxes that have ended (default 1000000)")
    options.add_argument("--nodes", type=int, nargs="*", default=[1, 8], help="numbers of processes (default 1 8)")
    options.add_argument("--claimers", type=int, default=50, help="claimers of each process (default 50)")
    options.add_argument("--directory", type=Path, help="where the server's files are, on the disk to be measured")
    options.add_argument("--claim", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.claim:
        print(json.dumps(asyncio.run(_claim_all(chosen.claim, chosen.claimers))))
        return
    with tempfile.TemporaryDirectory(prefix="mailbridge-bench-", dir=chosen.directory) as directory:
        Path(directory).chmod(0o755)  # PostgreSQL runs as another user
        found = [measure(Path(directory), chosen.due, chosen.ended, nodes, chosen.claimers) for nodes in chosen.nodes]
    print(json.dumps({"bench": "claims", "due": chosen.due, "ended": chosen.ended, "claims": found}))


if __name__ == "__main__":
    main()
