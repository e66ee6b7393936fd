"""Metrics for Prometheus, counted in the store at each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mailbridge.lifecycle import DeliveryState, FaxState

# How many faxes are in each state, and how many deliveries each endpoint has in each state.
Counts = tuple[Mapping[FaxState, int], Mapping[tuple[str, DeliveryState], int]]


class _Snapshot(Collector):
    def __init__(self, counts: Counts | None, checks: Mapping[str, bool]) -> None:
        self._counts, self._checks = counts, checks

    def collect(self) -> Iterable[Metric]:
        if self._counts is not None:
            yield from self._count_metrics(*self._counts)
        ready = GaugeMetricFamily("mailbridge_ready", "1 if this part of the daemon is ready", labels=["part"])
        for part, is_ready in self._checks.items():
            ready.add_metric([part], float(is_ready))
        yield ready

    def _count_metrics(
        self, fax_counts: Mapping[FaxState, int], delivery_counts: Mapping[tuple[str, DeliveryState], int]
    ) -> Iterable[Metric]:
        faxes = GaugeMetricFamily("mailbridge_faxes", "Faxes in the store by state", labels=["state"])
        for state in get_args(FaxState):
            faxes.add_metric([state], fax_counts.get(state, 0))
        yield faxes
        deliveries = GaugeMetricFamily("mailbridge_deliveries", "Deliveries by endpoint and state", labels=["endpoint", "state"])
        for (endpoint, delivery_state), count in delivery_counts.items():
            deliveries.add_metric([endpoint, delivery_state], count)
        yield deliveries


def render(counts: Counts | None, checks: Mapping[str, bool]) -> bytes:
    """Return the metrics in the text format. Without `counts`, if the store did not answer, there is only readiness."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(counts, checks))
    return generate_latest(registry)
