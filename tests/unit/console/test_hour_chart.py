"""The chart of the last hours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailbridge.console.hour_chart import HEIGHT, WIDTH, chart_of, round_up
from mailbridge.store.hour_counts import HourCounts

START = datetime(2026, 1, 4, 9, tzinfo=UTC)


def hours(*counts: tuple[int, int, int]) -> list[HourCounts]:
    return [
        HourCounts(start=START + timedelta(hours=n), delivered=delivered, failed=failed, received=received)
        for n, (delivered, failed, received) in enumerate(counts)
    ]


def test_each_bar_is_as_high_as_its_number() -> None:
    chart = chart_of(hours((5, 3, 2), (0, 0, 0), (20, 0, 0)))
    assert chart.top == 20
    assert [(one.kind, one.height) for one in chart.blocks] == [
        ("delivered", HEIGHT / 4),
        ("failed", 25.5),
        ("received", HEIGHT / 10),
        ("delivered", HEIGHT),
    ]
    assert [one.y for one in chart.blocks] == [127.5, 102.0, 85.0, 0.0]
    assert (chart.total("delivered"), chart.total("failed"), chart.total("received")) == (25, 3, 2)


def test_bars_stay_in_the_drawing() -> None:
    chart = chart_of(hours(*[(n * 7919, n, 0) for n in range(24)]))
    assert all(0 <= one.x < one.x + one.width <= WIDTH for one in chart.blocks)
    assert all(0 <= one.y < one.y + one.height <= HEIGHT + 0.2 for one in chart.blocks)
    assert len(chart.labels) == 6


def test_without_faxes_it_is_empty() -> None:
    assert (chart_of(hours((0, 0, 0))).blocks, chart_of(hours((0, 0, 0))).top) == ([], 1)
    assert chart_of([]).blocks == []


@pytest.mark.parametrize(("number", "top"), [(0, 1), (1, 1), (3, 5), (6, 10), (11, 20), (99, 100), (100_001, 200_000)])
def test_the_top_is_a_round_number(number: int, top: int) -> None:
    assert round_up(number) == top
