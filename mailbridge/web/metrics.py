"""Metrics for Prometheus: what the daemon has counted (`mailbridge.metrics`), and gauges that are read at each scrape."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mailbridge import __version__
from mailbridge.lifecycle import DeliveryState, FaxState
from mailbridge.metrics import REGISTRY
from mailbridge.store.interface import Transaction
from mailbridge.store.state_dir import disk_space

_STARTED_AT = time.time()


@dataclass(frozen=True, slots=True)
class Facts:
    """What gauges are about, beside the store: the accounts, the directory of the state, and the mailboxes."""

    accounts: tuple[str, ...] = ()
    state_dir: Path | None = None
    last_contacts: Mapping[str, datetime | None] = field(default_factory=dict)  # by mailbox; None before the first


@dataclass(frozen=True, slots=True)
class StoreGauges:
    """What one transaction reads for a scrape."""

    faxes: Mapping[FaxState, int]
    deliveries: Mapping[tuple[str, DeliveryState], int]
    oldest: Mapping[str, datetime | None]  # by account: since when its oldest queued fax is due
    credit: Mapping[str, str | None]  # by account: as MyFax writes it
    nodes: int = 0  # that work and share the database; 0 with SQLite
    database_size: int | None = None  # in bytes; None with SQLite


def read_gauges(tx: Transaction, accounts: Iterable[str]) -> StoreGauges:
    """Read the gauges of the store."""
    names = list(accounts)
    return StoreGauges(
        tx.faxes.counts(),
        tx.deliveries.counts(),
        {name: tx.faxes.next_due("queued", name) for name in names},
        {name: tx.faxes.credit_left(name) for name in names},
        sum(node.alive for node in tx.nodes()),
        tx.database_size(),
    )


def render(gauges: StoreGauges | None, checks: Mapping[str, bool], facts: Facts, now: datetime) -> bytes:
    """Return the metrics in the text format. Without `gauges`, the store did not answer."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(gauges, checks, facts, now))
    return generate_latest(REGISTRY) + generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, gauges: StoreGauges | None, checks: Mapping[str, bool], facts: Facts, now: datetime) -> None:
        self._gauges, self._checks, self._facts, self._now = gauges, checks, facts, now

    def collect(self) -> Iterable[Metric]:
        build = GaugeMetricFamily("mailbridge_build_info", "Always 1", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        if self._gauges is not None:
            yield from _store(self._gauges, self._now)
        ready = GaugeMetricFamily("mailbridge_ready", "1 if this part of the daemon is ready", labels=["part", "name"])
        for part, is_ready in self._checks.items():
            kind, _, name = part.partition(" ")
            ready.add_metric([kind, name], float(is_ready))
        yield ready
        contact = GaugeMetricFamily(
            "mailbridge_mailbox_last_contact_timestamp_seconds", "When the mailbox's server last answered", labels=["mailbox"]
        )
        for mailbox, at in self._facts.last_contacts.items():
            contact.add_metric([mailbox], at.timestamp() if at else 0.0)
        yield contact
        yield from _disk(self._facts.state_dir, self._gauges.database_size if self._gauges else None)
        yield from _process()


def _store(gauges: StoreGauges, now: datetime) -> Iterable[Metric]:
    faxes = GaugeMetricFamily("mailbridge_faxes", "Faxes in the store by state", labels=["state"])
    for state in get_args(FaxState):
        faxes.add_metric([state], gauges.faxes.get(state, 0))
    yield faxes
    deliveries = GaugeMetricFamily("mailbridge_deliveries", "Deliveries by endpoint and state", labels=["endpoint", "state"])
    for (endpoint, delivery_state), count in gauges.deliveries.items():
        deliveries.add_metric([endpoint, delivery_state], count)
    yield deliveries
    oldest = GaugeMetricFamily(
        "mailbridge_oldest_queued_seconds",
        "How long an account's oldest queued fax has been due; 0 if none is",
        labels=["account"],
    )
    for account, due in gauges.oldest.items():
        oldest.add_metric([account], 0.0 if due is None else max(0.0, (now - due).total_seconds()))
    yield oldest
    credit = GaugeMetricFamily("mailbridge_credit_left", "Credit after the last fax, as MyFax gave it", labels=["account"])
    for account, written in gauges.credit.items():
        if (left := _number(written)) is not None:
            credit.add_metric([account], left)
    yield credit
    if gauges.nodes:
        yield GaugeMetricFamily("mailbridge_nodes", "Nodes that work and share the database", value=gauges.nodes)


def _number(written: str | None) -> float | None:
    try:
        return None if written is None else float(written)
    except ValueError:
        return None


def _disk(state_dir: Path | None, database_size: int | None) -> Iterable[Metric]:
    if state_dir is None:
        return
    try:
        disk = disk_space(state_dir)
    except OSError:
        return
    yield GaugeMetricFamily("mailbridge_disk_free_bytes", "Free space for the state", value=disk.free)
    yield GaugeMetricFamily("mailbridge_disk_size_bytes", "Size of the state's file system", value=disk.size)
    size = disk.database if database_size is None else database_size
    yield GaugeMetricFamily("mailbridge_database_bytes", "Size of the database with its write-ahead log", value=size)


def _process() -> Iterable[Metric]:
    """The standard process metrics. prometheus_client's own need /proc/stat, which the service may not see."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield CounterMetricFamily("process_cpu_seconds", "User and system time", value=used.ru_utime + used.ru_stime)
    yield GaugeMetricFamily("process_start_time_seconds", "When the process started", value=_STARTED_AT)
    yield GaugeMetricFamily("process_max_fds", "Most open files", value=resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory", value=pages * resource.getpagesize())
        yield GaugeMetricFamily("process_open_fds", "Open files", value=len(os.listdir("/proc/self/fd")))
