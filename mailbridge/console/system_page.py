"""The page of the system: version, accounts, mailboxes, what waits, the disk, and the last 24 hours as a chart."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from starlette.responses import Response

from mailbridge import __version__
from mailbridge.console.hour_chart import Chart, chart_of
from mailbridge.console.sending_actions import holds
from mailbridge.console.visit import Visit
from mailbridge.lifecycle import FaxState
from mailbridge.store.hour_counts import HOUR, HourCounts
from mailbridge.store.interface import Transaction
from mailbridge.store.node import NodeRow
from mailbridge.store.retention_interface import AuditLine
from mailbridge.store.state_dir import DiskSpace, disk_space

_HOURS: Final = 24
# In the order of a fax's life.
_STATES: Final[tuple[FaxState, ...]] = ("queued", "uploading", "submitted", "in_doubt", "delivered", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One MyFax account. `trouble` is why MyFax gets nothing from it: account_paused or account_refused."""

    name: str
    credit: str | None  # as MyFax wrote it after the last fax
    due_since: datetime | None  # when the next upload is or was due
    trouble: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """One watched mailbox."""

    name: str
    trust: str
    is_down: bool
    last_contact: datetime | None  # when its server last answered
    last_mail: datetime | None  # when the last mail was processed


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What the page shows."""

    version: str
    node: str
    accounts: Sequence[Account]
    mailboxes: Sequence[Mailbox]
    counts: Mapping[FaxState, int]
    disk: DiskSpace | None
    chart: Chart
    holds: Mapping[str, AuditLine | None]  # see sending_actions.holds
    nodes: Sequence[NodeRow]  # the daemons that share the database; none with SQLite
    database_size: int | None  # of a PostgreSQL database, in bytes


async def show_system(visit: Visit) -> Response:
    """Show how the system is doing."""
    store, now, config = visit.console.runtime.store, visit.now, visit.console.config
    contacts = visit.console.services.mailboxes()

    def work(tx: Transaction) -> dict[str, Any]:
        causes = {(one.cause, one.name) for one in tx.alerts.causes(now).values()}
        last_mails = tx.mailboxes.last_mails()
        accounts = [_account(tx, name, causes) for name in config.accounts]
        mailboxes = [
            Mailbox(
                name=name,
                trust=box.trust,
                is_down=("mailbox_down", name) in causes,
                last_contact=contacts.get(name),
                last_mail=last_mails.get(name),
            )
            for name, box in config.mailboxes.items()
        ]
        counts = tx.faxes.counts()
        shared = {"nodes": tx.nodes(), "database_size": tx.database_size()}
        return {"accounts": accounts, "mailboxes": mailboxes, "counts": counts, "holds": holds(tx), **shared}

    stored = await store.run(work)
    disk = await asyncio.to_thread(_disk, config.state_dir)
    system = System(
        version=__version__,
        node=config.smtp.hostname,
        disk=disk,
        chart=chart_of(await last_hours(visit)),
        **stored,
    )
    return visit.changing_page("system.html", "system_part.html", system=system, states=_STATES)


def _account(tx: Transaction, name: str, causes: set[tuple[str, str]]) -> Account:
    troubles = ("account_refused", "account_paused")
    trouble = next((one for one in troubles if (one, name) in causes), None)
    return Account(name=name, credit=tx.faxes.credit_left(name), due_since=tx.faxes.next_due("queued", name), trouble=trouble)


def _disk(state_dir: Path) -> DiskSpace | None:
    try:
        return disk_space(state_dir)
    except OSError:
        return None


def _count(tx: Transaction, start: datetime) -> HourCounts:
    return tx.search.hour(start)


async def last_hours(visit: Visit) -> list[HourCounts]:
    """Return the counts of the last 24 hours, oldest first. Hours that have passed are read from the store once."""
    known, store = visit.console.hours, visit.console.runtime.store
    newest = visit.now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    starts = [newest - number * HOUR for number in range(_HOURS - 1, -1, -1)]
    for old in known.keys() - set(starts):
        known.pop(old, None)
    found = list[HourCounts]()
    for start in starts:
        counts = known.get(start)
        if counts is None:
            counts = await store.run(partial(_count, start=start))
        # What is written at the end of an hour may be durable a little later.
        if visit.now - start > HOUR + timedelta(minutes=1):
            known[start] = counts
        found.append(counts)
    return found
