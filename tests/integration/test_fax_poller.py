"""Polling with a real store: when MyFax is asked, what ends a fax, and what nothing stops."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailbridge.fax import poller as module
from mailbridge.model import Attempt, Failure, Fax
from tests.integration.fax_fixtures import World, fax_world, stand_in
from tests.integration.scripted_servers import RawServer, http, read_request
from tests.wait_helpers import until

Told = Callable[[int], str | bytes]


def status(code: int | str, final: str = "true", text: str = "") -> str:
    fields = f"<FAX_CODE>c-1</FAX_CODE><FAX_STATUS>{code}</FAX_STATUS><FINAL_STATUS>{final}</FINAL_STATUS>{text}"
    return f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE>{fields}</RESPONSE>"


class Asked:
    """A server that answers the n-th poll as `told(n)` says, and knows when each came."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self.times: list[float] = []
        self.codes: Counter[str] = Counter()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read_request(reader)
            self.times.append(asyncio.get_running_loop().time())
            self.codes[body.decode().split("faxCode=")[1].split("&")[0]] += 1
            told = self._told(len(self.times))
            writer.write(told if isinstance(told, bytes) else http(told))
            await writer.drain()


def polling(state: Path, told: Told, scenario: Callable[[World, Asked], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        asked = Asked(told)
        async with RawServer(asked) as server:
            async with fax_world(state, server.url, **options) as world:
                await scenario(world, asked)
            assert not server.faults, server.faults

    asyncio.run(main())


def pending(_: int) -> str:
    return status(4, "false")


# when


def test_polls_back_off_from_the_first_to_the_slowest(tmp_path: Path) -> None:
    async def scenario(world: World, asked: Asked) -> None:
        fax = await world.submitted()
        world.poller()
        waits = []
        for polls in range(1, 12):
            await until(lambda polls=polls: len(asked.times) == polls)

            async def noted(polls: int = polls) -> bool:
                return (await world.now(fax)).polls == polls

            await until(noted)
            wait = ((await world.now(fax)).due_at - world.clock()).total_seconds()
            waits.append(round(wait))
            world.leap(wait + 0.01)
        assert waits == [8, 13, 20, 33, 52, 84, 134, 215, 300, 300, 300]
        assert await world.events(fax) == ["fax.queued", "fax.submitted"]

    polling(tmp_path, pending, scenario)


def test_nothing_is_asked_before_it_is_due(tmp_path: Path) -> None:
    async def scenario(world: World, asked: Asked) -> None:
        world.poller()
        await world.submitted(due_at=world.clock() + timedelta(hours=1))
        await asyncio.sleep(0.1)
        before = world.store.runs
        await asyncio.sleep(0.3)
        assert (asked.times, world.store.runs - before) == ([], 0)

    polling(tmp_path, pending, scenario)


def test_the_bell_wakes_it_at_once(tmp_path: Path) -> None:
    async def scenario(world: World, asked: Asked) -> None:
        world.poller()
        fax = await world.submitted(due_at=world.clock() + timedelta(hours=1))
        await asyncio.sleep(0.1)
        woken_topics = asyncio.get_running_loop().time()
        await world.store.run(lambda tx: tx.faxes.update(fax.id, due_at=world.clock()))
        await world.becomes(fax, "delivered")
        assert asked.times[0] - woken_topics < 1.0

    polling(tmp_path, lambda _: status(9), scenario)


def test_an_ask_that_comes_during_a_poll_is_answered_by_another(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await gate.wait()
        writer.write(http(pending(0)))
        await read_request(reader)
        writer.write(http(status(9)))
        await writer.drain()

    async def main() -> None:
        async with RawServer(script) as server, fax_world(tmp_path, server.url, first_poll=60.0) as world:
            world.poller()
            fax = await world.submitted()
            await until(lambda: server.connections == 1)
            await world.store.run(lambda tx: tx.faxes.update(fax.id, due_at=world.clock()))
            gate.set()
            assert (await world.becomes(fax, "delivered")).polls == 1

    asyncio.run(main())


# what ends a fax


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 6, 7, 9, 10, 42])
def test_without_final_status_no_code_is_an_end(tmp_path: Path, code: int) -> None:
    async def scenario(world: World, asked: Asked) -> None:
        fax = await world.submitted()
        world.poller()
        await until(lambda: bool(asked.times))

        async def noted() -> bool:
            return (await world.now(fax)).polls == 1

        await until(noted)
        after = await world.now(fax)
        assert (after.state, after.credit_left) == ("submitted", "7")

    polling(tmp_path, lambda _: status(code, "false", "<CREDIT_LEFT>7</CREDIT_LEFT>"), scenario)


@pytest.mark.parametrize(
    ("code", "state", "error"),
    [
        (9, "delivered", None),
        (10, "delivered", None),
        (2, "failed", "no_answer"),
        (3, "failed", "busy"),
        (6, "failed", "wrong_number"),
        (7, "failed", "transfer_failed"),
        (42, "failed", "unknown"),
    ],
)
def test_a_final_status_ends_it_with_one_event(tmp_path: Path, code: int, state: str, error: str | None) -> None:
    async def scenario(world: World, asked: Asked) -> None:
        fax = await world.submitted()
        world.poller()
        after = await world.becomes(fax, state)
        assert (after.price, after.source, after.attempts[-1].error_code) == ("0.40", "poll", error)
        assert after.attempts[-1].ended_at is not None
        if after.failure is not None:
            assert (after.failure.code, after.failure.provider_code) == (error, code)
        world.leap(1000)
        await asyncio.sleep(0.05)
        assert (len(asked.times), await world.events(fax)) == (1, ["fax.queued", "fax.submitted", f"fax.{state}"])

    polling(tmp_path, lambda _: status(code, text="<PRICE>0.40</PRICE>"), scenario)


def test_a_report_that_is_quicker_than_the_poll_is_the_end(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await gate.wait()
        writer.write(http(status(3)))
        await writer.drain()

    async def main() -> None:
        async with RawServer(script) as server, fax_world(tmp_path, server.url) as world:
            world.poller()
            fax = await world.submitted()
            await until(lambda: server.connections == 1)
            await world.store.run(lambda tx: tx.faxes.transition(fax.id, "confirm", world.clock(), source="report"))
            runs = world.store.runs
            gate.set()
            await until(lambda: world.store.runs > runs)
            await world.becomes(fax, "delivered")
            assert await world.events(fax) == ["fax.queued", "fax.submitted", "fax.delivered"]

    asyncio.run(main())


# what does not stop it


ERRORS: dict[str, bytes] = {
    "500": http("", "500 X"),
    "401": http("", "401 X"),
    "302": http("", "302 X", "Location: /x"),
    "HTML": http("<html></html>"),
    "truncated": http(status(9)[:-5]),
    "rejected": http("<RESPONSE><RESPONSE_CODE>-3</RESPONSE_CODE></RESPONSE>"),
    "nothing": b"",
}


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_asked_again_later_and_told_once(tmp_path: Path, kind: str) -> None:
    async def scenario(world: World, asked: Asked) -> None:
        fax = await world.submitted()
        world.poller()
        for polls in (1, 2):

            async def noted(polls: int = polls) -> bool:
                return (await world.now(fax)).polls == polls

            await until(noted)
            assert (await world.now(fax)).state == "submitted"
            world.leap(60)
        after = await world.becomes(fax, "delivered")
        assert len(asked.times) == 3
        assert len(world.said("status query not answered", "account office")) == 1
        assert after.failure is None

    polling(tmp_path, lambda n: ERRORS[kind] if n < 3 else status(9), scenario, timeout=0.3)


def test_a_store_that_is_away_does_not_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.01)

    async def scenario(world: World, asked: Asked) -> None:
        fax = await world.submitted()
        world.store.refuse = {"_apply_status": 2, "_due_soon": 2, "_expire_due": 2}
        world.poller()
        await world.becomes(fax, "delivered")
        assert (len(asked.times), len(world.said("store unavailable, retrying", "poller"))) == (3, 6)

    polling(tmp_path, lambda _: status(9), scenario)


def test_a_bug_in_a_poll_is_told_and_does_not_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.01)

    async def scenario(world: World, _: Asked) -> None:
        real = world.clients["office"].status

        async def bug(code: str) -> Any:
            if code == "bad":
                raise KeyError("a bug")
            return await real(code)

        monkeypatch.setattr(world.clients["office"], "status", bug)
        world.poller()
        bad = await world.submitted(code="bad")
        good = await world.submitted(code="good")
        await world.becomes(good, "delivered")
        assert "KeyError" in world.said("status poll failed unexpectedly", bad.id)[0]["error"]

    polling(tmp_path, lambda _: status(9), scenario)


def test_an_account_that_hangs_does_not_hold_back_another(tmp_path: Path) -> None:
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(60)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            silent = await stack.enter_async_context(RawServer(hang))
            good = await stack.enter_async_context(RawServer(Asked(lambda _: status(9))))
            async with fax_world(tmp_path, silent.url, good.url, timeout=30) as world:
                for number in range(2 * module.CONCURRENCY):
                    await world.submitted(code=f"h-{number}")
                world.poller()
                await until(lambda: silent.connections == module.CONCURRENCY)
                later = [await world.submitted(code=f"g-{number}", account="second") for number in range(20)]
                for fax in later:
                    await world.becomes(fax, "delivered")
                await asyncio.sleep(0.05)
                before = world.store.runs
                await asyncio.sleep(0.2)
                assert (silent.connections, world.store.runs - before) == (module.CONCURRENCY, 0)

    asyncio.run(main())


def test_many_are_asked_each_by_its_own_code(tmp_path: Path) -> None:
    async def scenario(world: World, asked: Asked) -> None:
        faxes = [await world.submitted(code=f"c-{number}") for number in range(60)]
        world.poller()
        for fax in faxes:
            await world.becomes(fax, "delivered")
        assert asked.codes == Counter({f"c-{number}": 1 for number in range(60)})

    polling(tmp_path, lambda _: status(9), scenario)


# redial


async def ended_attempts(world: World, fax: Fax) -> list[tuple[int, str | None, str | None]]:
    return [(attempt.n, attempt.fax_code, attempt.error_code) for attempt in (await world.now(fax)).attempts]


def test_busy_is_dialled_again_as_often_as_configured_and_listed(tmp_path: Path) -> None:
    async def main() -> None:
        redial = {"times": 2, "every": 600.0}
        async with stand_in() as (simulator, url), fax_world(tmp_path, url, redial=redial) as world:
            [fax] = await world.queued("+97239876501")
            world.sender()
            world.poller()
            for dial in (1, 2):
                await until(lambda dial=dial: len(simulator.uploads) == dial)
                await world.becomes(fax, "submitted")
                world.leap(6)
                waiting = await world.becomes(fax, "queued")
                assert 590 < (waiting.due_at - world.clock()).total_seconds() <= 600
                assert (waiting.fax_code, waiting.polls, waiting.failure) == (None, 0, None)
                world.leap(601)
            await until(lambda: len(simulator.uploads) == 3)
            await world.becomes(fax, "submitted")
            world.leap(6)
            after = await world.becomes(fax, "failed")
            assert after.failure is not None
            assert after.failure.code == "busy"
            assert await ended_attempts(world, fax) == [
                (n, upload.fax_code, "busy") for n, upload in enumerate(simulator.uploads, 1)
            ]
            assert (await world.events(fax)).count("fax.failed") == 1

    asyncio.run(main())


def test_an_upload_that_was_not_taken_is_no_dial(tmp_path: Path) -> None:
    async def scenario(world: World, _: Asked) -> None:
        failed = tuple(Attempt(n=n, started_at=world.clock(), error_code="not_taken") for n in range(3))
        fax = await world.submitted(attempts=failed)
        world.poller()
        await world.becomes(fax, "queued")
        assert (await ended_attempts(world, fax))[-1][2] == "no_answer"

    polling(tmp_path, lambda _: status(2), scenario, redial={"times": 1})


@pytest.mark.parametrize(("code", "times", "left"), [(6, 3, 24.0), (7, 3, 24.0), (3, 0, 24.0), (3, 3, 0.1)])
def test_not_every_failure_is_dialled_again(tmp_path: Path, code: int, times: int, left: float) -> None:
    """Not a wrong number, not without being configured, and not when it would be over by then."""

    async def scenario(world: World, _: Asked) -> None:
        fax = await world.submitted(expires_at=world.clock() + timedelta(hours=left))
        world.poller()
        await world.becomes(fax, "failed")

    polling(tmp_path, lambda _: status(code), scenario, redial={"times": times})


# expiry


def test_a_queued_fax_expires(tmp_path: Path) -> None:
    async def scenario(world: World, _: Asked) -> None:
        world.poller()
        due = world.clock() + timedelta(hours=2)
        [fax] = await world.queued(due_at=due, expires_at=due)
        world.leap(7100)
        await asyncio.sleep(0.05)
        assert (await world.now(fax)).state == "queued"
        world.leap(101)
        after = await world.becomes(fax, "failed")
        assert after.failure == Failure(code="expired", message="it was not final within fax.give_up")
        assert (after.source, await world.events(fax)) == ("expiry", ["fax.queued", "fax.failed"])

    polling(tmp_path, pending, scenario)


def test_a_submitted_fax_expires_after_myfax_was_asked_a_last_time(tmp_path: Path) -> None:
    async def scenario(world: World, asked: Asked) -> None:
        later = world.clock() + timedelta(days=3)
        fax = await world.submitted(due_at=later, expires_at=world.clock() + timedelta(hours=24))
        world.poller()
        await asyncio.sleep(0.05)
        assert asked.times == []
        world.leap(86_401)
        after = await world.becomes(fax, "failed")
        assert after.failure is not None
        assert (after.failure.code, len(asked.times)) == ("expired", 1)
        assert len(world.said("fax expired", fax.id)) == 1

    polling(tmp_path, pending, scenario)


def test_a_fax_that_arrived_while_nobody_looked_does_not_expire(tmp_path: Path) -> None:
    async def scenario(world: World, _: Asked) -> None:
        fax = await world.submitted()
        world.leap(3 * 86_400)
        world.poller()
        await world.becomes(fax, "delivered")
        assert (await world.events(fax))[-1] == "fax.delivered"

    polling(tmp_path, lambda _: status(9), scenario)


def test_the_last_poll_comes_when_the_time_is_over(tmp_path: Path) -> None:
    async def scenario(world: World, asked: Asked) -> None:
        fax = await world.submitted(expires_at=world.clock() + timedelta(seconds=0.5))
        world.poller()
        after = await world.becomes(fax, "failed")
        assert after.final_at is not None
        assert timedelta() <= after.final_at - fax.expires_at < timedelta(seconds=2)
        assert len(asked.times) == 2

    polling(tmp_path, pending, scenario)


def test_a_fax_of_an_account_that_is_gone_expires(tmp_path: Path) -> None:
    async def scenario(world: World, _: Asked) -> None:
        fax = await world.submitted(account="former", expires_at=world.clock() + timedelta(hours=1))
        world.poller()
        world.leap(3601)
        await world.becomes(fax, "failed")

    polling(tmp_path, pending, scenario)


# the clock


def test_a_clock_set_back_an_hour_loses_and_repeats_nothing(tmp_path: Path) -> None:
    async def scenario(world: World, asked: Asked) -> None:
        world.poller()
        old = await world.submitted(code="old")
        await world.becomes(old, "delivered")
        world.leap(-3600)
        new = await world.submitted(code="new")
        await world.becomes(new, "delivered")
        world.leap(3600)
        await asyncio.sleep(0.05)
        assert asked.codes == Counter({"old": 1, "new": 1})

    polling(tmp_path, lambda _: status(9), scenario)


def test_a_clock_set_forward_a_day_loses_and_repeats_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.05)

    async def scenario(world: World, asked: Asked) -> None:
        world.poller()
        fax = await world.submitted(due_at=world.clock() + timedelta(minutes=5))
        await asyncio.sleep(0.1)
        world.clock.offset += timedelta(days=1)
        await world.becomes(fax, "delivered")
        await asyncio.sleep(0.1)
        assert len(asked.times) == 1
        assert (await world.events(fax)).count("fax.delivered") == 1

    polling(tmp_path, lambda _: status(9), scenario)


def test_the_stand_in_is_followed_to_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with stand_in(step=0.05) as (simulator, url), fax_world(tmp_path, url, first_poll=0.02) as world:
            world.sender()
            world.poller()
            outcomes = {"43": "delivered", "01": "failed", "02": "failed", "06": "failed", "07": "failed"}
            faxes = await world.queued(*(f"+972398765{digits}" for digits in outcomes))
            for fax, state in zip(faxes, outcomes.values(), strict=True):
                await world.becomes(fax, state)
                assert (await world.events(fax)) == ["fax.queued", "fax.submitted", f"fax.{state}"]
            assert len(simulator.uploads) == 5

    asyncio.run(main())
