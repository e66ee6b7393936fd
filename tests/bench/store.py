"""Store: how the time of a start and of frequent queries grows with the number of finished faxes.

Prints one JSON line: for each size the seconds and peak memory (MiB) of a start in a process of its own (opening, recovery, the
sweep for orphans with a file for every mail), and the median milliseconds of each query.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import insert

from mailbridge import log
from mailbridge.lifecycle import FaxState
from mailbridge.model import Attempt, Document, Email, Envelope, Event, Fax, Recipient, first_id, new_id, new_token
from mailbridge.store import orphans, rows, schema
from mailbridge.store.interface import Transaction
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.store.transaction import SqlTransaction
from mailbridge.webhook.payload import fax_data

NOW = datetime(2026, 1, 4, 9, 0, tzinfo=UTC)
REPEATS = 31
_CHUNK = 2000


def open_store(state_dir: Path) -> SqliteStore:
    """Return the store as the daemon opens it, with one webhook."""
    return SqliteStore(state_dir, fax_data, lambda type_: ["crm"])


def id_at(prefix: str, moment: datetime) -> str:
    """Return an id that was made at this time."""
    return first_id(prefix, moment)[:-16] + new_id(prefix)[-16:]


def make(number: int, state: FaxState) -> tuple[Envelope, Fax, list[Event]]:
    """Return a mail with its fax in this state and its events; the mails span two years."""
    final = state == "delivered"
    at = NOW - timedelta(minutes=9 * number if final else number / 100)
    id_, to = new_id("env"), f"+97239{number:06d}"
    path = f"mail/{number % 64:02x}/{id_}.eml"
    document = Document(
        name="invoice.pdf", content_type="application/pdf", size=70_000, sha256="ab" * 32, path=path, offset=900, length=96_000
    )
    envelope = Envelope(
        id=id_,
        sender="dana@example.co.il",
        recipients=(Recipient(number=to, address=f"{to}@fax.local"),),
        path=path,
        size=97_000,
        received_at=at,
        message_id=f"<{number}@example.co.il>",
        subject="Invoice",
        account="office",
        user="erp",
    )
    fax = Fax(
        id=id_at("fax", at),
        envelope_id=id_,
        account="office",
        number=to,
        state=state,
        token=new_token(),
        documents=(document,),
        created_at=at,
        due_at=at,
        expires_at=at + timedelta(days=9000),
        seq=3 if final else 1,
        fax_code=f"3cf6c2ae-0000-4000-8000-{number:012d}" if final else None,
        attempts=(Attempt(n=1, started_at=at, digests=(document.sha256,), ended_at=at),) if final else (),
        email=Email(message_id=envelope.message_id, sender=envelope.sender, subject=envelope.subject),
        final_at=at if final else None,
    )
    types, data = ("fax.queued", "fax.submitted", "fax.delivered")[: fax.seq], fax_data(fax)
    events = [
        Event(
            id=first_id("evt", at)[:-16] + new_id("evt")[-16:],
            type=type_,
            at=at,
            fax_id=fax.id,
            seq=seq,
            data={**data, "seq": seq},
        )
        for seq, type_ in enumerate(types, 1)
    ]
    return envelope, fax, events


def chunks(finished: int, queued: int) -> Iterator[list[tuple[Envelope, Fax, list[Event]]]]:
    """Yield everything, some at a time."""
    every = range(finished + queued)
    for start in range(0, len(every), _CHUNK):
        yield [make(n, "delivered" if n < finished else "queued") for n in every[start : start + _CHUNK]]


async def fill(state_dir: Path, finished: int, queued: int, report: Callable[[int], None] = lambda done: None) -> None:
    """Write the rows as the store would have left them, and a file for every mail: about a second for a thousand.

    `report` is called with how many there are, now and then.
    """
    LocalSpool(state_dir / "spool")
    async with open_store(state_dir) as store:
        for number, chunk in enumerate(chunks(finished, queued), 1):
            await store.run(partial(write, chunk=chunk))
            report(min(finished + queued, number * _CHUNK))
            for envelope, _, _ in chunk:
                (state_dir / "spool" / envelope.path).touch()


def write(tx: SqlTransaction, chunk: list[tuple[Envelope, Fax, list[Event]]]) -> None:
    """Write one chunk. The deliveries of finished faxes are delivered, the others pending."""
    tx._sql.execute(insert(schema.envelope), [rows.envelope_row(envelope, envelope.id) for envelope, _, _ in chunk])
    tx._sql.execute(insert(schema.fax), [rows.fax_row(fax) for _, fax, _ in chunk])
    tx._sql.execute(insert(schema.event), [rows.event_row(event) for _, _, events in chunk for event in events])
    settled = [(event, fax.final_at) for _, fax, events in chunk for event in events]
    deliveries = [
        {
            "id": new_id("dlv"),
            "event_id": event.id,
            "endpoint": "crm",
            "state": "delivered" if final else "pending",
            "due_at": event.at,
            "attempts": 1 if final else 0,
            "settled_at": final,
        }
        for event, final in settled
    ]
    tx._sql.execute(insert(schema.delivery), deliveries)


def queries(fax: Fax) -> dict[str, Callable[[Transaction], Any]]:
    """Return the frequent queries, by name."""
    code = fax.fax_code or ""
    return {
        "due_fax": lambda tx: tx.faxes.due("queued", NOW, "office"),
        "next_due": lambda tx: tx.faxes.next_due("queued", "office"),
        "expired": lambda tx: tx.faxes.expired(NOW),
        "count_faxes": lambda tx: tx.faxes.counts(),
        "count_deliveries": lambda tx: tx.deliveries.counts(),
        "claim_deliveries": lambda tx: tx.deliveries.claim("crm", NOW, 10),
        "next_delivery": lambda tx: tx.deliveries.next_due("crm"),
        "repeated": lambda tx: tx.submissions.fax_ids([fax.envelope_id or ""], NOW - timedelta(days=9000)),
        "by_token": lambda tx: tx.faxes.by_tokens([fax.token]),
        "by_fax_code": lambda tx: tx.faxes.by_fax_codes([code]),
        "by_number": lambda tx: tx.faxes.by_numbers([fax.number], NOW - timedelta(days=1)),
        "dead deliveries": lambda tx: tx.deliveries.newest("dead"),
        "events of a fax": lambda tx: tx.events.newest(fax.id),
        "newest events": lambda tx: tx.events.newest(None, 100),
        "newest faxes": lambda tx: tx.faxes.newest(None, 100),
        "nothing to discard": lambda tx: tx.retention.discard_documents(NOW - timedelta(days=9000), NOW, 100),
    }


async def start(state_dir: Path) -> dict[str, Any]:
    """Run a start's transactions, then each query; return the figures."""
    begun = time.perf_counter()
    async with open_store(state_dir) as store:
        await store.run(lambda tx: tx.deliveries.requeue_interrupted())
        await store.run(lambda tx: tx.faxes.newest("uploading", 1000))
        opened = time.perf_counter() - begun
        swept = await orphans.sweep(store, LocalSpool(state_dir / "spool"), datetime.now(UTC))
        seconds = time.perf_counter() - begun
        peak = peak_mib()
        [fax] = await store.run(lambda tx: tx.faxes.due("queued", NOW)) or await store.run(lambda tx: tx.faxes.newest(None, 1))
        times = {name: await timed(store, query) for name, query in queries(fax).items()}
    return {"open_s": round(opened, 3), "start_s": round(seconds, 3), "peak_mib": peak, "orphans": swept, "ms": times}


async def timed(store: SqliteStore, query: Callable[[Transaction], Any]) -> float:
    """Return the median milliseconds of a query, without the commit around it."""

    def work(tx: Transaction) -> float:
        begun = time.perf_counter()
        query(tx)
        return (time.perf_counter() - begun) * 1000

    return round(median([await store.run(work) for _ in range(REPEATS)]), 3)


def peak_mib() -> float:
    """Return the peak memory of this process."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return round(int(line.split()[1]) / 1024, 1)


def measured(finished: int, queued: int, where: Path) -> dict[str, Any]:
    """Fill a store, and start on it in a new process."""
    state_dir = Path(tempfile.mkdtemp(prefix="store-", dir=where))
    try:
        asyncio.run(fill(state_dir, finished, queued))
        program = [sys.executable, "-m", "tests.bench.store", "--start", str(state_dir)]
        done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True)
        size = (state_dir / "mailbridge.sqlite3").stat().st_size
        return {**json.loads(done.stdout), "database_mib": round(size / 2**20)}
    finally:
        shutil.rmtree(state_dir)


def main() -> None:
    """Print the figures of both sizes, and the growth between them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, nargs=2, default=(1_000, 100_000), help="finished faxes, small and large")
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--where", type=Path, default=Path(tempfile.gettempdir()), help="a directory on the disk to measure")
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.start:
        log.setup("error")
        print(json.dumps(asyncio.run(start(given.start))))
        return
    small, large = (measured(finished, given.queued, given.where) for finished in given.finished)
    growth = {name: round(large["ms"][name] / small["ms"][name], 1) for name in small["ms"]}
    print(
        json.dumps({"cores": os.cpu_count(), "finished": list(given.finished), "small": small, "large": large, "growth": growth})
    )


if __name__ == "__main__":
    main()
