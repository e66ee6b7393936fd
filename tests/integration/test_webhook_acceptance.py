"""The acceptance plan's rows on webhooks, with a real store, real sockets and the Standard Webhooks library."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import UTC, timedelta
from email.utils import format_datetime
from pathlib import Path

import h11
import httpcore
import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError
from structlog.testing import capture_logs

from mailbridge.answer_limits import READ_SIZE, limit_answers
from mailbridge.control import delivery_actions
from mailbridge.errors import NotFound
from mailbridge.model import Event, rfc3339
from mailbridge.webhook import client, dispatcher
from tests.integration.webhook_fixtures import NEW, OLD, Hooks, drip_body, drip_head, hang, in_hooks, raw, receiving, render
from tests.time_limit import TimeLimit
from tests.wait_helpers import PATIENCE, until


def test_the_library_verifies_the_body_with_either_secret_and_rejects_an_altered_one(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            hooks.start("crm", url)
            event = await hooks.emit(text="שלום")
            await hooks.settled(event, "delivered")
        headers, content = dict(receiver.requests[0]), render(event)
        for secret in (OLD, NEW):
            assert Verifier(secret).verify(content, headers)["data"] == {"text": "שלום"}
            with pytest.raises(WebhookVerificationError):
                Verifier(secret).verify(content.replace("שלום".encode(), b"shalom"), headers)
        with pytest.raises(WebhookVerificationError):
            Verifier(NEW).verify(content, {**headers, "webhook-id": "evt_other"})
        assert [signature[:3] for signature in headers["webhook-signature"].split()] == ["v1,", "v1,"]

    in_hooks(tmp_path, scenario)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "2130706433"])
def test_an_address_inside_is_refused_when_connecting(tmp_path: Path, host: str) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with raw(hang) as (receiver, url):
            port = url.rstrip("/").rpartition(":")[2]
            hooks.start("crm", f"https://{host}:{port}/", allow_private=False)
            failed = await hooks.failed(await hooks.emit())
            assert "is not a public address; set allow_private" in (failed.error or "")
            assert (failed.state, receiver.met) == ("pending", 0)

    in_hooks(tmp_path, scenario)


def test_a_redirect_is_a_failure_and_is_not_followed(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (elsewhere, target), receiving() as (receiver, url):
            receiver.answers.append((307, {"location": target}))
            hooks.start("crm", url)
            failed = await hooks.failed(await hooks.emit())
            assert (failed.state, failed.status, failed.error) == ("pending", 307, f"HTTP 307 to {target}; write that as the url")
            assert (len(receiver.requests), len(elsewhere.requests)) == (1, 0)

    in_hooks(tmp_path, scenario)


def test_a_slow_answer_times_out(tmp_path: Path, time_limit: TimeLimit) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with raw(drip_head) as (receiver, url):
            hooks.start("crm", url, timeout=f"{time_limit.SECONDS:g}s")
            event = await hooks.emit()
            await until(lambda: receiver.posts)
            assert (await hooks.of(event)).state == "sending"
            time_limit.end()
            assert (await hooks.failed(event)).error == f"no answer within {time_limit.SECONDS:g} s"
            await until(lambda: receiver.cut)

    in_hooks(tmp_path, scenario)


def test_the_status_counts_although_the_body_after_it_is_slow(
    tmp_path: Path, time_limit: TimeLimit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_BODY_TIMEOUT", time_limit.SECONDS)

    async def scenario(hooks: Hooks) -> None:
        async with raw(drip_body) as (receiver, url):
            hooks.start("crm", url)
            event = await hooks.emit()
            await until(lambda: time_limit.in_force)
            time_limit.end()
            delivered = await hooks.settled(event, "delivered")
            assert (delivered.status, receiver.posts) == (200, 1)
            await until(lambda: receiver.cut)

    in_hooks(tmp_path, scenario)


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits that a daemon sets when it starts."""
    for name in ("READ_NUM_BYTES", "MAX_INCOMPLETE_EVENT_SIZE"):
        monkeypatch.setattr(httpcore.AsyncHTTP11Connection, name, getattr(httpcore.AsyncHTTP11Connection, name))
    limit_answers()


@pytest.mark.usefixtures("limited")
def test_attack_1_an_answer_is_read_in_little_pieces_and_not_in_endless_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, events = list[int](), 0
    receive, next_event = h11.Connection.receive_data, h11.Connection.next_event

    def received(connection: h11.Connection, data: bytes) -> None:
        sizes.append(len(data))
        receive(connection, data)

    def counted(connection: h11.Connection) -> object:
        nonlocal events
        events += 1
        return next_event(connection)

    async def tiny_chunks(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 100_000)

    async def scenario(hooks: Hooks) -> None:
        async with raw(tiny_chunks) as (_, url):
            hooks.start("crm", url)
            await hooks.settled(await hooks.emit(), "delivered")

    monkeypatch.setattr(h11.Connection, "receive_data", received)
    monkeypatch.setattr(h11.Connection, "next_event", counted)
    in_hooks(tmp_path, scenario)
    assert max(sizes) <= READ_SIZE
    assert events < 500


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("field", [b"a:b\r\n", b"a: b\r\n c\r\n", b"Set-Cookie: a=b\r\n"])
def test_attack_1_an_answer_with_endless_fields_is_a_failure(tmp_path: Path, field: bytes) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + field * (90_000 // len(field)) + b"\r\n")

    async def scenario(hooks: Hooks) -> None:
        async with raw(endless) as (_, url):
            hooks.start("crm", url)
            failed = await hooks.failed(await hooks.emit())
            assert "too long" in (failed.error or "")

    in_hooks(tmp_path, scenario)


def test_410_stops_the_endpoint_until_it_is_replayed(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            receiver.answers.append((410, {}))
            dispatcher = hooks.start("crm", url)
            first = await hooks.emit()
            dead = await hooks.settled(first, "dead")
            assert (dead.status, dispatcher.stopped) == (410, True)
            assert "mailbridge replay --endpoint" in (dead.error or "")
            waiting = [await hooks.emit(n=n) for n in range(20)]
            await hooks.store.run(lambda tx: None)
            assert [(await hooks.of(event)).state for event in waiting] == ["pending"] * 20
            assert len(receiver.requests) == 1
            await delivery_actions.replay(hooks.store, hooks.clock, ids=[dead.id])
            for event in (first, *waiting):
                assert (await hooks.settled(event, "delivered")).attempts == 1
            assert not dispatcher.stopped

    in_hooks(tmp_path, scenario)


def test_a_delivery_claimed_before_a_410_is_not_posted_and_counts_no_attempt(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        gone = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            if receiver.posts > 8:
                await gone.wait()
            status = b"410 Gone" if receiver.posts > 8 else b"200 OK"
            writer.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\n\r\n" % status)

        async with raw(answer) as (receiver, url):
            # In one transaction: what is delivered in one turn lets as many be prefetched in the next.
            events = await hooks.store.run(lambda tx: [tx.events.emit("ping", {"n": n}, hooks.clock()) for n in range(30)])
            hooks.start("crm", url)
            await until(lambda: receiver.posts >= 16)
            prefetched = (await hooks.store.run(lambda tx: tx.deliveries.counts()))["crm", "sending"] - 8
            assert 0 < prefetched <= 8
            gone.set()
            over = [await hooks.until(event, lambda d: d.state not in ("sending",)) for event in events]
            found = [(d.state, d.attempts) for d in over]
            assert Counter(found) == {("delivered", 1): 8, ("dead", 1): 8, ("pending", 0): 14}
            assert receiver.posts == 16

    in_hooks(tmp_path, scenario)


def test_a_stopped_endpoint_stays_stopped_over_a_restart_until_it_is_replayed(tmp_path: Path) -> None:
    """The first daemon gets the 410, the second one sends nothing, and a replay starts the third one's deliveries."""
    events: list[Event] = []

    async def gone(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            receiver.answers.append((410, {}))
            hooks.start("crm", url)
            events.append(await hooks.emit())
            await hooks.settled(events[0], "dead")
            events.append(await hooks.emit())

    async def stopped(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            with capture_logs() as lines:
                dispatcher = hooks.start("crm", url)
                events.append(await hooks.emit())
                await until(lambda: lines)
            [line] = lines
            assert line["event"] == "webhook stopped"
            assert line["error"].endswith("until mailbridge replay --endpoint crm")
            row = await hooks.store.run(lambda tx: tx.stopped_webhooks.get("crm"))
            assert row is not None
            assert (line["since"], line["error"]) == (rfc3339(row.stopped_at), row.reason)
            # Turns that find work, and a clock that makes it due, send nothing.
            for _ in range(3):
                hooks.leap(timedelta(hours=1))
                await hooks.store.run(lambda tx: None)
            assert (dispatcher.stopped, receiver.requests) == (True, [])
            assert {(await hooks.of(event)).state for event in events[1:]} == {"pending"}

    async def replayed(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            dispatcher = hooks.start("crm", url)
            assert (await delivery_actions.replay(hooks.store, hooks.clock, endpoint="crm"))["replayed"] == 1
            for event in events:
                await hooks.settled(event, "delivered")
            assert (dispatcher.stopped, len(receiver.requests)) == (False, 3)
            assert await hooks.store.run(lambda tx: tx.stopped_webhooks.get("crm")) is None

    for scenario in (gone, stopped, replayed):
        in_hooks(tmp_path, scenario)


def test_a_replay_starts_an_endpoint_that_has_nothing_dead(tmp_path: Path) -> None:
    """Its dead deliveries may have been deleted by retention, or been replayed before it answered 410 again."""

    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (_, url):
            await hooks.store.run(lambda tx: tx.stopped_webhooks.add("crm", "gone", hooks.clock()))
            hooks.start("crm", url)
            event = await hooks.emit()
            assert (await delivery_actions.replay(hooks.store, hooks.clock, endpoint="crm"))["replayed"] == 0
            await hooks.settled(event, "delivered")

    in_hooks(tmp_path, scenario)


def test_discarding_the_deliveries_of_a_stopped_endpoint_does_not_start_it(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            await hooks.store.run(lambda tx: tx.stopped_webhooks.add("crm", "gone", hooks.clock()))
            dispatcher = hooks.start("crm", url)
            event = await hooks.emit()
            assert (await delivery_actions.replay(hooks.store, hooks.clock, endpoint="crm", retire=True))["retired"] == 1
            await hooks.settled(event, "dead")
            await hooks.emit()
            await hooks.store.run(lambda tx: None)
            assert (dispatcher.stopped, receiver.requests) == (True, [])

    in_hooks(tmp_path, scenario)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(tmp_path: Path, status: int, form: str) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            begun = hooks.clock()
            value = "600" if form == "seconds" else format_datetime((begun + timedelta(seconds=600)).astimezone(UTC), usegmt=True)
            # The second by hand too: the receiver verifies by its own clock, which does not leap.
            receiver.answers.extend([(status, {"retry-after": value}), (204, {})])
            hooks.start("crm", url)
            event = await hooks.emit()
            failed = await hooks.failed(event)
            assert 595 <= (failed.due_at - begun).total_seconds() <= 605
            hooks.leap(timedelta(seconds=300))
            await hooks.store.run(lambda tx: None)
            assert len(receiver.requests) == 1
            hooks.leap(timedelta(seconds=310))
            assert (await hooks.settled(event, "delivered")).attempts == 2

    in_hooks(tmp_path, scenario)


def test_a_delivery_that_fails_for_three_days_is_dead_and_can_be_replayed(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            receiver.answers.extend([*[(500, {})] * 10, (204, {})])
            hooks.start("crm", url)
            begun = hooks.clock()
            event = await hooks.emit()
            waits = []
            for tries in range(1, 10):
                failed = await hooks.failed(event, tries)
                assert failed.state == "pending"
                waits.append(round((failed.due_at - hooks.clock()).total_seconds() + 0.5))
                hooks.leap(failed.due_at - hooks.clock())
            dead = await hooks.settled(event, "dead")
            minute, hour = 60, 3600
            planned = [5, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour]
            assert all(abs(wait - plan) <= 3 for wait, plan in zip(waits, planned, strict=True)), waits
            assert (dead.attempts, dead.error, len(receiver.requests)) == (10, "HTTP 500", 10)
            assert hooks.clock() - begun > timedelta(days=3)
            assert len({request["webhook-timestamp"] for request in receiver.requests}) == 10
            await hooks.store.run(
                lambda tx: tx.deliveries.transition(dead.id, "replay", hooks.clock(), due_at=hooks.clock(), attempts=0)
            )
            assert (await hooks.settled(event, "delivered")).attempts == 1
            assert {request["webhook-id"] for request in receiver.requests} == {event.id}

    in_hooks(tmp_path, scenario)


def test_an_endpoint_that_hangs_does_not_delay_another(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (_, url), raw(hang) as (hanging, hanging_url):
            hooks.start("crm", url)
            hooks.start("hanging", hanging_url, timeout="1h")
            await asyncio.gather(*(hooks.emit(n=n) for n in range(30)))
            await until(lambda: hanging.posts >= 8)
            for n in range(50):
                await hooks.settled(await hooks.emit(n=n), "delivered")
            # Only its slots are used, and nothing is prefetched for it.
            counts = await hooks.store.run(lambda tx: tx.deliveries.counts())
            assert (hanging.posts, counts["hanging", "sending"]) == (8, 8)

    in_hooks(tmp_path, scenario, ("crm", "hanging"))


def test_an_answer_is_not_lost_while_the_store_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "_STORE_PAUSE", 0.01)

    async def scenario(hooks: Hooks) -> None:
        arrived = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            hooks.store.refuse["_settle_and_claim"] = 1
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            arrived.set()

        async with raw(answer) as (receiver, url):
            hooks.start("crm", url)
            event = await hooks.emit()
            await arrived.wait()
            await hooks.settled(event, "delivered")
            assert (receiver.posts, hooks.store.refuse["_settle_and_claim"]) == (1, 0)

    in_hooks(tmp_path, scenario)


def test_a_delivery_that_was_changed_elsewhere_does_not_stop_others(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        answered = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            await answered.wait()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        async with raw(answer) as (receiver, url):
            hooks.start("crm", url)
            events = [await hooks.emit(n=n) for n in range(3)]
            await until(lambda: receiver.posts >= 3)
            delivery = await hooks.of(events[0])
            await hooks.store.run(lambda tx: tx.deliveries.transition(delivery.id, "reject", hooks.clock()))
            answered.set()
            for event in events[1:]:
                await hooks.settled(event, "delivered")
            assert (await hooks.of(events[0])).state == "dead"

    in_hooks(tmp_path, scenario)


def test_a_body_that_cannot_be_made_is_retried_by_the_schedule_and_does_not_stop_others(
    tmp_path: Path, time_limit: TimeLimit
) -> None:
    async def scenario(hooks: Hooks) -> None:
        making, over = threading.Event(), threading.Event()
        wall = [OSError("no such disk"), NotFound("no such file in the spool"), KeyError("path")]

        def broken(event: Event) -> bytes:
            if event.data.get("hang"):
                making.set()
                over.wait(PATIENCE)
            if (n := event.data.get("n")) is not None:
                raise wall[n]
            return render(event)

        hooks.render = broken
        async with receiving() as (receiver, url):
            hooks.start("crm", url, timeout=f"{time_limit.SECONDS:g}s")
            broken_events = [await hooks.emit(n=n) for n in range(3)]
            hanging = await hooks.emit(document={"path": "x"}, hang=True)
            await hooks.settled(await hooks.emit(), "delivered")
            for event in broken_events:
                failed = await hooks.failed(event)
                assert (failed.state, failed.attempts, failed.status) == ("pending", 1, None)
                assert (failed.error or "").startswith("its body cannot be made (")
            await until(making.is_set)
            time_limit.end()
            assert "TimeoutError" in ((await hooks.failed(hanging)).error or "")
            over.set()
            assert len(receiver.requests) == 1

    in_hooks(tmp_path, scenario)


def test_an_answer_just_before_the_stop_is_stored(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            dispatcher = hooks.start("crm", url)
            hold = asyncio.Event()
            event = await hooks.emit()
            await receiver.wait("ping", PATIENCE)
            hooks.store.hold["_settle_and_claim"] = hold
            if not dispatcher._finished and (await hooks.of(event)).state == "sending":
                await until(lambda: dispatcher._finished)
            hold.set()
            await hooks.stop("crm")
            assert (await hooks.of(event)).state == "delivered"

    in_hooks(tmp_path, scenario)


def test_the_store_is_queried_only_when_something_happened(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url), raw(hang) as (hanging, hanging_url):
            hooks.start("crm", url)
            hooks.start("hanging", hanging_url)
            for n in range(12):
                await hooks.settled(await hooks.emit(n=n), "delivered")
            await until(lambda: hanging.posts >= 8)
            await hooks.idle()
            assert hooks.waits.seconds is None
            before = hooks.store.runs
            await hooks.plain.run(lambda tx: tx.events.emit("ping", {}, hooks.clock()))
            await until(lambda: len(receiver.requests) == 13)
            await hooks.idle()
            # Settled, and perhaps claimed, and the wakeup once more, or once at the full endpoint.
            assert 1 <= hooks.store.runs - before <= 4

    in_hooks(tmp_path, scenario, ("crm", "hanging"))
