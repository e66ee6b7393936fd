"""The chart of the last hours: a bar for each, of faxes that were delivered, failed and received."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from mailbridge.store.hour_counts import HourCounts

WIDTH, HEIGHT = 720, 170  # of the drawing, without its labels
_GAP: Final = 6
Kind = Literal["delivered", "failed", "received"]
_KINDS: Final[tuple[Kind, ...]] = ("delivered", "failed", "received")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of a bar, in the units of the drawing."""

    kind: Kind
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The time below a bar."""

    x: float
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The drawing, and the numbers that it shows. `top` is the number at its upper edge."""

    hours: Sequence[HourCounts]
    blocks: Sequence[Block]
    labels: Sequence[Label]
    top: int
    width: int = WIDTH
    height: int = HEIGHT

    def total(self, kind: Kind) -> int:
        """Return the sum of all hours."""
        return sum(getattr(hour, kind) for hour in self.hours)


def chart_of(hours: Sequence[HourCounts]) -> Chart:
    """Return the chart of these hours, oldest first."""
    top = round_up(max((sum(getattr(hour, kind) for kind in _KINDS) for hour in hours), default=0))
    step = WIDTH / max(1, len(hours))
    blocks, labels = list[Block](), list[Label]()
    for index, hour in enumerate(hours):
        x, y = index * step + _GAP / 2, float(HEIGHT)
        for kind in _KINDS:
            height = round(getattr(hour, kind) * HEIGHT / top, 1)
            if height:
                y = round(y - height, 1)
                blocks.append(Block(kind=kind, x=round(x, 1), y=y, width=round(step - _GAP, 1), height=height))
        if index % 4 == 0:
            labels.append(Label(x=round(index * step + step / 2, 1), at=hour.start))
    return Chart(hours=hours, blocks=blocks, labels=labels, top=top)


def round_up(number: int) -> int:
    """Return the next number with one digit that is not 0: 1, 2, 5, 10, 20, 50 and so on."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if number <= factor * power:
                return factor * power
        power *= 10
