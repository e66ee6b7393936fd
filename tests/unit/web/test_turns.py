"""Turns of HTTP clients: whoever asks all the time waits for himself alone."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from mailbridge.web import turns
from mailbridge.web.turns import GAP, INTERVAL, REST, ClientTurns
from tests.unit.report import virtual_time

Log = list[tuple[str, float]]


@pytest.fixture(autouse=True)
def work_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "perf_counter", lambda: 0.0)


def read(done: Log, who: str) -> None:
    done.append((who, round(asyncio.get_running_loop().time(), 6)))


def test_a_quiet_client_reads_at_once_however_many_inputs_of_another_wait() -> None:
    async def scenario() -> Log:
        shared, done = ClientTurns(), Log()
        for _ in range(40):
            shared.call("busy", partial(read, done, "busy"))
        await asyncio.sleep(INTERVAL / 2)
        shared.call("quiet", partial(read, done, "quiet"))
        await asyncio.sleep(40 * INTERVAL)
        return done

    done = virtual_time.run(scenario())
    assert done[:3] == [("busy", 0.0), ("quiet", INTERVAL / 2), ("busy", INTERVAL)]
    # Nothing is lost, and the busy client's inputs are as far apart as they should be.
    assert [at for who, at in done if who == "busy"] == [round(INTERVAL * number, 6) for number in range(40)]


def test_many_clients_read_one_after_the_other_and_none_is_passed_over() -> None:
    async def scenario() -> Log:
        shared, done = ClientTurns(), Log()
        for number in range(3 * 40):
            shared.call(f"client {number % 40}", partial(read, done, f"client {number % 40}"))
        await asyncio.sleep(1)
        return done

    done = virtual_time.run(scenario())
    assert [who for who, _ in done] == [f"client {number % 40}" for number in range(3 * 40)]
    assert [at for _, at in done] == [round(GAP * number, 6) for number in range(3 * 40)]


def test_a_client_rests_for_what_its_requests_cost_and_another_does_not() -> None:
    async def scenario() -> Log:
        shared, done = ClientTurns(), Log()
        shared.call("busy", partial(read, done, "busy"))
        shared.charge("busy", 0.25)
        shared.charge("busy", 0.25)
        for who in ("busy", "quiet"):
            shared.call(who, partial(read, done, who))
        await asyncio.sleep(10)
        return done

    assert virtual_time.run(scenario()) == [("busy", 0.0), ("quiet", GAP), ("busy", INTERVAL + 0.5 * REST)]


def test_reading_itself_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((0.0, 0.5, 1.0, 1.0))
    monkeypatch.setattr(turns, "perf_counter", lambda: next(clock))

    async def scenario() -> Log:
        shared, done = ClientTurns(), Log()
        for _ in range(2):
            shared.call("busy", partial(read, done, "busy"))
        await asyncio.sleep(10)
        return done

    assert virtual_time.run(scenario()) == [("busy", 0.0), ("busy", INTERVAL + 0.5 * REST)]


def test_work_may_wait_for_another_turn() -> None:
    async def scenario() -> Log:
        shared, done = ClientTurns(), Log()
        shared.call("one", lambda: shared.call("one", partial(read, done, "one")))
        await asyncio.sleep(10)
        return done

    assert virtual_time.run(scenario()) == [("one", INTERVAL)]
