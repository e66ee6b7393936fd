"""A watcher over a real store, and what its tests wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from mailbridge.config import Mailbox
from mailbridge.lifecycle import FaxTrigger
from mailbridge.model import Attempt, Event, Fax
from mailbridge.report.oauth import Tokens
from mailbridge.report.watcher import Watcher
from mailbridge.report.watcher_options import WatcherOptions
from mailbridge.runtime import Runtime
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sqlite import SqliteStore
from tests import factories
from tests.factories import NUMBER, an_envelope
from tests.wait_helpers import until


def clock() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def a_store(path: Path) -> AsyncIterator[SqliteStore]:
    def describe(fax: Fax) -> dict[str, Any]:
        return {"fax_id": fax.id, "seq": fax.seq, "status": fax.state, "source": fax.source, "report": fax.report}

    async with SqliteStore(path, describe, lambda type_: ()) as store:
        yield store


def settings(port: int, **changes: Any) -> Mailbox:
    return Mailbox(
        host="127.0.0.1",
        port=port,
        **{"tls": "none", "username": "office@example.co.il", "password": SecretStr("demo"), "trust": "none", **changes},
    )


def config_file(folder: Path, port: int, login: str, username: str = "office@example.co.il") -> Path:
    """Write a configuration with one mailbox, which logs in as the lines of `login` say."""
    path = folder / "config.toml"
    path.write_text(f"""
state_dir = "{folder / "state"}"
[myfax]
url = "http://127.0.0.1:1/"
[account.office]
email = "office@example.co.il"
password = "demo"
[mailbox.office]
host = "127.0.0.1"
port = {port}
tls = "none"
username = "{username}"
{login}
""")
    return path


@asynccontextmanager
async def watching(
    mailbox: Mailbox,
    store: SqliteStore,
    path: Path,
    *,
    wait: bool = True,
    tokens: Tokens | None = None,
    **options: Any,
) -> AsyncIterator[Watcher]:
    """Run a watcher; `options` are those of WatcherOptions. With `wait` it is connected first."""
    whole = WatcherOptions(
        **{"name": "office", "mailbox": mailbox, "account": "office", "zone": ZoneInfo("Asia/Jerusalem"), **options}
    )
    runtime = Runtime(store, LocalSpool(path / "spool"), clock, lambda: 0.0)
    watcher = Watcher(whole, runtime, tokens)
    task = asyncio.create_task(watcher.run())
    try:
        if wait:
            await until(lambda: watcher.connected)
        yield watcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def events(store: SqliteStore, count: int, prefix: str = "") -> list[Event]:
    """Return the events of these types, oldest first, once there are `count` of them."""
    found: list[Event] = []

    async def there() -> bool:
        newest = await store.run(lambda tx: tx.events.newest(limit=10_000))
        found[:] = [event for event in reversed(newest) if event.type.startswith(prefix)]
        return len(found) >= count

    # Reading thousands of events again and again would be most of the work.
    await until(there, every=0.005 + count / 10_000)
    return found


async def a_fax(store: SqliteStore, *steps: FaxTrigger, number: str = NUMBER) -> Fax:
    """Put a fax into the store and move it by `steps`."""
    now = clock()
    fax, envelope = factories.a_fax(now, number=number), an_envelope(now)
    await store.run(lambda tx: tx.submissions.add(envelope, [fax], None, now))
    for step in steps:
        changes: dict[str, Any] = {"attempts": (Attempt(n=1, started_at=now),)} if step == "claim" else {}
        if step == "accept":
            changes = {"fax_code": f"code-{fax.id}", "due_at": now + timedelta(hours=1)}
        await store.run(lambda tx, step=step, changes=changes: tx.faxes.transition(fax.id, step, now, **changes))  # type: ignore[misc]
    return await store.run(lambda tx: tx.faxes.get(fax.id))
