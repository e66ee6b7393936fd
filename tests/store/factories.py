"""Shared by the tests of the store: mails with their files, a store to put them in, and queries on its file."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

from mailbridge.lifecycle import FaxState, FaxTrigger
from mailbridge.model import Fax
from mailbridge.store.interface import Store
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.postgres import PostgresStore
from mailbridge.store.spool_paths import derived_path
from mailbridge.store.sql_store import SqlStore
from mailbridge.store.sqlite import SqliteStore
from tests.factories import NOW, a_fax, an_envelope
from tests.postgres_server import PostgresServer

TRIGGERS_TO: dict[FaxState, tuple[FaxTrigger, ...]] = {
    "queued": (),
    "uploading": ("claim",),
    "submitted": ("claim", "accept"),
    "in_doubt": ("claim", "lose"),
    "delivered": ("claim", "accept", "confirm"),
    "failed": ("claim", "accept", "fail"),
    "cancelled": ("cancel",),
}


# The fixture `database` sets it: the tests then run against PostgreSQL.
server: PostgresServer | None = None


def a_store(path: Path) -> SqliteStore | PostgresStore:
    """Return a store that is not open yet, the same for the same path."""

    def describe(fax: Fax) -> dict[str, Any]:
        return {"fax_id": fax.id, "status": fax.state}

    if server is None:
        return SqliteStore(path, describe, lambda type_: ["crm", "erp"])
    database = server.database(str(path))
    url, listen_url = server.client_url(database), server.url(database)
    return PostgresStore(url, describe, lambda type_: ["crm", "erp"], listen_url=listen_url, unsafe=True)


def with_store(path: Path, scenario: Callable[[SqlStore], Awaitable[None]]) -> None:
    async def main() -> None:
        async with a_store(path) as store:
            await scenario(store)

    asyncio.run(main())


async def a_mail(store: Store, spool: LocalSpool, *states: FaxState, at: datetime = NOW, user: str | None = None) -> list[Fax]:
    """Store a mail with its file, a page beside it, and a fax in each state; final faxes became final at `at`."""
    envelope = an_envelope(at, user=user)
    file = spool.create(envelope.id)
    file.write(b"a mail")
    await file.commit()
    page = spool.path(derived_path(file.relpath))
    page.write_bytes(b"%PDF")
    envelope = replace(envelope, path=file.relpath)
    paths = (file.relpath, str(page.relative_to(spool.root)))
    documents = tuple(replace(a_fax().documents[0], path=path) for path in paths)
    faxes = [a_fax(documents=documents) for _ in states]
    await store.run(lambda tx: tx.submissions.add(envelope, faxes, None, at))
    for fax, state in zip(faxes, states, strict=True):
        await go(store, fax.id, state, at)
    return [await stored(store, fax.id) for fax in faxes]


async def stored(store: Store, fax_id: str) -> Fax:
    return await store.run(lambda tx: tx.faxes.get(fax_id))


async def go(store: Store, fax_id: str, state: FaxState, at: datetime = NOW) -> None:
    """Bring a queued fax to a state."""

    def work(tx: Any) -> None:
        for trigger in TRIGGERS_TO[state]:
            tx.faxes.transition(fax_id, trigger, at, **({"fax_code": f"CODE-{fax_id}"} if trigger == "accept" else {}))

    await store.run(work)


async def settle_all(store: Store, at: datetime = NOW + timedelta(days=3650)) -> None:
    """Deliver every delivery."""
    for endpoint in ("crm", "erp"):
        while claimed := await store.run(lambda tx, to=endpoint: tx.deliveries.claim(to, at, 500)):  # type: ignore[misc]
            for delivery, _ in claimed:
                await store.run(lambda tx, id_=delivery.id: tx.deliveries.transition(id_, "deliver", at))  # type: ignore[misc]


def copy_state(origin: Path, path: Path) -> None:
    """Copy a state_dir with the database of a closed store."""
    shutil.copytree(origin, path)
    if server is not None:
        server.copy(str(origin), str(path))


def ask(path: Path, question: LiteralString, *values: object) -> list[tuple[Any, ...]]:
    """Run a statement on the database, beside the store."""
    if server is not None:
        return server.ask(server.database(str(path)), question.replace("?", "%s"), *values)
    database = sqlite3.connect(path / "mailbridge.sqlite3", isolation_level=None)
    try:
        return database.execute(question, values).fetchall()
    finally:
        database.close()
