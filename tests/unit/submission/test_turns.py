"""Turns: one client's work in one turn of the event loop is bounded, and clients are served side by side."""

from __future__ import annotations

import asyncio
import itertools

from mailbridge.submission.turns import CHUNK, COMMAND, HANDSHAKE, SHARE, Turns, cost_of_data


def test_work_of_one_client_is_spread_over_turns_and_another_client_goes_in_between() -> None:
    async def run() -> list[str]:
        turns, order = Turns(), list[str]()

        async def busy(number: int) -> None:
            for _ in range(3):
                order.append(f"busy {number}")
                if turns.spend("busy", COMMAND):
                    await turns.next("busy")

        async def quiet() -> None:
            await asyncio.sleep(0)
            for _ in range(4):
                order.append("quiet")
                await asyncio.sleep(0)

        await asyncio.gather(*(busy(number) for number in range(50)), quiet())
        return order

    order = asyncio.run(run())
    assert len(order) == 50 * 3 + 4
    places = [place for place, who in enumerate(order) if who == "quiet"]
    # Every connection of the busy client begins once; after that the client has its share in each turn.
    assert all(after - before <= SHARE + 1 for before, after in itertools.pairwise(places[1:]))


def test_a_client_does_one_step_of_a_handshake_in_a_turn() -> None:
    async def run() -> list[int]:
        turns, done, counts = Turns(), list[int](), list[int]()
        for number in range(5):
            turns.call("tls", HANDSHAKE, lambda number=number: done.append(number))  # type: ignore[misc]  # a default binds it
        for _ in range(5):
            counts.append(len(done))
            await asyncio.sleep(0)
        assert done == sorted(done)
        return counts

    assert asyncio.run(run()) == [1, 2, 3, 4, 5]


def test_a_cancelled_session_loses_its_turn_and_holds_nobody_up() -> None:
    async def run() -> None:
        turns = Turns()
        first, second = (asyncio.create_task(turns.next("a")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled()

    asyncio.run(run())


def test_data_costs_by_its_size() -> None:
    assert (cost_of_data(1), cost_of_data(65_536), cost_of_data(262_144)) == (1, 2, 5)


def test_work_that_exceeds_a_share_is_paid_in_later_turns() -> None:
    async def run() -> int:
        turns = Turns()
        turns.spend("busy", cost_of_data(262_144, seconds=0.0065))  # 37, which is more than four shares
        going_on = asyncio.create_task(turns.next("busy"))
        waited = 0
        while not going_on.done():
            await asyncio.sleep(0)
            waited += 1
        assert not turns.spend("quiet", COMMAND)
        return waited

    assert asyncio.run(run()) in range(5, 8)


def test_data_of_many_connections_is_read_side_by_side_a_few_chunks_in_a_turn() -> None:
    async def run() -> list[int]:
        turns, paused, taken = Turns(), set[int](), list[int]()
        for _ in range(20):
            reading = [number for number in range(50) if number not in paused]
            taken.append(len(reading))
            for number in reading:
                if turns.spend("a", cost_of_data(262_144)):
                    paused.add(number)
                    turns.call_later("a", CHUNK, lambda number=number: paused.discard(number))  # type: ignore[misc]  # as above
            await asyncio.sleep(0)
        return taken

    assert max(asyncio.run(run())[1:]) <= 3


def test_a_client_that_rests_gets_no_turn_and_others_get_theirs() -> None:
    async def run() -> None:
        turns = Turns()
        turns.rest("busy", 3600.0)
        resting = asyncio.create_task(turns.next("busy"))
        for _ in range(3):
            turns.spend("quiet", SHARE)
            await turns.next("quiet")
        assert turns.is_spent("busy")
        assert not turns.is_spent("quiet")
        assert not resting.done()
        resting.cancel()

        turns.rest("tired", 0.001)
        await turns.next("tired")
        assert not turns.is_spent("tired")

    asyncio.run(run())


def test_the_turns_of_others_leave_one_timer_for_a_client_that_rests() -> None:
    async def run() -> int:
        turns = Turns()
        turns.rest("busy", 3600.0)
        turns.call_later("busy", COMMAND, lambda: None)
        for _ in range(50):
            turns.spend("quiet", COMMAND)
            await asyncio.sleep(0)
        timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]  # asyncio keeps it private
        return sum(not timer.cancelled() for timer in timers)

    assert asyncio.run(run()) == 1
