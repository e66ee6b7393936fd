"""The history of tries, stopped endpoints as others learn of them, and `mailbridge ping`."""

from __future__ import annotations

import asyncio
import importlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailbridge.cli import main
from mailbridge.control import delivery_actions, delivery_queries, fax_actions
from mailbridge.errors import NotFound
from mailbridge.store.retention import Retention
from mailbridge.webhook.client import ANSWER_LIMIT
from mailbridge.webhook.samples import sample
from mailbridge.webhook.schemas import EVENTS, schema
from tests.integration.webhook_fixtures import NEW, Hooks, in_hooks, now, raw, receiving, render

jsonschema: Any = importlib.import_module("jsonschema")  # it has no types


def answer(status: str, content: bytes) -> Any:
    async def script(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()

    return script


async def tries_of(hooks: Hooks, event_id: str) -> list[dict[str, Any]]:
    [delivery] = await delivery_queries.deliveries(hooks.plain, event=event_id)
    tries: list[dict[str, Any]] = delivery["tries"]
    return tries


def test_every_try_is_kept_with_its_time_status_duration_and_answer(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        content = "אין מקום. ".encode() * 100
        async with raw(answer("507 Insufficient Storage", content)) as (_, url):
            hooks.start("crm", url)
            event = await hooks.emit()
            began = hooks.clock()
            await hooks.failed(event)
            await hooks.stop("crm")
        async with receiving() as (_, url):
            hooks.start("crm", url)
            hooks.leap(timedelta(seconds=10))
            await hooks.settled(event, "delivered")
        failed, good = await tries_of(hooks, event.id)
        assert (failed["status"], failed["error"], good["status"], good["error"]) == (507, "HTTP 507", 204, None)
        assert failed["answer"].encode()[:-6] in content
        assert len(failed["answer"].encode("utf-8")) <= ANSWER_LIMIT + 3
        assert good["answer"] == ""
        assert failed["at"] < good["at"]
        assert failed["at"] >= (began - timedelta(seconds=5)).isoformat(timespec="milliseconds")
        assert failed["milliseconds"] >= 0

    in_hooks(tmp_path, scenario)


def test_a_try_without_an_answer_is_kept_with_its_error(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        hooks.start("crm", "http://127.0.0.1:1/")
        event = await hooks.emit()
        await hooks.failed(event)
        [failed] = await tries_of(hooks, event.id)
        assert (failed["status"], failed["answer"]) == (None, None)
        assert "ConnectError" in failed["error"]

    in_hooks(tmp_path, scenario)


def test_tries_are_deleted_with_their_delivery(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (_, url):
            hooks.start("crm", url)
            event = await hooks.emit()
            delivery = await hooks.settled(event, "delivered")
            assert len(await hooks.plain.run(lambda tx: tx.deliveries.tries([delivery.id]))) == 1
            await Retention(0.0, 0.0, hooks.plain, hooks.runtime.spool, hooks.clock).sweep(hooks.clock() + timedelta(days=2))
            assert await hooks.plain.run(lambda tx: tx.deliveries.tries([delivery.id])) == []
            with pytest.raises(NotFound):
                await delivery_queries.deliveries(hooks.plain, event=event.id)

    in_hooks(tmp_path, scenario)


def test_a_stopped_webhook_is_an_event_to_the_others_and_a_replay_starts_it(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (gone, url), receiving() as (other, other_url):
            gone.answers.append((410, {}))
            hooks.start("crm", url)
            first = await hooks.emit()
            await hooks.settled(first, "dead")
            hooks.start("erp", other_url)
            stopped = await other.wait("webhook.stopped")
            assert stopped["data"]["webhook"] == "crm"
            assert "410" in stopped["data"]["error"]
            jsonschema.Draft202012Validator(schema("webhook.stopped")).validate(stopped)
            # Once, and not to itself.
            second = await hooks.emit("fax.queued")
            await hooks.settled(second, "delivered", "erp")
            found = await hooks.plain.run(lambda tx: tx.events.newest())
            [event] = [event for event in found if event.type == "webhook.stopped"]
            deliveries = await hooks.plain.run(lambda tx: tx.deliveries.newest(event_id=event.id))
            assert [one.endpoint for one in deliveries] == ["erp"]
            # It is a row, seen by a person and after a restart.
            assert await hooks.plain.run(lambda tx: tx.stopped_webhooks.names()) == ["crm"]
            listed = {one["endpoint"]: one["stopped"] for one in await delivery_queries.deliveries(hooks.plain, event=first.id)}
            assert listed == {"crm": True, "erp": False}
            await hooks.stop("crm")
            hooks.start("crm", url)
            await hooks.idle()
            assert len(gone.requests) == 1
            await delivery_actions.replay(hooks.plain, hooks.clock, endpoint="crm")
            await hooks.settled(first, "delivered")
            await hooks.settled(second, "delivered")
            assert await hooks.plain.run(lambda tx: tx.stopped_webhooks.names()) == []

    in_hooks(tmp_path, scenario, ("crm", "erp"))


# ping


def config(folder: Path, **urls: str) -> Path:
    hooks = "".join(
        f'[webhook.{name}]\nurl = "{url}"\nsecret = "{NEW}"\nevents = ["fax.received"]\nusers = ["dana"]\nallow_private = true\n'
        for name, url in urls.items()
    )
    path = folder / "config.toml"
    account = '[account.office]\nemail = "office@example.co.il"\npassword = "x"\n[user.dana]\nnetworks = ["10.0.0.7"]\n'
    path.write_text(f'state_dir = "{folder / "state"}"\n{account}{hooks}')
    return path


async def run(*args: str) -> int:
    def call() -> int:
        with pytest.raises(SystemExit) as ended:
            main(args)
        return int(ended.value.code or 0)

    return await asyncio.to_thread(call)


@pytest.mark.parametrize("type_", EVENTS)
def test_ping_sends_a_signed_sample_of_every_type(tmp_path: Path, type_: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with receiving() as (receiver, url), receiving() as (other, other_url):
            path = config(tmp_path, crm=url, erp=other_url)
            assert await run("ping", "crm", "--type", type_, "--config", str(path)) == 0
            [event] = receiver.events
            assert event["type"] == type_
            jsonschema.Draft202012Validator(schema(type_), format_checker=jsonschema.FormatChecker()).validate(event)
            if type_ != "ping":
                assert event["data"]["test"] is True
            assert other.requests == []

    asyncio.run(scenario())
    assert f"crm: {type_} ok, HTTP 204" in capsys.readouterr().out


def test_ping_without_a_name_goes_to_all_and_fails_if_one_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with receiving() as (receiver, url), raw(answer("500 Oops", b"no such table: fax\x1b[2J")) as (_, bad):
            path = config(tmp_path, crm=url, erp=bad)
            assert await run("ping", "--config", str(path)) == 1
            assert [event["type"] for event in receiver.events] == ["ping"]
            out = capsys.readouterr().out
            assert "crm: ping ok, HTTP 204" in out
            assert "erp: ping failed: HTTP 500" in out
            assert "no such table" in out
            assert "\x1b" not in out
            assert await run("ping", "--json", "--config", str(path)) == 1
            good, failed = json.loads(capsys.readouterr().out)
            assert (good["webhook"], good["ok"]) == ("crm", True)
            assert (failed["webhook"], failed["ok"], failed["status"]) == ("erp", False, 500)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["crn"], "unknown webhook 'crn'; use one of crm"),
        (["crm", "--type", "fax.sent"], "unknown event type 'fax.sent'"),
    ],
)
def test_ping_rejects_what_does_not_exist(
    tmp_path: Path, args: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(tmp_path, crm="https://crm.example/")
    assert asyncio.run(run("ping", *args, "--config", str(path))) == 2
    assert words in capsys.readouterr().err


def test_a_sample_is_as_a_real_event() -> None:
    from tests.unit.webhook.example_events import bodies

    for type_ in EVENTS:
        real = next(body["data"] for body in bodies() if body["type"] == type_)
        if type_ not in ("fax.received", "voicemail.received", "ping"):
            assert sample(type_, now()).keys() - {"test"} == real.keys(), type_


def test_a_hold_by_a_person_and_its_end_are_events(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        for account in ("office", None):
            for _ in range(2):  # once each: the second changes nothing
                await fax_actions.hold(hooks.plain, hooks.clock, account=account)
        for _ in range(2):
            await fax_actions.resume(hooks.plain, hooks.clock)
        found = reversed(await hooks.plain.run(lambda tx: tx.events.newest()))
        events = [(event.type, event.data["account"]) for event in found]
        assert events[:2] == [("account.paused", "office"), ("account.paused", None)]
        assert sorted(events[2:], key=str) == [("account.resumed", "office"), ("account.resumed", None)]
        for event in await hooks.plain.run(lambda tx: tx.events.newest()):
            jsonschema.Draft202012Validator(schema(event.type)).validate(json.loads(render(event)))

    in_hooks(tmp_path, scenario)
