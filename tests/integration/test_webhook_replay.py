"""Dead deliveries: listed, and replayed by id, endpoint and time; pending ones of a removed webhook are logged and discarded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from mailbridge.cli import main
from mailbridge.control import delivery_actions
from mailbridge.errors import ControlError
from mailbridge.model import Event
from mailbridge.store.sqlite import SqliteStore
from mailbridge.webhook.payload import fax_data
from mailbridge.webhook.removed_endpoints import log_removed_endpoints
from tests.integration.webhook_fixtures import Hooks, in_hooks, receiving

DAY = datetime(2026, 1, 4, 9, 0, tzinfo=UTC)
CONFIG = """
state_dir = "{state}"
[account.office]
email = "office@example.co.il"
password = "demo"
[webhook.crm]
url = "https://crm.example.co.il/hooks/fax"
secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
"""


def clock() -> datetime:
    return DAY + timedelta(days=3)


def in_store(state: Path, work: Callable[[SqliteStore], Awaitable[None]]) -> None:
    async def run() -> None:
        async with SqliteStore(state, fax_data, lambda event: ["crm", "old"] if event.type != "quiet" else []) as store:
            await work(store)

    asyncio.run(run())


async def dead_deliveries(store: SqliteStore, count: int) -> list[Event]:
    """Emit an event every hour from DAY on, and make the deliveries of each to both endpoints dead."""
    events = []
    for n in range(count):
        at = DAY + timedelta(hours=n)
        with patch("mailbridge.model.time") as time:  # ids of one millisecond are in no order
            time.time_ns.return_value = int(at.timestamp()) * 1_000_000_000
            events.append(await store.run(lambda tx, n=n, at=at: tx.events.emit("ping", {"n": n}, at)))  # type: ignore[misc]  # a default has no type
    for endpoint in ("crm", "old"):
        for delivery, _ in await store.run(lambda tx, e=endpoint: tx.deliveries.claim(e, clock(), count)):  # type: ignore[misc]  # a default has no type
            await store.run(lambda tx, id=delivery.id: tx.deliveries.transition(id, "exhaust", DAY, error="HTTP 500"))  # type: ignore[misc]  # a default has no type
    return events


async def pending(store: SqliteStore, endpoint: str) -> list[int]:
    """Return the numbers of the events that are pending for an endpoint, in the order of their deliveries."""

    def work(tx: Any) -> list[int]:
        found = [one for one in tx.deliveries.newest("pending", None, 1000) if one.endpoint == endpoint]
        return sorted(tx.events.get(one.event_id).data["n"] for one in found)

    return await store.run(work)


def test_all_dead_deliveries_of_an_endpoint_are_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_actions, "_BATCH", 4)

    async def work(store: SqliteStore) -> None:
        await dead_deliveries(store, 10)
        answer = await delivery_actions.replay(store, clock, endpoint="crm")
        assert (answer["replayed"], answer["endpoints"], answer["more"]) == (10, {"crm": 10}, False)
        assert (await pending(store, "crm"), await pending(store, "old")) == (list(range(10)), [])
        delivery = (await store.run(lambda tx: tx.deliveries.newest("pending")))[0]
        assert (delivery.attempts, delivery.due_at) == (0, clock())
        assert (await delivery_actions.replay(store, clock, endpoint="crm"))["replayed"] == 0

    in_store(tmp_path, work)


def test_replay_by_time_and_limit_takes_the_oldest_first(tmp_path: Path) -> None:
    async def work(store: SqliteStore) -> None:
        await dead_deliveries(store, 10)
        hour = {n: (DAY + timedelta(hours=n)).isoformat() for n in range(10)}
        assert (await delivery_actions.replay(store, clock, since=hour[8]))["endpoints"] == {"crm": 2, "old": 2}
        assert (await delivery_actions.replay(store, clock, until=hour[1], endpoint="old"))["replayed"] == 2
        assert (await delivery_actions.replay(store, clock, since=hour[3], until=hour[6], endpoint="crm", limit=3))[
            "replayed"
        ] == 3
        assert await pending(store, "crm") == [3, 4, 5, 8, 9]
        assert await pending(store, "old") == [0, 1, 8, 9]

    in_store(tmp_path, work)


def test_a_delivery_that_is_dead_again_during_a_long_replay_is_not_replayed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_actions, "_PER_ANSWER", 6)

    async def work(store: SqliteStore) -> None:
        await dead_deliveries(store, 10)
        first = await delivery_actions.replay(store, clock, endpoint="crm")
        assert (first["replayed"], first["more"]) == (6, True)
        later = clock() + timedelta(seconds=1)
        for delivery, _ in await store.run(lambda tx: tx.deliveries.claim("crm", later, 10)):
            await store.run(lambda tx, id=delivery.id: tx.deliveries.transition(id, "reject", later))  # type: ignore[misc]  # a default has no type
        second = await delivery_actions.replay(store, lambda: later, endpoint="crm", before=first["before"])
        assert (second["replayed"], second["more"]) == (4, False)

    in_store(tmp_path, work)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"endpoint": "cmr"}, "no deliveries for an endpoint 'cmr'; there are some for crm, old"),
        ({"since": "yesterday"}, "invalid selection of deliveries"),
        ({"colour": "red"}, "invalid selection of deliveries"),
        ({"retire": True}, "retire goes with an endpoint"),
        ({"retire": True, "endpoint": "crm", "limit": 3}, "retire goes with an endpoint"),
    ],
)
def test_an_invalid_selection_is_refused_with_an_explanation(tmp_path: Path, asked: dict[str, Any], words: str) -> None:
    async def work(store: SqliteStore) -> None:
        await dead_deliveries(store, 1)
        with pytest.raises(ControlError, match=words):
            await delivery_actions.replay(store, clock, **asked)

    in_store(tmp_path, work)


def test_pending_deliveries_of_a_removed_webhook_are_logged_discarded_and_can_be_replayed(tmp_path: Path) -> None:
    async def work(store: SqliteStore) -> None:
        await store.run(lambda tx: [tx.events.emit("ping", {"n": n}, DAY) for n in range(5)])
        with capture_logs() as lines:
            assert await log_removed_endpoints(store, {"crm"}) == {"old": 5}
        assert [line["id"] for line in lines] == ["old"]
        assert "mailbridge replay --endpoint old --retire" in lines[0]["error"]
        answer = await delivery_actions.replay(store, clock, endpoint="old", retire=True, by={"user": "office"})
        [line] = await store.run(lambda tx: tx.audit.newest("old"))
        assert (line.what, line.record) == ("webhook.retire", {"user": "office"})
        assert (answer["retired"], answer["endpoints"]) == (5, {"old": 5})
        assert len(await pending(store, "crm")) == 5
        retired = await store.run(lambda tx: tx.deliveries.newest("dead"))
        assert {(one.endpoint, one.attempts, (one.error or "")[:8]) for one in retired} == {("old", 0, "retired:")}
        assert await log_removed_endpoints(store, {"crm"}) == {}
        assert (await delivery_actions.replay(store, clock, endpoint="old"))["replayed"] == 5

    in_store(tmp_path, work)


def test_replay_of_a_stopped_endpoint_starts_it_again(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            receiver.answers.append((410, {}))
            dispatcher = hooks.start("crm", url)
            gone = await hooks.emit()
            await hooks.settled(gone, "dead")
            waiting = await hooks.emit()
            assert (await delivery_actions.replay(hooks.plain, hooks.clock, endpoint="crm"))["replayed"] == 1
            for event in (gone, waiting):
                await hooks.settled(event, "delivered")
            assert not dispatcher.stopped

    in_hooks(tmp_path, scenario)


def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--config", str(tmp_path / "config.toml")])
    output = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, output.out, output.err


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    (tmp_path / "config.toml").write_text(CONFIG.format(state=folder))

    async def work(store: SqliteStore) -> None:
        await dead_deliveries(store, 4)

    in_store(folder, work)
    return folder


def test_the_command_lists_dead_deliveries_and_marks_removed_webhooks(
    tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = command(tmp_path, capsys, "deliveries", "--dead", "--json")
    found = json.loads(out)
    assert (status, len(found)) == (0, 8)
    assert {(one["endpoint"], one["configured"], one["state"]) for one in found} == {
        ("crm", True, "dead"),
        ("old", False, "dead"),
    }
    assert "old (not configured)" in command(tmp_path, capsys, "deliveries", "--dead")[1]


def test_the_command_replays_by_endpoint_and_time(tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    since = (DAY + timedelta(hours=2)).astimezone(ZoneInfo("Asia/Jerusalem")).replace(tzinfo=None).isoformat()
    status, out, _ = command(tmp_path, capsys, "replay", "--endpoint", "crm", "--since", since, "--json")
    assert (status, json.loads(out)) == (0, {"replayed": 2, "endpoints": {"crm": 2}})
    status, out, _ = command(
        tmp_path, capsys, "replay", "--until", "2026-01-04T11:00:00+01:00", "--endpoint", "old", "--limit", "1"
    )
    assert (status, out) == (0, "old: 1 replayed\n")
    assert command(tmp_path, capsys, "replay", "--endpoint", "old", "--retire")[1] == "old: 1 retired\n"
    assert command(tmp_path, capsys, "replay", "--since", "2026-01-04")[1] == "crm: 2 replayed\nold: 4 replayed\n"
    assert command(tmp_path, capsys, "replay", "--until", "2026-01-03")[1] == "no deliveries replayed\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give IDs, or select by --endpoint"),
        (("evt_1", "--endpoint", "crm"), "give IDs, or select by --endpoint"),
        (("--limit", "3"), "--limit requires"),
        (("--since", "yesterday"), "'yesterday' is not a time"),
        (("--retire", "--since", "2026-01-04"), "--retire requires --endpoint"),
    ],
)
def test_the_command_rejects_arguments_that_do_not_go_together(
    tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    status, _, err = command(tmp_path, capsys, "replay", *arguments)
    assert (status, words in err) == (2, True), err
