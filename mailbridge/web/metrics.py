"""Metrics for Prometheus, counted in the store when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mailbridge.lifecycle import DeliveryState, FaxState


class _Snapshot(Collector):
    def __init__(
        self, faxes: Mapping[FaxState, int], deliveries: Mapping[tuple[str, DeliveryState], int], checks: Mapping[str, bool]
    ) -> None:
        self._faxes, self._deliveries, self._checks = faxes, deliveries, checks

    def collect(self) -> Iterable[Metric]:
        faxes = GaugeMetricFamily("mailbridge_faxes", "Faxes in the store by state", labels=["state"])
        for state in get_args(FaxState):
            faxes.add_metric([state], self._faxes.get(state, 0))
        yield faxes
        deliveries = GaugeMetricFamily("mailbridge_deliveries", "Deliveries by endpoint and state", labels=["endpoint", "state"])
        for (endpoint, delivery_state), count in self._deliveries.items():
            deliveries.add_metric([endpoint, delivery_state], count)
        yield deliveries
        ready = GaugeMetricFamily("mailbridge_ready", "1 where a part of the daemon is ready", labels=["part"])
        for part, is_ready in self._checks.items():
            ready.add_metric([part], float(is_ready))
        yield ready


def render(
    faxes: Mapping[FaxState, int], deliveries: Mapping[tuple[str, DeliveryState], int], checks: Mapping[str, bool]
) -> bytes:
    """Return the text format of one moment's counts."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(faxes, deliveries, checks))
    return generate_latest(registry)
