"""Uploads with a real store and spool: what each outcome does to a fax, and that none is ever sent twice."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mailbridge.demo.simulator import Simulator
from mailbridge.errors import StoreUnavailable
from mailbridge.fax import uploader as module
from mailbridge.fax.uploader import DOUBTS_BEFORE_PAUSE, PAUSE, recover_interrupted, upload_name
from mailbridge.model import Attempt, Document, Failure, Fax, new_id
from mailbridge.store.interface import Transaction
from tests.factories import NUMBER
from tests.integration.fax_fixtures import World, fax_world, stand_in
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
from tests.wait_helpers import until

Uploading = Callable[[World, Simulator], Awaitable[None]]


def with_stand_in(state: Path, scenario: Uploading, **options: Any) -> None:
    async def main() -> None:
        async with stand_in() as (simulator, url), fax_world(state, url, **options) as world:
            await scenario(world, simulator)

    asyncio.run(main())


def with_server(state: Path, script: Script, scenario: Callable[[World, RawServer], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with RawServer(script) as server:
            async with fax_world(state, server.url, **options) as world:
                await scenario(world, server)
            assert not server.faults, server.faults

    asyncio.run(main())


def seconds_until_due(world: World, fax: Fax) -> float:
    return (fax.due_at - world.clock()).total_seconds()


NO_FAX_CODE = http("<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE></RESPONSE>")
in_doubt = answers(NO_FAX_CODE)


# accepted


def test_a_due_fax_is_uploaded_and_followed(tmp_path: Path) -> None:
    async def scenario(world: World, simulator: Simulator) -> None:
        world.sender()
        [fax] = await world.queued()
        after = await world.becomes(fax, "submitted")
        [taken] = simulator.uploads
        assert (taken.number, taken.subject) == (fax.number, f"invoice {fax.token}.pdf")
        assert taken.files[0]["sha256"] == hashlib.sha256(PDF).hexdigest()
        assert (after.fax_code, after.price, after.credit_left, after.source) == (taken.fax_code, "0.40", "999", "upload")
        assert 3 < seconds_until_due(world, after) <= 5
        [attempt] = after.attempts
        assert (attempt.n, attempt.fax_code, attempt.error_code) == (1, taken.fax_code, None)
        assert attempt.whole_at is not None
        assert attempt.ended_at is not None
        assert attempt.started_at <= attempt.whole_at <= attempt.ended_at
        assert attempt.digests == (fax.documents[0].sha256,)
        assert await world.events(fax) == ["fax.queued", "fax.submitted"]
        assert [line["event"] for line in world.lines if line["id"] == fax.id] == ["fax uploading", "fax submitted"]

    with_stand_in(tmp_path, scenario)


def test_the_token_stands_in_the_name_before_the_extension() -> None:
    document = Document(name="חשבון 7.PDF", content_type="", size=0, sha256="", path="", offset=0, length=0)
    assert upload_name(document, "MB-1") == "חשבון 7 MB-1.PDF"
    assert upload_name(replace(document, name="fax"), "MB-1") == "fax MB-1"


def test_several_documents_are_one_fax(tmp_path: Path) -> None:
    async def scenario(world: World, simulator: Simulator) -> None:
        world.sender()
        documents = (world.document(b"one", "1.pdf"), world.document(b"two", "2.pdf"))
        [fax] = await world.queued(documents=documents)
        await world.becomes(fax, "submitted")
        [taken] = simulator.uploads
        assert [file["name"] for file in taken.files] == [f"1 {fax.token}.pdf", f"2 {fax.token}.pdf"]

    with_stand_in(tmp_path, scenario)


def test_every_fax_of_a_burst_is_uploaded_once(tmp_path: Path) -> None:
    async def scenario(world: World, simulator: Simulator) -> None:
        world.sender(uploads=3)
        faxes = [fax for group in await asyncio.gather(*(world.queued() for _ in range(40))) for fax in group]
        for fax in faxes:
            await world.becomes(fax, "submitted")
        assert len({file["name"] for fax in simulator.uploads for file in fax.files}) == len(simulator.uploads) == 40

    with_stand_in(tmp_path, scenario)


# the order of things


def test_the_intent_is_on_disk_before_a_socket_opens(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    fax: Fax | None = None

    async def main() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert fax is not None
            seen.append(world.on_disk(fax))
            await answers(http(TAKEN))(reader, writer)

        nonlocal fax
        async with RawServer(script) as server, fax_world(tmp_path, server.url) as world:
            [fax] = await world.queued()
            world.sender()
            await world.becomes(fax, "submitted")
            assert not server.faults

    asyncio.run(main())
    [(state, attempts)] = seen
    assert state == "uploading"
    assert '"n": 1' in attempts


def test_a_claim_that_does_not_reach_the_disk_opens_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STORE_PAUSE", 0.01)

    async def scenario(world: World, server: RawServer) -> None:
        world.store.refuse["_claim"] = 3
        [fax] = await world.queued()
        world.sender()
        await until(lambda: world.store.refuse["_claim"] == 1)
        assert server.connections == 0
        await world.becomes(fax, "submitted")
        assert server.connections == 1
        assert len(world.said("store unavailable, retrying", "account office")) == 3

    with_server(tmp_path, answers(http(TAKEN)), scenario)


def test_that_the_body_is_whole_is_on_disk_before_its_last_bytes_leave(tmp_path: Path) -> None:
    received = bytearray()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not received.endswith(b"--\r\n"):
            received.extend(await reader.read(65536))
        writer.write(http(TAKEN))
        await writer.drain()

    async def scenario(world: World, _: RawServer) -> None:
        gate = world.store.hold["_mark_whole"] = asyncio.Event()
        [fax] = await world.queued()
        world.sender()
        await until(lambda: PDF in received)
        assert not received.endswith(b"--\r\n")
        assert '"whole_at": null' in world.on_disk(fax)[1]
        gate.set()
        await until(lambda: received.endswith(b"--\r\n"))
        assert '"whole_at": "20' in world.on_disk(fax)[1]
        await world.becomes(fax, "submitted")

    with_server(tmp_path, script, scenario)


def test_without_the_mark_on_disk_nothing_more_leaves_and_the_fax_waits(tmp_path: Path) -> None:
    async def scenario(world: World, simulator: Simulator) -> None:
        world.store.refuse["_mark_whole"] = 1
        [fax] = await world.queued()
        world.sender()
        await until(lambda: bool(world.said("fax deferred", fax.id)))
        waiting = await world.now(fax)
        assert (waiting.state, simulator.uploads) == ("queued", [])
        world.leap(3)
        await world.becomes(fax, "submitted")
        assert len(simulator.uploads) == 1

    with_stand_in(tmp_path, scenario)


# not taken: queued again


async def mid_body_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    reset(writer)


@pytest.mark.parametrize("kind", ["refused", "dns", "tls", "reset mid-body", "408", "429"])
def test_what_was_not_taken_is_queued_again_with_back_off(tmp_path: Path, kind: str) -> None:
    scripts = {"408": answers(http("", "408 X")), "429": answers(http("", "429 X")), "reset mid-body": mid_body_reset}

    async def main() -> None:
        async with AsyncExitStack() as stack:
            tls = certificate(tmp_path) if kind == "tls" else None
            server = await stack.enter_async_context(RawServer(scripts.get(kind, answers()), tls))
            url = {"dns": "https://nowhere.invalid/action/"}.get(kind, server.url)
            world = await stack.enter_async_context(fax_world(tmp_path, url))
            if kind == "refused":
                await server.__aexit__()
            [fax] = await world.queued(documents=(world.document(bytes(3_000_000)),))
            world.sender()
            waits = []
            for tries in range(1, 6):
                await until(lambda tries=tries: len(world.said("fax deferred", fax.id)) == tries)
                waiting = await world.now(fax)
                assert (waiting.state, waiting.attempts[-1].error_code, len(waiting.attempts)) == ("queued", "not_taken", tries)
                waits.append(seconds_until_due(world, waiting))
                world.leap(waits[-1])
            assert [round(wait) for wait in waits] == [2, 10, 30, 60, 300]
            assert await world.events(fax) == ["fax.queued"]

    asyncio.run(main())


def test_nothing_is_uploaded_before_it_is_due_again(tmp_path: Path) -> None:
    async def scenario(world: World, server: RawServer) -> None:
        [fax] = await world.queued()
        world.sender()
        await until(lambda: bool(world.said("fax deferred", fax.id)))
        world.leap(1.0)
        await asyncio.sleep(0.1)
        assert server.connections == 1
        world.leap(1.1)
        await until(lambda: server.connections == 2)

    with_server(tmp_path, answers(http("", "429 X")), scenario)


# needs a person, or was rejected


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 405, 411, 413, 415])
def test_what_needs_a_person_fails_with_its_reason_and_an_alert(tmp_path: Path, status: int) -> None:
    async def scenario(world: World, server: RawServer) -> None:
        [fax] = await world.queued()
        world.sender()
        after = await world.becomes(fax, "failed")
        assert after.failure == Failure(code="unreachable", message=f"MyFax answered with HTTP status {status}")
        assert (await world.events(fax), server.connections) == (["fax.queued", "fax.failed"], 1)
        assert str(status) in world.said("fax failed", fax.id)[0]["reason"]
        [alert] = world.said("upload refused, administrator must act", "account office")
        assert (alert["log_level"], alert["fax"]) == ("error", fax.id)

    with_server(tmp_path, answers(http("", f"{status} X", "Location: /x")), scenario)


def test_a_code_below_zero_fails_with_the_text(tmp_path: Path) -> None:
    async def scenario(world: World, _: Simulator) -> None:
        [fax] = await world.queued("+97239876599")
        world.sender()
        after = await world.becomes(fax, "failed")
        assert after.failure == Failure(code="rejected", message="The fax was not accepted", provider_code=-5)
        assert (after.attempts[-1].error_code, await world.events(fax)) == ("rejected", ["fax.queued", "fax.failed"])

    with_stand_in(tmp_path, scenario)


# in doubt


async def reset_when_whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    reset(writer)


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await asyncio.sleep(60)


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
def test_what_may_have_been_taken_is_in_doubt_and_not_resent(tmp_path: Path, kind: str) -> None:
    async def scenario(world: World, server: RawServer) -> None:
        [fax] = await world.queued()
        world.sender()
        after = await world.becomes(fax, "in_doubt")
        assert (after.attempts[-1].error_code, after.failure, after.final_at) == ("in_doubt", None, None)
        assert await world.events(fax) == ["fax.queued", "fax.in_doubt"]
        assert world.said("fax in doubt", fax.id)[0]["reason"]
        world.leap(100_000)
        await asyncio.sleep(0.05)
        assert (server.connections, (await world.now(fax)).state) == (1, "in_doubt")

    with_server(tmp_path, DOUBTS[kind], scenario, timeout=0.3)


def test_on_doubt_fail_ends_it(tmp_path: Path) -> None:
    async def scenario(world: World, server: RawServer) -> None:
        [fax] = await world.queued()
        world.sender()
        after = await world.becomes(fax, "failed")
        assert after.failure is not None
        assert after.failure.code == "abandoned"
        assert "on_doubt" in after.failure.message
        assert await world.events(fax) == ["fax.queued", "fax.in_doubt", "fax.resolved", "fax.failed"]
        assert server.connections == 1

    with_server(tmp_path, in_doubt, scenario, on_doubt="fail")


def test_on_doubt_resend_sends_once_more_and_not_without_end(tmp_path: Path) -> None:
    async def scenario(world: World, server: RawServer) -> None:
        [fax] = await world.queued()
        world.sender()
        await until(lambda: len(world.said("fax in doubt", fax.id)) == 2)
        after = await world.becomes(fax, "in_doubt")
        world.leap(1000)
        await asyncio.sleep(0.05)
        assert (server.connections, len(after.attempts)) == (2, 2)
        assert await world.events(fax) == ["fax.queued", "fax.in_doubt", "fax.resolved", "fax.in_doubt"]

    with_server(tmp_path, in_doubt, scenario, on_doubt="resend")


def test_who_told_of_one_attempt_is_not_named_for_the_next(tmp_path: Path) -> None:
    async def scenario(world: World, server: RawServer) -> None:
        [fax] = await world.queued()
        world.sender()
        await world.becomes(fax, "in_doubt")

        def again(tx: Transaction) -> None:
            tx.faxes.update(fax.id, report={"status": "Fail"})
            tx.faxes.transition(fax.id, "resend", world.clock(), source="person", due_at=world.clock())

        await world.store.run(again)
        await until(lambda: len(world.said("fax in doubt", fax.id)) == 2)
        after = await world.now(fax)
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

    async def scenario(world: World, server: RawServer) -> None:
        nonlocal good
        world.sender(uploads=1)
        faxes = await world.queued(*["+97239876543"] * 6)
        await until(lambda: world.said("account paused", "account office"))
        await asyncio.sleep(0.05)
        assert server.connections == DOUBTS_BEFORE_PAUSE
        # A trial that is in doubt too pauses it again.
        world.leap(PAUSE.total_seconds() + 1)
        await until(lambda: len(world.said("account paused", "account office")) == 2)
        await asyncio.sleep(0.05)
        assert server.connections == DOUBTS_BEFORE_PAUSE + 1
        assert [(await world.now(fax)).state for fax in faxes[4:]] == ["queued", "queued"]
        # One that is taken reopens it; while it is under way nothing else is, and nobody goes round in circles.
        good = True
        world.leap(PAUSE.total_seconds() + 1)
        await until(lambda: server.connections == DOUBTS_BEFORE_PAUSE + 2)
        await asyncio.sleep(0.1)
        before = world.store.runs
        await asyncio.sleep(0.3)
        assert (world.store.runs - before, server.connections) == (0, DOUBTS_BEFORE_PAUSE + 2)
        hanging.set()
        for fax in faxes[4:]:
            await world.becomes(fax, "submitted")
        assert len(world.said("account reopened", "account office")) == 1

    with_server(tmp_path, script, scenario)


def test_the_trial_is_alone_where_the_account_has_several_uploads(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server_of[0].connections > DOUBTS_BEFORE_PAUSE:
            await hang(reader, writer)
        await in_doubt(reader, writer)

    server_of: list[RawServer] = []

    async def scenario(world: World, server: RawServer) -> None:
        server_of.append(server)
        world.sender(uploads=3)
        await world.queued(*["+97239876543"] * 3)
        await until(lambda: world.said("account paused", "account office"))
        await world.queued(*["+97239876543"] * 3)
        world.leap(PAUSE.total_seconds() + 1)
        await until(lambda: server.connections > DOUBTS_BEFORE_PAUSE)
        await asyncio.sleep(0.1)
        assert server.connections == DOUBTS_BEFORE_PAUSE + 1

    with_server(tmp_path, script, scenario)


def test_a_trial_with_a_damaged_document_says_nothing_about_myfax(tmp_path: Path) -> None:
    async def scenario(world: World, server: RawServer) -> None:
        world.sender()
        await world.queued(*["+97239876543"] * 3)
        await until(lambda: world.said("account paused", "account office"))
        [damaged] = await world.queued(documents=(replace(world.document(), path="received/00/none"),))
        await world.queued(*["+97239876543"] * 3)
        world.leap(PAUSE.total_seconds() + 1)
        await world.becomes(damaged, "failed")
        await until(lambda: len(world.said("account paused", "account office")) == 2)
        await asyncio.sleep(0.05)
        assert (server.connections, world.said("account reopened")) == (DOUBTS_BEFORE_PAUSE + 1, [])

    with_server(tmp_path, in_doubt, scenario)


def test_a_clock_set_back_does_not_make_a_pause_longer(tmp_path: Path) -> None:
    async def scenario(world: World, server: RawServer) -> None:
        world.sender()
        await world.queued(*["+97239876543"] * 4)
        await until(lambda: world.said("account paused", "account office"))
        world.leap(-3600)
        await asyncio.sleep(0.05)
        later = await world.queued()
        world.leap(PAUSE.total_seconds() + 1)
        await until(lambda: server.connections == DOUBTS_BEFORE_PAUSE + 1)
        await world.becomes(later[0], "in_doubt", "queued")

    with_server(tmp_path, in_doubt, scenario)


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
def test_what_a_crash_left_uploading_is_settled_by_how_far_it_got(
    tmp_path: Path, whole: bool, on_doubt: Any, state: str, error: str
) -> None:
    async def scenario(world: World, simulator: Simulator) -> None:
        [fax] = await world.queued(due_at=world.clock() + timedelta(hours=1))
        attempt = Attempt(n=1, started_at=world.clock(), whole_at=world.clock() if whole else None)
        await world.store.run(lambda tx: tx.faxes.transition(fax.id, "claim", world.clock(), attempts=(attempt,)))
        await recover_interrupted(world.runtime, on_doubt)
        after = await world.now(fax)
        assert (after.state, after.attempts[-1].error_code) == (state, error)
        assert world.said("fax in doubt" if whole else "fax deferred", fax.id)
        world.sender()
        if state == "queued":
            await world.becomes(fax, "submitted")
        await asyncio.sleep(0.05)
        assert len(simulator.uploads) == (state == "queued")

    with_stand_in(tmp_path, scenario)


def test_an_upload_broken_off_by_the_end_of_the_process_keeps_its_state_on_disk(tmp_path: Path) -> None:
    async def scenario(world: World, server: RawServer) -> None:
        world.sender(uploads=2)
        [whole] = await world.queued()
        await until(lambda: '"whole_at": "20' in world.on_disk(whole)[1])
        world.store.hold["_mark_whole"] = asyncio.Event()
        [cut] = await world.queued()
        await until(lambda: server.connections == 2)
        await world.stop()
        assert not {task.get_name() for task in asyncio.all_tasks()} & {whole.id, cut.id}
        assert world.on_disk(whole)[0] == world.on_disk(cut)[0] == "uploading"
        await recover_interrupted(world.runtime)
        assert ((await world.now(whole)).state, (await world.now(cut)).state) == ("in_doubt", "queued")

    with_server(tmp_path, hang, scenario)


# documents


def damaged(world: World, kind: str) -> Document:
    document = world.document()
    path = world.spool.path(document.path)
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

    async def scenario(world: World, _: RawServer) -> None:
        [bad] = await world.queued(documents=(world.document(), damaged(world, kind)))
        [good] = await world.queued()
        world.sender()
        after = await world.becomes(bad, "failed")
        assert after.failure is not None
        assert after.failure.code == "abandoned"
        assert "document" in after.failure.message
        assert after.attempts[-1].whole_at is None
        assert str(tmp_path) not in after.failure.message
        alerts = world.said("document damaged, fax not sent", bad.id)
        assert [alert["log_level"] for alert in alerts] == ([] if kind == "missing" else ["error"])
        await world.becomes(good, "submitted")
        assert len(bodies) == 1, "the damaged one never arrived whole"
        assert await world.events(bad) == ["fax.queued", "fax.failed"]

    with_server(tmp_path, script, scenario)


def test_a_spool_that_cannot_be_opened_now_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(world: World, simulator: Simulator) -> None:
        real = world.spool.open_document

        def unable(_: Document) -> Any:
            raise StoreUnavailable("the spool cannot be read: Too many open files")

        monkeypatch.setattr(world.spool, "open_document", unable)
        [fax] = await world.queued()
        world.sender()
        await until(lambda: bool(world.said("fax deferred", fax.id)))
        assert "Too many open files" in world.said("fax deferred", fax.id)[0]["reason"]
        monkeypatch.setattr(world.spool, "open_document", real)
        world.leap(3)
        await world.becomes(fax, "submitted")

    with_stand_in(tmp_path, scenario)


def test_a_document_is_read_out_of_its_mail_as_it_was_taken_in(tmp_path: Path) -> None:
    async def scenario(world: World, simulator: Simulator) -> None:
        mail = b"headers\r\n\r\n" + base64.encodebytes(PDF).replace(b"\n", b"\r\n") + b"\r\n--end--"
        path = world.spool.store_received(new_id("doc"), mail)
        document = replace(world.document(), path=path, offset=11, length=len(mail) - 11 - 9, encoding="base64")
        [fax] = await world.queued(documents=(document,))
        world.sender()
        await world.becomes(fax, "submitted")
        assert simulator.uploads[0].files[0]["sha256"] == hashlib.sha256(PDF).hexdigest()

    with_stand_in(tmp_path, scenario)


# the loop


@pytest.mark.parametrize("uploads", [1, 3])
def test_no_more_are_under_way_than_the_account_allows(tmp_path: Path, uploads: int) -> None:
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

    async def scenario(world: World, server: RawServer) -> None:
        world.sender(uploads=uploads)
        faxes = await world.queued(*["+97239876543"] * 8)
        await until(lambda: under_way == uploads)
        before = world.store.runs
        await asyncio.sleep(0.2)
        assert (server.connections, world.store.runs - before) == (uploads, 0)
        gate.set()
        for fax in faxes:
            await world.becomes(fax, "submitted")
        assert most == uploads

    with_server(tmp_path, script, scenario)


def test_an_idle_sender_asks_the_store_for_nothing(tmp_path: Path) -> None:
    async def scenario(world: World, _: Simulator) -> None:
        world.sender()
        await world.queued(due_at=world.clock() + timedelta(hours=1))
        await asyncio.sleep(0.1)
        before = world.store.runs
        await asyncio.sleep(0.3)
        assert world.store.runs == before

    with_stand_in(tmp_path, scenario)


def test_a_fax_for_later_is_uploaded_at_its_time(tmp_path: Path) -> None:
    async def scenario(world: World, simulator: Simulator) -> None:
        world.sender()
        due = world.clock() + timedelta(seconds=0.4)
        [fax] = await world.queued(due_at=due)
        started = (await world.becomes(fax, "submitted")).attempts[0].started_at
        assert timedelta() <= started - due < timedelta(seconds=2)
        assert len(simulator.uploads) == 1

    with_stand_in(tmp_path, scenario)


def test_a_clock_that_leaps_a_day_is_noticed_without_a_bell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.05)

    async def scenario(world: World, simulator: Simulator) -> None:
        world.sender()
        tomorrow = world.clock() + timedelta(hours=23)
        [fax] = await world.queued(due_at=tomorrow, expires_at=tomorrow + timedelta(days=1))
        await asyncio.sleep(0.1)
        assert simulator.uploads == []
        world.clock.offset += timedelta(days=1)
        await world.becomes(fax, "submitted")
        assert len(simulator.uploads) == 1

    with_stand_in(tmp_path, scenario)


def test_a_clock_set_back_loses_and_repeats_nothing(tmp_path: Path) -> None:
    async def scenario(world: World, simulator: Simulator) -> None:
        world.sender()
        [before] = await world.queued()
        await world.becomes(before, "submitted")
        world.leap(-3600)
        [after] = await world.queued()
        await world.becomes(after, "submitted")
        world.leap(7200)
        await asyncio.sleep(0.05)
        assert len(simulator.uploads) == 2

    with_stand_in(tmp_path, scenario)


def test_a_fax_whose_time_is_over_is_not_uploaded_any_more(tmp_path: Path) -> None:
    async def scenario(world: World, simulator: Simulator) -> None:
        [stale] = await world.queued(expires_at=world.clock())
        [fresh] = await world.queued()
        world.sender()
        after = await world.becomes(stale, "failed")
        assert after.failure is not None
        assert after.failure.code == "expired"
        await world.becomes(fresh, "submitted")
        assert (len(simulator.uploads), len(world.said("fax expired", stale.id))) == (1, 1)

    with_stand_in(tmp_path, scenario)


def test_drain_lets_what_is_under_way_end_and_starts_no_more(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await gate.wait()
        writer.write(http(TAKEN))
        await writer.drain()

    async def scenario(world: World, server: RawServer) -> None:
        sender = world.sender()
        first, second = await world.queued(*["+97239876543"] * 2)
        await until(lambda: server.connections == 1)
        draining = asyncio.create_task(sender.drain(10))
        await asyncio.sleep(0.05)
        assert not draining.done()
        gate.set()
        await draining
        await world.queued()
        await asyncio.sleep(0.05)
        states = (await world.now(first)).state, (await world.now(second)).state
        assert (states, server.connections) == (("submitted", "queued"), 1)

    with_server(tmp_path, script, scenario)


def test_drain_does_not_wait_longer_than_it_may(tmp_path: Path) -> None:
    async def scenario(world: World, server: RawServer) -> None:
        sender = world.sender()
        [fax] = await world.queued()
        await until(lambda: server.connections == 1)
        await asyncio.wait_for(sender.drain(0.1), 5)
        assert (await world.now(fax)).state == "uploading"
        await world.stop()

    with_server(tmp_path, hang, scenario)


# credit, the store, reports, and our own bugs


def test_low_credit_is_told_once_on_the_way_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STORE_PAUSE", 0.01)

    async def scenario(world: World, simulator: Simulator) -> None:
        world.sender(low_credit=10)
        for credit in (13, 12, 11, 10, 9, 50, 10):
            if credit == 9:  # a restart does not tell it again
                await world.stop()
                world.sender(low_credit=10)
            simulator.credit = credit
            if credit == 11:  # the answer that tells it first is settled only at the second try
                world.store.refuse["_store_outcome"] = 1
            [fax] = await world.queued()
            await world.becomes(fax, "submitted")
        told = [event.data for event in await world.store.run(lambda tx: tx.events.newest()) if event.type == "credit.low"]
        assert [data["credit_left"] for data in reversed(told)] == ["10", "9"]
        assert told[0] == {"account": "office", "credit_left": "9", "limit": 10}

    with_stand_in(tmp_path, scenario)


def test_an_answer_is_kept_until_the_store_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STORE_PAUSE", 0.01)

    async def scenario(world: World, simulator: Simulator) -> None:
        world.store.refuse["_store_outcome"] = 5
        world.sender()
        [fax] = await world.queued()
        after = await world.becomes(fax, "submitted")
        assert (after.fax_code, len(simulator.uploads)) == (simulator.uploads[0].fax_code, 1)
        assert len(world.said("store unavailable, retrying", "account office")) == 5

    with_stand_in(tmp_path, scenario)


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

    async def scenario(world: World, server: RawServer) -> None:
        world.sender()
        [fax] = await world.queued()
        await until(lambda: server.connections == 1)
        failure = None if trigger == "confirm" else Failure(code="busy", message="busy", provider_code=3)
        await world.store.run(lambda tx: tx.faxes.transition(fax.id, trigger, world.clock(), source="report", failure=failure))
        gate.set()
        [next_one] = await world.queued()
        await until(lambda: server.connections == 2)
        assert await world.events(fax) == ["fax.queued", last]
        after = await world.now(fax)
        assert (after.source, after.failure) == ("report", failure)
        told = ("c-1", "0.40", "c-1") if script is took else (None, None, None)
        assert (after.fax_code, after.price, after.attempts[-1].fax_code) == told
        await world.becomes(next_one, "submitted", "in_doubt", "failed")

    with_server(tmp_path, late, scenario)


def test_a_bug_before_the_body_was_whole_leaves_the_fax_queued_and_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(world: World, simulator: Simulator) -> None:
        async def bug(*_: Any, **__: Any) -> Any:
            raise KeyError("a bug")

        real = world.clients["office"].send
        monkeypatch.setattr(world.clients["office"], "send", bug)
        world.sender()
        [fax] = await world.queued()
        await until(lambda: bool(world.said("fax deferred", fax.id)))
        [line] = world.said("upload failed unexpectedly", fax.id)
        assert "KeyError at" in line["error"]
        assert "test_fax_uploader.py" in line["error"]
        monkeypatch.setattr(world.clients["office"], "send", real)
        world.leap(3)
        await world.becomes(fax, "submitted")
        assert len(simulator.uploads) == 1

    with_stand_in(tmp_path, scenario)


def test_a_bug_after_the_body_was_whole_leaves_the_fax_in_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(world: World, _: Simulator) -> None:
        async def bug(*_: Any, before_last_chunk: Callable[[], Awaitable[None]], **__: Any) -> Any:
            await before_last_chunk()
            raise KeyError("a bug")

        monkeypatch.setattr(world.clients["office"], "send", bug)
        world.sender()
        [fax] = await world.queued()
        assert (await world.becomes(fax, "in_doubt")).attempts[-1].error_code == "in_doubt"
        assert world.said("upload failed unexpectedly", fax.id)

    with_stand_in(tmp_path, scenario)


def test_a_bug_in_settling_is_told_and_others_go_on(tmp_path: Path) -> None:
    async def scenario(world: World, simulator: Simulator) -> None:
        def vanish(tx: Transaction, fax_id: str) -> None:
            tx.faxes.transition(fax_id, "accept", world.clock(), fax_code="other")
            tx.faxes.transition(fax_id, "redial", world.clock(), due_at=world.clock() + timedelta(hours=1))

        world.store.hold["_store_outcome"] = gate = asyncio.Event()
        world.sender()
        [fax] = await world.queued()
        await until(lambda: len(simulator.uploads) == 1)
        await world.store.run(partial(vanish, fax_id=fax.id))
        gate.set()
        await until(lambda: bool(world.said("upload outcome not stored", fax.id)))
        assert "IllegalTransition" in world.said("upload outcome not stored", fax.id)[0]["error"]
        [other] = await world.queued()
        await world.becomes(other, "submitted")

    with_stand_in(tmp_path, scenario)


# one call at a time to one number


def test_second_fax_to_a_number_waits_for_the_first_to_end(tmp_path: Path) -> None:
    async def scenario(world: World, simulator: Simulator) -> None:
        world.sender(uploads=5)
        first, second, other = await world.queued(NUMBER, NUMBER, "+97221234567")
        await world.becomes(first, "submitted")
        await world.becomes(other, "submitted")
        assert (await world.now(second)).state == "queued"
        await world.store.run(lambda tx: tx.faxes.transition(first.id, "confirm", world.clock()))
        await world.becomes(second, "submitted")
        assert [taken.number for taken in simulator.uploads].count(NUMBER) == 2

    with_stand_in(tmp_path, scenario, per_number=1)


def test_number_is_busy_for_all_accounts(tmp_path: Path) -> None:
    async def scenario(world: World, _: Simulator) -> None:
        [other] = await world.queued(NUMBER, account="other")
        await world.store.run(
            lambda tx: tx.faxes.transition(other.id, "claim", world.clock(), attempts=(Attempt(n=1, started_at=world.clock()),))
        )
        world.sender()
        blocked, free = await world.queued(NUMBER, "+97221234567")
        await world.becomes(free, "submitted")
        assert (await world.now(blocked)).state == "queued"
        await world.store.run(lambda tx: tx.faxes.transition(other.id, "lose", world.clock()))
        await world.becomes(blocked, "submitted")

    with_stand_in(tmp_path, scenario, per_number=1)


@pytest.mark.parametrize("per_number", [0, 2])
def test_more_calls_to_a_number_are_made_if_configured(tmp_path: Path, per_number: int) -> None:
    async def scenario(world: World, _: Simulator) -> None:
        world.sender(uploads=5)
        first, second, third = await world.queued(NUMBER, NUMBER, NUMBER)
        await world.becomes(first, "submitted")
        await world.becomes(second, "submitted")
        if per_number == 0:
            await world.becomes(third, "submitted")
        else:
            assert (await world.now(third)).state == "queued"

    with_stand_in(tmp_path, scenario, per_number=per_number)
