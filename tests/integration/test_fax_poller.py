"""Poller, with a real store: when it polls, what ends a fax, and what does not stop it."""

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
from tests.integration.fax_fixtures import FaxEnvironment, fax_environment, running_simulator
from tests.integration.scripted_servers import RawServer, http, read_request
from tests.time_limit import TimeLimit
from tests.wait_helpers import until

Answers = Callable[[int], str | bytes]


def status(code: int | str, final: str = "true", text: str = "") -> str:
    fields = f"<FAX_CODE>c-1</FAX_CODE><FAX_STATUS>{code}</FAX_STATUS><FINAL_STATUS>{final}</FINAL_STATUS>{text}"
    return f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE>{fields}</RESPONSE>"


class PollScript:
    """A script for RawServer that gives `answer(n)` to the n-th poll; `polls` and `codes` count them."""

    def __init__(self, answer: Answers) -> None:
        self._answer = answer
        self.polls = 0
        self.codes: Counter[str] = Counter()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read_request(reader)
            self.polls += 1
            self.codes[body.decode().split("faxCode=")[1].split("&")[0]] += 1
            answer = self._answer(self.polls)
            writer.write(answer if isinstance(answer, bytes) else http(answer))
            await writer.drain()


Scenario = Callable[[FaxEnvironment, PollScript], Awaitable[None]]


def polling(state: Path, answer: Answers, scenario: Scenario, **options: Any) -> None:
    async def main() -> None:
        script = PollScript(answer)
        async with RawServer(script) as server:
            async with fax_environment(state, server.url, **options) as env:
                await scenario(env, script)
            assert not server.faults, server.faults

    asyncio.run(main())


def pending(_: int) -> str:
    return status(4, "false")


# when a fax is polled


def test_polls_back_off_from_the_first_to_the_slowest(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, script: PollScript) -> None:
        fax = await env.submitted()
        env.poller()
        waits = []
        for polls in range(1, 12):
            await until(lambda polls=polls: script.polls == polls)

            async def noted(polls: int = polls) -> bool:
                return (await env.now(fax)).polls == polls

            await until(noted)
            wait = ((await env.now(fax)).due_at - env.clock()).total_seconds()
            waits.append(round(wait))
            env.shift_clock(wait + 0.01)
        assert waits == [8, 13, 20, 33, 52, 84, 134, 215, 300, 300, 300]
        assert await env.events(fax) == ["fax.queued", "fax.submitted"]

    polling(tmp_path, pending, scenario)


def test_a_fax_is_not_polled_before_it_is_due(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, script: PollScript) -> None:
        env.poller()
        await env.submitted(due_at=env.clock() + timedelta(hours=1))
        await env.idle()
        assert (script.polls, env.waits.seconds) == (0, module._LONGEST_WAIT)

    polling(tmp_path, pending, scenario)


def test_a_wakeup_starts_a_poll_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT", 3600.0)

    async def scenario(env: FaxEnvironment, script: PollScript) -> None:
        env.poller()
        fax = await env.submitted(due_at=env.clock() + timedelta(hours=2))
        await env.idle()
        assert (script.polls, env.waits.seconds) == (0, 3600.0)
        await env.store.run(lambda tx: tx.faxes.update(fax.id, due_at=env.clock()))
        await env.becomes(fax, "delivered")

    polling(tmp_path, lambda _: status(9), scenario)


def test_a_fax_made_due_during_a_poll_is_polled_again(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await gate.wait()
        writer.write(http(pending(0)))
        await read_request(reader)
        writer.write(http(status(9)))
        await writer.drain()

    async def main() -> None:
        async with RawServer(script) as server, fax_environment(tmp_path, server.url, first_poll=60.0) as env:
            env.poller()
            fax = await env.submitted()
            await until(lambda: server.connections == 1)
            await env.store.run(lambda tx: tx.faxes.update(fax.id, due_at=env.clock()))
            gate.set()
            assert (await env.becomes(fax, "delivered")).polls == 2

    asyncio.run(main())


# what ends a fax


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 6, 7, 9, 10, 42])
def test_no_code_ends_a_fax_without_final_status(tmp_path: Path, code: int) -> None:
    async def scenario(env: FaxEnvironment, script: PollScript) -> None:
        fax = await env.submitted()
        env.poller()
        await until(lambda: script.polls)

        async def noted() -> bool:
            return (await env.now(fax)).polls == 1

        await until(noted)
        after = await env.now(fax)
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
def test_a_final_status_ends_a_fax_with_one_event(tmp_path: Path, code: int, state: str, error: str | None) -> None:
    async def scenario(env: FaxEnvironment, script: PollScript) -> None:
        fax = await env.submitted()
        env.poller()
        after = await env.becomes(fax, state)
        assert (after.price, after.source, after.attempts[-1].error_code) == ("0.40", "poll", error)
        assert after.attempts[-1].ended_at is not None
        if after.failure is not None:
            assert (after.failure.code, after.failure.provider_code) == (error, code)
        env.shift_clock(1000)
        await env.idle()
        assert (script.polls, await env.events(fax)) == (1, ["fax.queued", "fax.submitted", f"fax.{state}"])

    polling(tmp_path, lambda _: status(code, text="<PRICE>0.40</PRICE>"), scenario)


def test_a_report_during_a_poll_ends_the_fax(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await gate.wait()
        writer.write(http(status(3)))
        await writer.drain()

    async def main() -> None:
        async with RawServer(script) as server, fax_environment(tmp_path, server.url) as env:
            env.poller()
            fax = await env.submitted()
            await until(lambda: server.connections == 1)
            await env.store.run(lambda tx: tx.faxes.transition(fax.id, "confirm", env.clock(), source="report"))
            runs = env.store.runs
            gate.set()
            await until(lambda: env.store.runs > runs)
            await env.becomes(fax, "delivered")
            assert await env.events(fax) == ["fax.queued", "fax.submitted", "fax.delivered"]

    asyncio.run(main())


# what does not stop the poller


ERRORS: dict[str, bytes] = {
    "500": http("", "500 X"),
    "401": http("", "401 X"),
    "302": http("", "302 X", "Location: /x"),
    "HTML": http("<html></html>"),
    "truncated": http(status(9)[:-5]),
    "rejected": http("<RESPONSE><RESPONSE_CODE>-3</RESPONSE_CODE></RESPONSE>"),
    "no answer": b"",
}


@pytest.mark.parametrize("kind", ERRORS)
def test_a_failed_poll_is_repeated_later_and_logged_once(tmp_path: Path, kind: str, time_limit: TimeLimit) -> None:
    async def scenario(env: FaxEnvironment, script: PollScript) -> None:
        fax = await env.submitted()
        env.poller()
        for polls in (1, 2):
            if kind == "no answer":
                await until(lambda polls=polls: script.polls == polls)
                time_limit.end()

            async def noted(polls: int = polls) -> bool:
                return (await env.now(fax)).polls == polls

            await until(noted)
            assert (await env.now(fax)).state == "submitted"
            env.shift_clock(60)
        after = await env.becomes(fax, "delivered")
        assert script.polls == 3
        assert len(env.logged("status query not answered", "account office")) == 1
        assert after.failure is None

    polling(tmp_path, lambda n: ERRORS[kind] if n < 3 else status(9), scenario, timeout=time_limit.SECONDS)


def test_an_unavailable_store_does_not_stop_the_poller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.01)

    async def scenario(env: FaxEnvironment, script: PollScript) -> None:
        fax = await env.submitted()
        env.store.refuse = {"_apply_status": 2, "_look": 4}
        env.poller()
        await env.becomes(fax, "delivered")
        assert (script.polls, len(env.logged("store unavailable, retrying", "poller"))) == (3, 6)

    polling(tmp_path, lambda _: status(9), scenario)


def test_an_unexpected_error_in_a_poll_is_logged_and_polling_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.01)

    async def scenario(env: FaxEnvironment, _: PollScript) -> None:
        real = env.clients["office"].status

        async def bug(code: str) -> Any:
            if code == "bad":
                raise KeyError("a bug")
            return await real(code)

        monkeypatch.setattr(env.clients["office"], "status", bug)
        env.poller()
        bad = await env.submitted(code="bad")
        good = await env.submitted(code="good")
        await env.becomes(good, "delivered")
        assert "KeyError" in env.logged("status poll failed unexpectedly", bad.id)[0]["error"]

    polling(tmp_path, lambda _: status(9), scenario)


def test_an_account_that_hangs_does_not_delay_another(tmp_path: Path) -> None:
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.Event().wait()

    async def main() -> None:
        async with AsyncExitStack() as stack:
            silent = await stack.enter_async_context(RawServer(hang))
            good = await stack.enter_async_context(RawServer(PollScript(lambda _: status(9))))
            async with fax_environment(tmp_path, silent.url, good.url) as env:
                for number in range(2 * module.CONCURRENCY):
                    await env.submitted(code=f"h-{number}")
                env.poller()
                await until(lambda: silent.connections == module.CONCURRENCY)
                later = [await env.submitted(code=f"g-{number}", account="second") for number in range(20)]
                for fax in later:
                    await env.becomes(fax, "delivered")
                await env.idle()
                assert (silent.connections, env.waits.seconds) == (module.CONCURRENCY, module._LONGEST_WAIT)

    asyncio.run(main())


def test_many_faxes_are_polled_each_by_its_own_code(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, script: PollScript) -> None:
        faxes = [await env.submitted(code=f"c-{number}") for number in range(60)]
        env.poller()
        for fax in faxes:
            await env.becomes(fax, "delivered")
        assert script.codes == Counter({f"c-{number}": 1 for number in range(60)})

    polling(tmp_path, lambda _: status(9), scenario)


# redial


async def ended_attempts(env: FaxEnvironment, fax: Fax) -> list[tuple[int, str | None, str | None]]:
    return [(attempt.n, attempt.fax_code, attempt.error_code) for attempt in (await env.now(fax)).attempts]


def test_a_busy_number_is_redialled_as_often_as_configured(tmp_path: Path) -> None:
    async def main() -> None:
        redial = {"times": 2, "every": 600.0}
        async with running_simulator() as (simulator, url), fax_environment(tmp_path, url, redial=redial) as env:
            [fax] = await env.queued("+97239876501")
            env.uploader()
            env.poller()
            for dial in (1, 2):
                await until(lambda dial=dial: len(simulator.uploads) == dial)
                await env.becomes(fax, "submitted")
                env.shift_clock(6)
                waiting = await env.becomes(fax, "queued")
                assert 590 < (waiting.due_at - env.clock()).total_seconds() <= 600
                assert (waiting.fax_code, waiting.polls, waiting.failure) == (None, 0, None)
                env.shift_clock(601)
            await until(lambda: len(simulator.uploads) == 3)
            await env.becomes(fax, "submitted")
            env.shift_clock(6)
            after = await env.becomes(fax, "failed")
            assert after.failure is not None
            assert after.failure.code == "busy"
            assert await ended_attempts(env, fax) == [
                (n, upload.fax_code, "busy") for n, upload in enumerate(simulator.uploads, 1)
            ]
            assert (await env.events(fax)).count("fax.failed") == 1

    asyncio.run(main())


def test_an_upload_not_taken_does_not_count_as_a_dial(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, _: PollScript) -> None:
        failed = tuple(Attempt(n=n, started_at=env.clock(), error_code="not_taken") for n in range(3))
        fax = await env.submitted(attempts=failed)
        env.poller()
        await env.becomes(fax, "queued")
        assert (await ended_attempts(env, fax))[-1][2] == "no_answer"

    polling(tmp_path, lambda _: status(2), scenario, redial={"times": 1})


@pytest.mark.parametrize(("code", "times", "left"), [(6, 3, 24.0), (7, 3, 24.0), (3, 0, 24.0), (3, 3, 0.1)])
def test_other_failures_are_not_redialled(tmp_path: Path, code: int, times: int, left: float) -> None:
    """Not a wrong number, not unless configured, and not if the fax would have expired by then."""

    async def scenario(env: FaxEnvironment, _: PollScript) -> None:
        fax = await env.submitted(expires_at=env.clock() + timedelta(hours=left))
        env.poller()
        await env.becomes(fax, "failed")

    polling(tmp_path, lambda _: status(code), scenario, redial={"times": times})


# expiry


def test_a_queued_fax_expires(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, _: PollScript) -> None:
        env.poller()
        due = env.clock() + timedelta(hours=2)
        [fax] = await env.queued(due_at=due, expires_at=due)
        env.shift_clock(7100)
        await env.idle()
        assert (await env.now(fax)).state == "queued"
        env.shift_clock(101)
        after = await env.becomes(fax, "failed")
        assert after.failure == Failure(code="expired", message="it was not final within fax.give_up")
        assert (after.source, await env.events(fax)) == ("expiry", ["fax.queued", "fax.failed"])

    polling(tmp_path, pending, scenario)


def test_a_submitted_fax_expires_after_a_last_poll(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, script: PollScript) -> None:
        later = env.clock() + timedelta(days=3)
        fax = await env.submitted(due_at=later, expires_at=env.clock() + timedelta(hours=24))
        env.poller()
        await env.idle()
        assert script.polls == 0
        env.shift_clock(86_401)
        after = await env.becomes(fax, "failed")
        assert after.failure is not None
        assert (after.failure.code, script.polls) == ("expired", 1)
        assert len(env.logged("fax expired", fax.id)) == 1

    polling(tmp_path, pending, scenario)


def test_a_fax_delivered_while_the_daemon_was_down_does_not_expire(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, _: PollScript) -> None:
        fax = await env.submitted()
        env.shift_clock(3 * 86_400)
        env.poller()
        await env.becomes(fax, "delivered")
        assert (await env.events(fax))[-1] == "fax.delivered"

    polling(tmp_path, lambda _: status(9), scenario)


def test_the_last_poll_happens_at_the_expiry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT", 3600.0)

    async def scenario(env: FaxEnvironment, script: PollScript) -> None:
        fax = await env.submitted(expires_at=env.clock() + timedelta(seconds=600))
        env.poller()
        await until(lambda: script.polls == 1)
        await env.idle()
        assert (await env.now(fax)).due_at == fax.expires_at
        assert env.waits.seconds is not None
        assert env.waits.seconds <= 600
        env.shift_clock(600)
        after = await env.becomes(fax, "failed")
        assert after.final_at is not None
        assert after.final_at >= fax.expires_at
        assert script.polls == 2

    polling(tmp_path, pending, scenario, first_poll=1000.0, slowest_poll=1000.0)


def test_a_fax_of_a_removed_account_expires(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, _: PollScript) -> None:
        fax = await env.submitted(account="former", expires_at=env.clock() + timedelta(hours=1))
        env.poller()
        env.shift_clock(3601)
        await env.becomes(fax, "failed")

    polling(tmp_path, pending, scenario)


# the clock


def test_a_clock_set_back_an_hour_loses_and_repeats_no_poll(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, script: PollScript) -> None:
        env.poller()
        old = await env.submitted(code="old")
        await env.becomes(old, "delivered")
        env.shift_clock(-3600)
        new = await env.submitted(code="new")
        await env.becomes(new, "delivered")
        env.shift_clock(3600)
        await env.idle()
        assert script.codes == Counter({"old": 1, "new": 1})

    polling(tmp_path, lambda _: status(9), scenario)


def test_a_clock_set_forward_a_day_loses_and_repeats_no_poll(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.05)

    async def scenario(env: FaxEnvironment, script: PollScript) -> None:
        env.poller()
        fax = await env.submitted(due_at=env.clock() + timedelta(minutes=5))
        await until(lambda: env.waits.seconds == 0.05)
        env.clock.offset += timedelta(days=1)
        await env.becomes(fax, "delivered")
        looks = env.store.runs
        await until(lambda: env.store.runs >= looks + 4)
        assert script.polls == 1
        assert (await env.events(fax)).count("fax.delivered") == 1

    polling(tmp_path, lambda _: status(9), scenario)


def test_faxes_at_the_simulator_are_polled_to_their_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_simulator(step=0.05) as (simulator, url), fax_environment(tmp_path, url, first_poll=0.02) as env:
            env.uploader()
            env.poller()
            outcomes = {"43": "delivered", "01": "failed", "02": "failed", "06": "failed", "07": "failed"}
            faxes = await env.queued(*(f"+972398765{digits}" for digits in outcomes))
            for fax, state in zip(faxes, outcomes.values(), strict=True):
                await env.becomes(fax, state)
                assert (await env.events(fax)) == ["fax.queued", "fax.submitted", f"fax.{state}"]
            assert len(simulator.uploads) == 5

    asyncio.run(main())
