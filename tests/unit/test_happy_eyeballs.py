"""Connecting to a host with several addresses, in virtual time and without a socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mailbridge.happy_eyeballs import NEXT_ADDRESS_SECONDS, first_connected, interleaved
from tests.unit.report.virtual_time import run


class Network:
    """Connects to an address after the seconds in `answers`, or raises what is there. None is a black hole."""

    def __init__(self, **answers: float | OSError | None) -> None:
        self._answers = answers
        self.tried: list[tuple[str, float]] = []
        self.open: set[str] = set()

    async def connect(self, address: str) -> str:
        self.tried.append((address, asyncio.get_running_loop().time()))
        answer = self._answers[address]
        if isinstance(answer, OSError):
            raise answer
        if answer is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(answer)
        self.open.add(address)
        return address

    async def close(self, address: str) -> None:
        self.open.discard(address)

    def first(self) -> Any:
        return first_connected(list(self._answers), self.connect, self.close)


@pytest.mark.parametrize(
    ("answers", "winner", "tried"),
    [
        ({"a": 0.0}, "a", [("a", 0.0)]),
        ({"a": 0.1, "b": 0.0}, "a", [("a", 0.0)]),
        ({"a": None, "b": 0.1}, "b", [("a", 0.0), ("b", NEXT_ADDRESS_SECONDS)]),
        ({"a": OSError("refused"), "b": 0.1}, "b", [("a", 0.0), ("b", 0.0)]),
        ({"a": None, "b": OSError("refused"), "c": 0.1}, "c", [("a", 0.0), ("b", 0.25), ("c", 0.25)]),
        ({"a": 0.3, "b": 1.0}, "a", [("a", 0.0), ("b", 0.25)]),
        ({"a": 9.0, "b": None}, "a", [("a", 0.0), ("b", 0.25)]),
    ],
)
def test_the_first_address_that_answers_wins_and_only_its_connection_stays(
    answers: dict[str, Any], winner: str, tried: list[tuple[str, float]]
) -> None:
    network = Network(**answers)
    assert run(network.first()) == winner
    assert network.tried == tried
    assert network.open == {winner}


def test_two_that_answer_in_the_same_moment_leave_one_connection() -> None:
    network = Network(a=0.5, b=0.25)
    assert run(network.first()) in network.open
    assert len(network.open) == 1


def test_the_last_error_is_raised_if_none_answers() -> None:
    network = Network(a=OSError("no route"), b=OSError("refused"))
    with pytest.raises(OSError, match="refused"):
        run(network.first())


@pytest.mark.parametrize("seconds", [0.1, 0.25, 0.3, 0.5])
def test_a_cancelled_attempt_leaves_no_connection(seconds: float) -> None:
    async def main() -> Network:
        network = Network(a=0.5, b=0.25)
        task = asyncio.create_task(network.first())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            await network.close(task.result())
        return network

    assert run(main()).open == set()


def test_the_families_take_turns() -> None:
    found = ["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"]
    assert interleaved(found, lambda address: ":" in address) == ["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]
    assert interleaved([], lambda address: address) == []
