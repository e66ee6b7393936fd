"""Uploader, with a real store and spool: what each outcome does to a fax, and that none is ever sent twice."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mailbridge.demo.simulator import Simulator
from mailbridge.errors import StoreUnavailable, Undecided
from mailbridge.fax import uploader as module
from mailbridge.fax.interrupted_uploads import recover_interrupted
from mailbridge.fax.pause import DOUBTS_BEFORE_PAUSE, PAUSE
from mailbridge.fax.uploader import upload_name
from mailbridge.model import Attempt, Document, Failure, Fax, new_id
from mailbridge.store.interface import Transaction
from tests.factories import NUMBER
from tests.integration.fax_fixtures import FaxEnvironment, fax_environment, running_simulator
from tests.integration.scripted_servers import (
    PDF,
    TAKEN,
    RawServer,
    Script,
    answers,
    certificate,
    http,
    read_head,
    read_request,
    reset,
)
from tests.time_limit import TimeLimit
from tests.wait_helpers import PATIENCE, until

SimulatorScenario = Callable[[FaxEnvironment, Simulator], Awaitable[None]]
ServerScenario = Callable[[FaxEnvironment, RawServer], Awaitable[None]]


def with_simulator(state: Path, scenario: SimulatorScenario, **options: Any) -> None:
    async def main() -> None:
        async with running_simulator() as (simulator, url), fax_environment(state, url, **options) as env:
            await scenario(env, simulator)

    asyncio.run(main())


def with_server(state: Path, script: Script, scenario: ServerScenario, **options: Any) -> None:
    async def main() -> None:
        async with RawServer(script) as server:
            async with fax_environment(state, server.url, **options) as env:
                await scenario(env, server)
            assert not server.faults, server.faults

    asyncio.run(main())


def assert_due_after(fax: Fax, least: float, most: float) -> None:
    """Check that a fax is due so many seconds after a moment of its last attempt, however long that took."""
    attempt = fax.attempts[-1]
    assert attempt.ended_at is not None
    assert attempt.started_at + timedelta(seconds=least) <= fax.due_at <= attempt.ended_at + timedelta(seconds=most)


NO_FAX_CODE = http("<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE></RESPONSE>")
in_doubt = answers(NO_FAX_CODE)


# turns


def test_attack_10_one_users_many_faxes_do_not_keep_another_users_single_fax_waiting(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        many = [env.fax(f"+9723987650{number}", user="many") for number in range(9)]
        late = {"created_at": env.clock() + timedelta(milliseconds=1), "due_at": env.clock() + timedelta(milliseconds=1)}
        single = env.fax("+97239876543", user="single", **late)
        await env.accept(*many, single)
        env.shift_clock(1)
        env.uploader()
        await until(lambda: len(simulator.uploads) > 2)
        assert [taken.number for taken in simulator.uploads].index(single.number) == 1

    with_simulator(tmp_path, scenario)


# accepted


def test_a_due_fax_is_uploaded_and_then_polled(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        env.uploader()
        [fax] = await env.queued()
        after = await env.becomes(fax, "submitted")
        [taken] = simulator.uploads
        assert (taken.number, taken.subject) == (fax.number, f"invoice {fax.token}.pdf")
        assert taken.files[0]["sha256"] == hashlib.sha256(PDF).hexdigest()
        assert (after.fax_code, after.price, after.credit_left, after.source) == (taken.fax_code, "0.40", "999", "upload")
        assert_due_after(after, 3, 5)
        [attempt] = after.attempts
        assert (attempt.n, attempt.fax_code, attempt.error_code) == (1, taken.fax_code, None)
        assert attempt.whole_at is not None
        assert attempt.ended_at is not None
        assert attempt.started_at <= attempt.whole_at <= attempt.ended_at
        assert attempt.digests == (fax.documents[0].sha256,)
        assert await env.events(fax) == ["fax.queued", "fax.submitted"]
        assert [line["event"] for line in env.log_lines if line["id"] == fax.id] == ["fax uploading", "fax submitted"]

    with_simulator(tmp_path, scenario)


def test_upload_name_has_the_token_before_the_extension() -> None:
    document = Document(name="חשבון 7.PDF", content_type="", size=0, sha256="", path="", offset=0, length=0)
    assert upload_name(document, "MB-1") == "חשבון 7 MB-1.PDF"
    assert upload_name(replace(document, name="fax"), "MB-1") == "fax MB-1"


def test_several_documents_are_one_fax(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        env.uploader()
        documents = (env.document(b"one", "1.pdf"), env.document(b"two", "2.pdf"))
        [fax] = await env.queued(documents=documents)
        await env.becomes(fax, "submitted")
        [taken] = simulator.uploads
        assert [file["name"] for file in taken.files] == [f"1 {fax.token}.pdf", f"2 {fax.token}.pdf"]

    with_simulator(tmp_path, scenario)


def test_every_fax_of_a_burst_is_uploaded_once(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        env.uploader(uploads=3)
        faxes = [fax for group in await asyncio.gather(*(env.queued() for _ in range(40))) for fax in group]
        for fax in faxes:
            await env.becomes(fax, "submitted")
        assert len({file["name"] for fax in simulator.uploads for file in fax.files}) == len(simulator.uploads) == 40

    with_simulator(tmp_path, scenario)


# the steps of an upload


def test_the_intent_is_on_disk_before_a_socket_opens(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    fax: Fax | None = None

    async def main() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert fax is not None
            seen.append(env.on_disk(fax))
            await answers(http(TAKEN))(reader, writer)

        nonlocal fax
        async with RawServer(script) as server, fax_environment(tmp_path, server.url) as env:
            [fax] = await env.queued()
            env.uploader()
            await env.becomes(fax, "submitted")
            assert not server.faults

    asyncio.run(main())
    [(state, attempts)] = seen
    assert state == "uploading"
    assert json.loads(attempts)[0]["n"] == 1


def test_a_claim_that_does_not_reach_the_disk_opens_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STORE_PAUSE", 0.01)

    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        env.store.refuse["_claim"] = 3
        [fax] = await env.queued()
        env.uploader()
        await until(lambda: env.store.refuse["_claim"] == 1)
        assert server.connections == 0
        await env.becomes(fax, "submitted")
        assert server.connections == 1
        assert len(env.logged("store unavailable, retrying", "account office")) == 3

    with_server(tmp_path, answers(http(TAKEN)), scenario)


def test_a_claim_whose_commit_is_not_answered_is_undone_and_disturbs_no_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a database server goes away between a commit and its answer: this daemon goes on, so no start settles it."""
    monkeypatch.setattr(module, "_STORE_PAUSE", 0.01)
    go_on = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await answers(http(TAKEN))(reader, writer)

    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        [first] = await env.queued()
        env.uploader(uploads=2)
        await until(lambda: server.connections == 1)
        run, lost = env.store._run, list[Any]()

        async def unanswered(work: Any) -> Any:
            result = await run(work)
            if getattr(getattr(work, "func", work), "__name__", "") == "_claim" and result and not lost:
                lost.extend(result)
                raise Undecided("the connection is lost")
            return result

        monkeypatch.setattr(env.store, "_run", unanswered)
        [second] = await env.queued("+97239876544")
        await until(lambda: server.connections == 2)
        go_on.set()
        after = [await env.becomes(fax, "submitted") for fax in (first, second)]
        assert [fax.id for fax in lost] == [second.id]
        assert [[attempt.error_code for attempt in fax.attempts] for fax in after] == [[None], ["interrupted", None]]
        assert server.connections == 2

    with_server(tmp_path, script, scenario)


def test_whole_at_is_on_disk_before_the_last_bytes_leave(tmp_path: Path) -> None:
    received = bytearray()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not received.endswith(b"--\r\n") and (chunk := await reader.read(65536)):
            received.extend(chunk)
        writer.write(http(TAKEN))
        await writer.drain()

    async def scenario(env: FaxEnvironment, _: RawServer) -> None:
        gate = env.store.hold["_mark_whole"] = asyncio.Event()
        [fax] = await env.queued()
        env.uploader()
        await until(lambda: PDF in received)
        assert not received.endswith(b"--\r\n")
        assert '"whole_at": null' in env.on_disk(fax)[1]
        gate.set()
        await until(lambda: received.endswith(b"--\r\n"))
        assert '"whole_at": "20' in env.on_disk(fax)[1]
        await env.becomes(fax, "submitted")

    with_server(tmp_path, script, scenario)


def test_the_last_bytes_do_not_leave_if_whole_at_cannot_be_committed(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        env.store.refuse["_mark_whole"] = 1
        [fax] = await env.queued()
        env.uploader()
        await until(lambda: bool(env.logged("fax deferred", fax.id)))
        waiting = await env.now(fax)
        assert (waiting.state, simulator.uploads) == ("queued", [])
        env.shift_clock(3)
        await env.becomes(fax, "submitted")
        assert len(simulator.uploads) == 1

    with_simulator(tmp_path, scenario)


# not taken: queued again


async def mid_body_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    reset(writer)


@pytest.mark.parametrize("kind", ["refused", "dns", "tls", "reset mid-body", "408", "429"])
def test_an_upload_not_taken_is_queued_again_with_backoff(tmp_path: Path, kind: str) -> None:
    scripts = {"408": answers(http("", "408 X")), "429": answers(http("", "429 X")), "reset mid-body": mid_body_reset}

    async def main() -> None:
        async with AsyncExitStack() as stack:
            tls = certificate(tmp_path) if kind == "tls" else None
            server = await stack.enter_async_context(RawServer(scripts.get(kind, answers()), tls))
            url = {"dns": "https://nowhere.invalid/action/"}.get(kind, server.url)
            env = await stack.enter_async_context(fax_environment(tmp_path, url))
            if kind == "refused":
                await server.__aexit__()
            [fax] = await env.queued(documents=(env.document(bytes(3_000_000)),))
            env.uploader()
            for tries, seconds in enumerate((2, 10, 30, 60, 300), 1):
                await until(lambda tries=tries: len(env.logged("fax deferred", fax.id)) == tries)
                waiting = await env.now(fax)
                assert (waiting.state, waiting.attempts[-1].error_code, len(waiting.attempts)) == ("queued", "not_taken", tries)
                assert_due_after(waiting, seconds, seconds)
                env.shift_clock(seconds)
            assert await env.events(fax) == ["fax.queued"]

    asyncio.run(main())


def test_a_deferred_fax_is_not_uploaded_before_it_is_due(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        [fax] = await env.queued()
        env.uploader()
        await until(lambda: bool(env.logged("fax deferred", fax.id)))
        env.shift_clock(1.0)
        await env.idle()
        assert server.connections == 1
        env.shift_clock(1.1)
        await until(lambda: server.connections == 2)

    with_server(tmp_path, answers(http("", "429 X")), scenario)


# refused or rejected


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 405, 411, 413, 415])
def test_an_upload_refused_by_its_http_status_fails_with_reason_and_alert(tmp_path: Path, status: int) -> None:
    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        [fax] = await env.queued()
        env.uploader()
        after = await env.becomes(fax, "failed")
        assert after.failure == Failure(
            code="unreachable" if status == 302 else "rejected", message=f"MyFax answered with HTTP status {status}"
        )
        assert (await env.events(fax), server.connections) == (["fax.queued", "fax.failed"], 1)
        assert str(status) in env.logged("fax failed", fax.id)[0]["reason"]
        [alert] = env.logged("upload refused, administrator must act", "account office")
        assert (alert["log_level"], alert["fax"]) == ("error", fax.id)

    with_server(tmp_path, answers(http("", f"{status} X", "Location: /x")), scenario)


def test_a_negative_response_code_fails_the_fax_with_its_text(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, _: Simulator) -> None:
        [fax] = await env.queued("+97239876599")
        env.uploader()
        after = await env.becomes(fax, "failed")
        assert after.failure == Failure(code="rejected", message="The fax was not accepted", provider_code=-5)
        assert (after.attempts[-1].error_code, await env.events(fax)) == ("rejected", ["fax.queued", "fax.failed"])

    with_simulator(tmp_path, scenario)


# in doubt


async def reset_when_whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    reset(writer)


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await asyncio.Event().wait()


DOUBTS: dict[str, Script] = {
    "reset": reset_when_whole,
    "close": answers(),
    "time-out": hang,
    "5xx": answers(http("", "503 X")),
    "HTML": answers(http("<html></html>")),
    "truncated XML": answers(http(TAKEN[:-3])),
    "DTD": answers(http("<!DOCTYPE a>" + TAKEN)),
    "no FAX_CODE": in_doubt,
}


@pytest.mark.parametrize("kind", DOUBTS)
def test_an_upload_whose_answer_is_lost_is_in_doubt_and_not_resent(tmp_path: Path, kind: str, time_limit: TimeLimit) -> None:
    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        [fax] = await env.queued()
        env.uploader()
        if kind == "time-out":
            await until(lambda: server.connections)
            await env.idle()  # now the whole request has left
            time_limit.end()
        after = await env.becomes(fax, "in_doubt")
        assert (after.attempts[-1].error_code, after.failure, after.final_at) == ("in_doubt", None, None)
        assert await env.events(fax) == ["fax.queued", "fax.in_doubt"]
        assert env.logged("fax in doubt", fax.id)[0]["reason"]
        env.shift_clock(100_000)
        await env.idle()
        assert (server.connections, (await env.now(fax)).state) == (1, "in_doubt")

    with_server(tmp_path, DOUBTS[kind], scenario, timeout=time_limit.SECONDS)


def test_on_doubt_fail_ends_the_fax(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        [fax] = await env.queued()
        env.uploader()
        after = await env.becomes(fax, "failed")
        assert after.failure is not None
        assert after.failure.code == "abandoned"
        assert "on_doubt" in after.failure.message
        assert await env.events(fax) == ["fax.queued", "fax.in_doubt", "fax.resolved", "fax.failed"]
        assert server.connections == 1

    with_server(tmp_path, in_doubt, scenario, on_doubt="fail")


def test_on_doubt_resend_sends_only_once_more(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        [fax] = await env.queued()
        env.uploader()
        await until(lambda: len(env.logged("fax in doubt", fax.id)) == 2)
        after = await env.becomes(fax, "in_doubt")
        env.shift_clock(1000)
        await env.idle()
        assert (server.connections, len(after.attempts)) == (2, 2)
        assert await env.events(fax) == ["fax.queued", "fax.in_doubt", "fax.resolved", "fax.in_doubt"]

    with_server(tmp_path, in_doubt, scenario, on_doubt="resend")


def test_attack_3_each_upload_has_its_own_token(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        [fax] = await env.queued()
        env.uploader()
        await until(lambda: len(env.logged("fax in doubt", fax.id)) == 2)
        after = await env.becomes(fax, "in_doubt")
        first, second = (str(attempt.token) for attempt in after.attempts)
        assert (first, second) == (fax.token, after.token)
        assert first != second
        for token in (first, second):
            found = await env.store.run(lambda tx, token=token: tx.faxes.by_tokens([token]))  # type: ignore[misc]
            assert [one.id for one in found] == [fax.id]

    with_server(tmp_path, in_doubt, scenario, on_doubt="resend")


def test_a_new_attempt_clears_source_and_report_of_the_last_one(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        [fax] = await env.queued()
        env.uploader()
        await env.becomes(fax, "in_doubt")

        def again(tx: Transaction) -> None:
            tx.faxes.update(fax.id, report={"status": "Fail"})
            tx.faxes.transition(fax.id, "resend", env.clock(), source="person", due_at=env.clock())

        await env.store.run(again)
        await until(lambda: len(env.logged("fax in doubt", fax.id)) == 2)
        after = await env.now(fax)
        assert (after.state, after.source, after.report) == ("in_doubt", None, None)

    with_server(tmp_path, in_doubt, scenario)


def test_three_doubts_pause_the_account_and_one_trial_reopens_it(tmp_path: Path) -> None:
    good = False
    hanging = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if good:
            await hanging.wait()
        writer.write(http(TAKEN) if good else NO_FAX_CODE)
        await writer.drain()

    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        nonlocal good
        env.uploader(uploads=1)
        faxes = await env.queued(*["+97239876543"] * 6)
        await until(lambda: env.logged("account paused", "account office"))
        await env.idle()
        assert server.connections == DOUBTS_BEFORE_PAUSE
        # A trial upload in doubt pauses it again.
        env.shift_clock(PAUSE.total_seconds() + 1)
        await until(lambda: len(env.logged("account paused", "account office")) == 2)
        await env.idle()
        assert server.connections == DOUBTS_BEFORE_PAUSE + 1
        assert [(await env.now(fax)).state for fax in faxes[4:]] == ["queued", "queued"]
        # One that is accepted reopens it; while it is in flight there is no other, and the loop does not spin.
        good = True
        env.shift_clock(PAUSE.total_seconds() + 1)
        await until(lambda: server.connections == DOUBTS_BEFORE_PAUSE + 2)
        await env.idle()
        assert (env.waits.seconds, server.connections) == (module._LONGEST_WAIT, DOUBTS_BEFORE_PAUSE + 2)
        hanging.set()
        for fax in faxes[4:]:
            await env.becomes(fax, "submitted")
        assert len(env.logged("account reopened", "account office")) == 1

    with_server(tmp_path, script, scenario)


def test_the_trial_upload_is_alone_if_the_account_has_several_slots(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server_of[0].connections > DOUBTS_BEFORE_PAUSE:
            await hang(reader, writer)
        await in_doubt(reader, writer)

    server_of: list[RawServer] = []

    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        server_of.append(server)
        env.uploader(uploads=3)
        await env.queued(*["+97239876543"] * 3)
        await until(lambda: env.logged("account paused", "account office"))
        await env.queued(*["+97239876543"] * 3)
        env.shift_clock(PAUSE.total_seconds() + 1)
        await until(lambda: server.connections > DOUBTS_BEFORE_PAUSE)
        await env.idle()
        assert server.connections == DOUBTS_BEFORE_PAUSE + 1

    with_server(tmp_path, script, scenario)


def test_a_trial_upload_with_a_damaged_document_does_not_reopen_the_account(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        env.uploader()
        await env.queued(*["+97239876543"] * 3)
        await until(lambda: env.logged("account paused", "account office"))
        [damaged] = await env.queued(documents=(replace(env.document(), path="received/00/none"),))
        await env.queued(*["+97239876543"] * 3)
        env.shift_clock(PAUSE.total_seconds() + 1)
        await env.becomes(damaged, "failed")
        await until(lambda: len(env.logged("account paused", "account office")) == 2)
        await env.idle()
        assert (server.connections, env.logged("account reopened")) == (DOUBTS_BEFORE_PAUSE + 1, [])

    with_server(tmp_path, in_doubt, scenario)


def test_a_clock_set_back_does_not_make_a_pause_longer(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        env.uploader()
        await env.queued(*["+97239876543"] * 4)
        await until(lambda: env.logged("account paused", "account office"))
        env.shift_clock(-3600)
        await env.idle()
        later = await env.queued()
        env.shift_clock(PAUSE.total_seconds() + 1)
        await until(lambda: server.connections == DOUBTS_BEFORE_PAUSE + 1)
        await env.becomes(later[0], "in_doubt", "queued")

    with_server(tmp_path, in_doubt, scenario)


@pytest.mark.parametrize("restart", [False, True])
def test_a_pause_and_its_end_are_events_also_over_a_restart(tmp_path: Path, restart: bool) -> None:
    answering = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (answers(http(TAKEN)) if answering.is_set() else in_doubt)(reader, writer)

    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        async def of_the_account() -> list[str]:
            return [type_ for type_ in await env.events() if type_.startswith("account.")]

        env.uploader()
        await env.queued(*["+97239876543"] * 4)
        await until(lambda: env.logged("account paused", "account office"))
        await env.idle()
        # A second pause in a row is the same one.
        env.shift_clock(PAUSE.total_seconds() + 1)
        await until(lambda: len(env.logged("account paused", "account office")) == 2)
        await env.idle()
        assert await of_the_account() == ["account.paused"]
        if restart:
            await env.stop()
            env.uploader()
        answering.set()
        last = await env.queued("+97239876543", "+97239876543")
        env.shift_clock(PAUSE.total_seconds() + 1)
        for fax in last:
            await env.becomes(fax, "submitted")
        assert await of_the_account() == ["account.paused", "account.resumed"]

    with_server(tmp_path, script, scenario)


# after a crash


@pytest.mark.parametrize(
    ("whole", "on_doubt", "state", "error"),
    [
        (False, "hold", "queued", "interrupted"),
        (False, "resend", "queued", "interrupted"),
        (True, "hold", "in_doubt", "in_doubt"),
        (True, "fail", "failed", "in_doubt"),
        (True, "resend", "queued", "in_doubt"),
    ],
)
def test_an_interrupted_upload_is_settled_by_whole_at(tmp_path: Path, whole: bool, on_doubt: Any, state: str, error: str) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        [fax] = await env.queued(due_at=env.clock() + timedelta(hours=1))
        attempt = Attempt(n=1, started_at=env.clock(), whole_at=env.clock() if whole else None)
        await env.store.run(lambda tx: tx.faxes.transition(fax.id, "claim", env.clock(), attempts=(attempt,)))
        await recover_interrupted(env.runtime, on_doubt)
        after = await env.now(fax)
        assert (after.state, after.attempts[-1].error_code) == (state, error)
        assert env.logged("fax in doubt" if whole else "fax deferred", fax.id)
        env.uploader()
        if state == "queued":
            await env.becomes(fax, "submitted")
        await env.idle()
        assert len(simulator.uploads) == (state == "queued")

    with_simulator(tmp_path, scenario)


def test_an_upload_cancelled_at_the_end_keeps_its_state_on_disk(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        env.uploader(uploads=2)
        [whole] = await env.queued()
        await until(lambda: '"whole_at": "20' in env.on_disk(whole)[1])
        env.store.hold["_mark_whole"] = asyncio.Event()
        [cut] = await env.queued()
        await until(lambda: server.connections == 2)
        await env.stop()
        assert not {task.get_name() for task in asyncio.all_tasks()} & {whole.id, cut.id}
        assert env.on_disk(whole)[0] == env.on_disk(cut)[0] == "uploading"
        await recover_interrupted(env.runtime)
        assert ((await env.now(whole)).state, (await env.now(cut)).state) == ("in_doubt", "queued")

    with_server(tmp_path, hang, scenario)


# documents


def damaged(env: FaxEnvironment, kind: str) -> Document:
    document = env.document()
    path = env.spool.path(document.path)
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(PDF[:-1])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "one bit":
        path.write_bytes(PDF[:1000] + bytes([PDF[1000] ^ 1]) + PDF[1001:])
    elif kind == "longer":
        return replace(document, size=document.size - 1)
    elif kind == "base64":
        path.write_bytes(base64.b64encode(PDF)[:-8])
        return replace(document, encoding="base64", length=path.stat().st_size)
    return document


@pytest.mark.parametrize("kind", ["missing", "truncated", "empty", "one bit", "longer", "base64"])
def test_a_damaged_document_fails_its_fax_with_a_reason_and_others_go_on(tmp_path: Path, kind: str) -> None:
    bodies: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await read_request(reader)
        bodies.append(body)
        writer.write(http(TAKEN))
        await writer.drain()

    async def scenario(env: FaxEnvironment, _: RawServer) -> None:
        [bad] = await env.queued(documents=(env.document(), damaged(env, kind)))
        [good] = await env.queued()
        env.uploader()
        after = await env.becomes(bad, "failed")
        assert after.failure is not None
        assert after.failure.code == "abandoned"
        assert "document" in after.failure.message
        assert after.attempts[-1].whole_at is None
        assert str(tmp_path) not in after.failure.message
        alerts = env.logged("document damaged, fax not sent", bad.id)
        assert [alert["log_level"] for alert in alerts] == ([] if kind == "missing" else ["error"])
        await env.becomes(good, "submitted")
        assert len(bodies) == 1, "the damaged document must not arrive whole"
        assert await env.events(bad) == ["fax.queued", "fax.failed"]

    with_server(tmp_path, script, scenario)


def test_a_document_that_cannot_be_opened_now_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        real = env.spool.open_document

        def unable(_: Document) -> Any:
            raise StoreUnavailable("the spool cannot be read: Too many open files")

        monkeypatch.setattr(env.spool, "open_document", unable)
        [fax] = await env.queued()
        env.uploader()
        await until(lambda: bool(env.logged("fax deferred", fax.id)))
        assert "Too many open files" in env.logged("fax deferred", fax.id)[0]["reason"]
        monkeypatch.setattr(env.spool, "open_document", real)
        env.shift_clock(3)
        await env.becomes(fax, "submitted")

    with_simulator(tmp_path, scenario)


def test_a_document_inside_its_mail_is_decoded_and_uploaded(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        mail = b"headers\r\n\r\n" + base64.encodebytes(PDF).replace(b"\n", b"\r\n") + b"\r\n--end--"
        path = env.spool.store_received(new_id("doc"), mail)
        document = replace(env.document(), path=path, offset=11, length=len(mail) - 11 - 9, encoding="base64")
        [fax] = await env.queued(documents=(document,))
        env.uploader()
        await env.becomes(fax, "submitted")
        assert simulator.uploads[0].files[0]["sha256"] == hashlib.sha256(PDF).hexdigest()

    with_simulator(tmp_path, scenario)


# the loop


@pytest.mark.parametrize("uploads", [1, 3])
def test_uploads_in_flight_never_exceed_the_accounts_slots(tmp_path: Path, uploads: int) -> None:
    under_way, most, gate = 0, 0, asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        await read_request(reader)
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1
        writer.write(http(TAKEN))
        await writer.drain()

    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        env.uploader(uploads=uploads)
        faxes = await env.queued(*["+97239876543"] * 8)
        await until(lambda: under_way == uploads)
        await env.idle()
        assert (server.connections, env.waits.seconds) == (uploads, module._LONGEST_WAIT)
        gate.set()
        for fax in faxes:
            await env.becomes(fax, "submitted")
        assert most == uploads

    with_server(tmp_path, script, scenario)


def test_an_idle_uploader_runs_no_transaction(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, _: Simulator) -> None:
        env.uploader()
        await env.queued(due_at=env.clock() + timedelta(hours=1))
        await env.idle()
        assert env.waits.seconds == module._LONGEST_WAIT

    with_simulator(tmp_path, scenario)


def test_a_fax_for_later_is_uploaded_at_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT", 3600.0)

    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        env.uploader()
        due = env.clock() + timedelta(seconds=0.1)
        [fax] = await env.queued(due_at=due)
        started = (await env.becomes(fax, "submitted")).attempts[0].started_at
        assert started >= due
        assert len(simulator.uploads) == 1

    with_simulator(tmp_path, scenario)


def test_a_clock_set_forward_is_noticed_without_a_wakeup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.05)

    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        env.uploader()
        tomorrow = env.clock() + timedelta(hours=23)
        [fax] = await env.queued(due_at=tomorrow, expires_at=tomorrow + timedelta(days=1))
        await until(lambda: env.waits.seconds == 0.05)
        assert simulator.uploads == []
        env.clock.offset += timedelta(days=1)
        await env.becomes(fax, "submitted")
        assert len(simulator.uploads) == 1

    with_simulator(tmp_path, scenario)


def test_a_clock_set_back_loses_and_repeats_no_upload(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        env.uploader()
        [before] = await env.queued()
        await env.becomes(before, "submitted")
        env.shift_clock(-3600)
        [after] = await env.queued()
        await env.becomes(after, "submitted")
        env.shift_clock(7200)
        await env.idle()
        assert len(simulator.uploads) == 2

    with_simulator(tmp_path, scenario)


def test_an_expired_fax_is_not_uploaded(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        [stale] = await env.queued(expires_at=env.clock())
        [fresh] = await env.queued()
        env.uploader()
        after = await env.becomes(stale, "failed")
        assert after.failure is not None
        assert after.failure.code == "expired"
        await env.becomes(fresh, "submitted")
        assert (len(simulator.uploads), len(env.logged("fax expired", stale.id))) == (1, 1)

    with_simulator(tmp_path, scenario)


def test_drain_finishes_uploads_in_flight_and_starts_no_more(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await gate.wait()
        writer.write(http(TAKEN))
        await writer.drain()

    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        uploader = env.uploader()
        first, second = await env.queued(*["+97239876543"] * 2)
        await until(lambda: server.connections == 1)
        draining = asyncio.create_task(uploader.drain(PATIENCE))
        await env.idle()
        assert not draining.done()
        gate.set()
        await draining
        await env.queued()
        await env.idle()
        states = (await env.now(first)).state, (await env.now(second)).state
        assert (states, server.connections) == (("submitted", "queued"), 1)

    with_server(tmp_path, script, scenario)


def test_drain_finishes_an_upload_that_is_being_claimed(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        env.store.hold["_claim"] = asyncio.Event()
        uploader = env.uploader()
        [fax] = await env.queued()
        await until(lambda: env.store.running)
        draining = asyncio.create_task(uploader.drain(PATIENCE))
        for _ in range(10):
            await asyncio.sleep(0)
        env.store.hold["_claim"].set()
        await draining
        await env.stop()
        assert (await env.now(fax)).state == "submitted"

    with_simulator(tmp_path, scenario)


def test_drain_does_not_wait_longer_than_its_timeout(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        uploader = env.uploader()
        [fax] = await env.queued()
        await until(lambda: server.connections == 1)
        await asyncio.wait_for(uploader.drain(0.1), PATIENCE)
        assert (await env.now(fax)).state == "uploading"
        await env.stop()

    with_server(tmp_path, hang, scenario)


# credit, the store, reports, and unexpected errors


def test_credit_low_is_emitted_once_when_credit_falls_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STORE_PAUSE", 0.01)

    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        env.uploader(low_credit=10)
        for credit in (13, 12, 11, 10, 9, 50, 10):
            if credit == 9:  # a restart does not emit it again
                await env.stop()
                env.uploader(low_credit=10)
            simulator.credit = credit
            if credit == 11:  # the next outcome is stored only at the second try
                env.store.refuse["_store_outcome"] = 1
            [fax] = await env.queued()
            await env.becomes(fax, "submitted")
        emitted = [event.data for event in await env.store.run(lambda tx: tx.events.newest()) if event.type == "credit.low"]
        assert [data["credit_left"] for data in reversed(emitted)] == ["10", "9"]
        assert emitted[0] == {"account": "office", "credit_left": "9", "limit": 10}

    with_simulator(tmp_path, scenario)


def test_an_outcome_is_kept_until_the_store_accepts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STORE_PAUSE", 0.01)

    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        env.store.refuse["_store_outcome"] = 5
        env.uploader()
        [fax] = await env.queued()
        after = await env.becomes(fax, "submitted")
        assert (after.fax_code, len(simulator.uploads)) == (simulator.uploads[0].fax_code, 1)
        assert len(env.logged("store unavailable, retrying", "account office")) == 5

    with_simulator(tmp_path, scenario)


took = answers(http(TAKEN.replace("</FAX_CODE>", "</FAX_CODE><PRICE>0.40</PRICE>")))


@pytest.mark.parametrize(
    ("trigger", "script", "last"),
    [
        ("confirm", took, "fax.delivered"),
        ("fail", took, "fax.failed"),
        ("confirm", in_doubt, "fax.delivered"),
        ("fail", in_doubt, "fax.failed"),
        ("fail", answers(http("<RESPONSE><RESPONSE_CODE>-5</RESPONSE_CODE></RESPONSE>")), "fax.failed"),
    ],
)
def test_a_report_that_overtakes_the_answer_gives_one_final_event(
    tmp_path: Path, trigger: Any, script: Script, last: str
) -> None:
    gate = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await script(reader, writer)

    async def scenario(env: FaxEnvironment, server: RawServer) -> None:
        env.uploader()
        [fax] = await env.queued()

        async def whole() -> bool:
            attempts = (await env.now(fax)).attempts
            return bool(attempts and attempts[-1].whole_at)

        await until(whole)
        failure = None if trigger == "confirm" else Failure(code="busy", message="busy", provider_code=3)
        await env.store.run(lambda tx: tx.faxes.transition(fax.id, trigger, env.clock(), source="report", failure=failure))
        gate.set()
        [next_one] = await env.queued()
        await until(lambda: server.connections == 2)
        assert await env.events(fax) == ["fax.queued", last]
        after = await env.now(fax)
        assert (after.source, after.failure) == ("report", failure)
        noted = ("c-1", "0.40", "c-1") if script is took else (None, None, None)
        assert (after.fax_code, after.price, after.attempts[-1].fax_code) == noted
        await env.becomes(next_one, "submitted", "in_doubt", "failed")

    with_server(tmp_path, late, scenario)


def test_a_report_that_comes_before_the_last_bytes_keeps_them_back(tmp_path: Path) -> None:
    """It is about an earlier upload: the fax has arrived, and must not be sent once more."""

    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        env.store.hold["_mark_whole"] = gate = asyncio.Event()
        env.uploader()
        [fax] = await env.queued()
        await env.becomes(fax, "uploading")
        await env.store.run(lambda tx: tx.faxes.transition(fax.id, "confirm", env.clock(), source="report"))
        gate.set()
        [other] = await env.queued()
        await env.becomes(other, "submitted")
        assert len(simulator.uploads) == 1
        assert await env.events(fax) == ["fax.queued", "fax.delivered"]
        assert [attempt.whole_at for attempt in (await env.now(fax)).attempts] == [None]
        assert not env.logged("fax deferred", fax.id)

    with_simulator(tmp_path, scenario)


def test_an_unexpected_error_before_the_body_is_whole_defers_the_fax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        async def bug(*_: Any, **__: Any) -> Any:
            raise KeyError("a bug")

        real = env.clients["office"].send
        monkeypatch.setattr(env.clients["office"], "send", bug)
        env.uploader()
        [fax] = await env.queued()
        await until(lambda: bool(env.logged("fax deferred", fax.id)))
        [line] = env.logged("upload failed unexpectedly", fax.id)
        assert "KeyError at" in line["error"]
        assert "test_fax_uploader.py" in line["error"]
        monkeypatch.setattr(env.clients["office"], "send", real)
        env.shift_clock(3)
        await env.becomes(fax, "submitted")
        assert len(simulator.uploads) == 1

    with_simulator(tmp_path, scenario)


def test_an_unexpected_error_after_the_body_is_whole_is_a_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(env: FaxEnvironment, _: Simulator) -> None:
        async def bug(*_: Any, before_last_chunk: Callable[[], Awaitable[None]], **__: Any) -> Any:
            await before_last_chunk()
            raise KeyError("a bug")

        monkeypatch.setattr(env.clients["office"], "send", bug)
        env.uploader()
        [fax] = await env.queued()
        assert (await env.becomes(fax, "in_doubt")).attempts[-1].error_code == "in_doubt"
        assert env.logged("upload failed unexpectedly", fax.id)

    with_simulator(tmp_path, scenario)


def test_an_answer_to_an_upload_that_does_not_count_any_more_goes_into_the_audit(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        def go_on(tx: Transaction, fax_id: str) -> None:
            tx.faxes.transition(fax_id, "accept", env.clock(), fax_code="other")
            tx.faxes.transition(fax_id, "redial", env.clock(), due_at=env.clock() + timedelta(hours=1))

        env.store.hold["_store_outcome"] = gate = asyncio.Event()
        env.uploader()
        [fax] = await env.queued()
        await until(lambda: len(simulator.uploads) == 1)
        await env.store.run(partial(go_on, fax_id=fax.id))
        gate.set()
        [other] = await env.queued()
        await env.becomes(other, "submitted")
        [line] = await env.store.run(lambda tx: tx.audit.newest(fax.id))
        assert (line.what, line.record["answer"]) == ("fax.late_answer", "accept")
        after = await env.now(fax)
        assert (after.state, after.fax_code) == ("queued", "other")

    with_simulator(tmp_path, scenario)


def test_an_error_while_the_outcome_is_stored_is_logged_and_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        def bug(*_: object) -> Fax:
            raise KeyError("a bug")

        with monkeypatch.context() as patch:
            patch.setattr("mailbridge.fax.uploader.apply_outcome", bug)
            env.uploader()
            [fax] = await env.queued()
            await until(lambda: bool(env.logged("upload outcome not stored", fax.id)))
        assert "KeyError" in env.logged("upload outcome not stored", fax.id)[0]["error"]
        [other] = await env.queued()
        await env.becomes(other, "submitted")

    with_simulator(tmp_path, scenario)


# one call at a time to one number


def test_second_fax_to_a_number_waits_for_the_first_to_end(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, simulator: Simulator) -> None:
        env.uploader(uploads=5)
        first, second, other = await env.queued(NUMBER, NUMBER, "+97221234567")
        await env.becomes(first, "submitted")
        await env.becomes(other, "submitted")
        assert (await env.now(second)).state == "queued"
        await env.store.run(lambda tx: tx.faxes.transition(first.id, "confirm", env.clock()))
        await env.becomes(second, "submitted")
        assert [taken.number for taken in simulator.uploads].count(NUMBER) == 2

    with_simulator(tmp_path, scenario, per_number=1)


def test_number_is_busy_for_all_accounts(tmp_path: Path) -> None:
    async def scenario(env: FaxEnvironment, _: Simulator) -> None:
        [other] = await env.queued(NUMBER, account="other")
        await env.store.run(
            lambda tx: tx.faxes.transition(other.id, "claim", env.clock(), attempts=(Attempt(n=1, started_at=env.clock()),))
        )
        env.uploader()
        blocked, free = await env.queued(NUMBER, "+97221234567")
        await env.becomes(free, "submitted")
        assert (await env.now(blocked)).state == "queued"
        await env.store.run(lambda tx: tx.faxes.transition(other.id, "lose", env.clock()))
        await env.becomes(blocked, "submitted")

    with_simulator(tmp_path, scenario, per_number=1)


@pytest.mark.parametrize("per_number", [0, 2])
def test_more_calls_to_a_number_are_made_if_configured(tmp_path: Path, per_number: int) -> None:
    async def scenario(env: FaxEnvironment, _: Simulator) -> None:
        env.uploader(uploads=5)
        first, second, third = await env.queued(NUMBER, NUMBER, NUMBER)
        await env.becomes(first, "submitted")
        await env.becomes(second, "submitted")
        if per_number == 0:
            await env.becomes(third, "submitted")
        else:
            assert (await env.now(third)).state == "queued"

    with_simulator(tmp_path, scenario, per_number=per_number)
