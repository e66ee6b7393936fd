"""`queue`, `show`, `events` and `deliveries`, with and without a daemon."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailbridge.config import load
from mailbridge.model import Attempt, Email, Failure, new_id, rfc3339
from mailbridge.store.sqlite import SqliteStore
from tests.factories import a_fax, an_envelope
from tests.integration.cli_fixtures import SECRET, environment, one_line, run, run_cold, serving, write_config
from tests.wait_helpers import PATIENCE

NOW = datetime(2026, 1, 4, 9, 0, tzinfo=UTC)
NEVER = datetime(2100, 1, 1, tzinfo=UTC)
# A subject that tries to control the terminal: a colour, and right-to-left override.
HOSTILE = "חוזה \x1b[31m\u202egnp.exe"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@dataclass(frozen=True)
class Seeded:
    """A state_dir with three faxes: one queued, one in doubt, one failed."""

    config: Path
    queued: str
    doubted: str
    failed: str


def seed(folder: Path) -> Seeded:
    # The endpoint is never called, because every delivery to it is final.
    webhook = f'[webhook.crm]\nurl = "http://127.0.0.1:1/"\nsecret = "{SECRET}"\nallow_private = true\n'
    return asyncio.run(_seed(write_config(folder, webhook)))


async def _seed(config: Path) -> Seeded:
    # IDs of the same millisecond are in no order.
    ids = sorted(new_id("fax") for _ in range(3))
    document = replace(a_fax().documents[0], name="חוזה.pdf")
    email = Email(message_id="<1@x>", sender="dana@example.co.il", subject=HOSTILE)
    plain = {"documents": (document,), "email": email, "due_at": NEVER, "expires_at": NEVER, "tags": {}}
    queued, doubted, failed = (a_fax(NOW, id=id, **plain) for id in ids)
    failed = replace(failed, user="scanner", repeat_of=queued.id, tags={"case": "1723", "unit": HOSTILE})
    envelope = an_envelope(NOW, subject=HOSTILE, user="scanner", passed_over=("logo.png", HOSTILE))
    attempt = (Attempt(n=1, started_at=NOW),)
    busy = Failure(code="busy", message="the line was busy", provider_code=3)
    async with SqliteStore(config.parent / "state", lambda fax: {"fax_id": fax.id}, lambda type_: ["crm"]) as store:
        await store.run(lambda tx: tx.submissions.add(envelope, (queued, doubted, failed), None, NOW))
        for fax in (doubted, failed):
            await store.run(lambda tx, fax=fax: tx.faxes.transition(fax.id, "claim", NOW, attempts=attempt))  # type: ignore[misc]  # a default has no type
        await store.run(lambda tx: tx.faxes.transition(doubted.id, "lose", NOW))
        await store.run(lambda tx: tx.faxes.transition(failed.id, "fail", NOW, failure=busy))
        claimed = await store.run(lambda tx: tx.deliveries.claim("crm", NOW, 100))
        for delivery, event in claimed:
            end = ("reject", {"status": 410, "error": "HTTP 410"}) if event.type == "fax.failed" else ("deliver", {"status": 204})
            await store.run(lambda tx, id=delivery.id, end=end: tx.deliveries.transition(id, end[0], NOW, **end[1]))  # type: ignore[misc]  # a default has no type
    return Seeded(config, queued.id, doubted.id, failed.id)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    """The state_dir with a daemon."""
    seeded = seed(tmp_path_factory.mktemp("seeded"))
    with serving(seeded.config):
        yield seeded


def test_commands_read_the_store_without_a_daemon(tmp_path: Path) -> None:
    seeded = seed(tmp_path)
    commands = [("queue",), ("show", seeded.failed, "--json"), ("show", "fax_1"), ("deliveries", "--dead")]
    alone = [run(*command, "--config", seeded.config) for command in commands]
    with serving(seeded.config):
        assert [run(*command, "--config", seeded.config) for command in commands] == alone
    assert [done.status for done in alone] == [0, 0, 1, 0]
    assert "fax_1" in one_line(alone[2])


def read_json(seeded: Seeded, *arguments: str) -> Any:
    done = run(*arguments, "--json", "--config", seeded.config)
    assert (done.status, done.errors) == (0, "")
    assert done.output.isascii(), "text from a mail must not reach the terminal unescaped"
    return json.loads(done.output)


def table(seeded: Seeded, *arguments: str) -> list[str]:
    done = run(*arguments, "--config", seeded.config)
    assert (done.status, done.errors) == (0, "")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e]", done.output)
    return done.output.splitlines()


def test_queue_json(seeded: Seeded) -> None:
    faxes = read_json(seeded, "queue")
    assert [fax["id"] for fax in faxes] == [seeded.failed, seeded.doubted, seeded.queued]
    assert [fax["state"] for fax in faxes] == ["failed", "in_doubt", "queued"]
    assert faxes[0]["failure"] == {"code": "busy", "message": "the line was busy", "provider_code": 3}
    assert faxes[2]["subject"] == HOSTILE
    assert [fax["id"] for fax in read_json(seeded, "queue", "--state", "in_doubt")] == [seeded.doubted]
    assert [fax["id"] for fax in read_json(seeded, "queue", "--limit", "1")] == [seeded.failed]
    assert read_json(seeded, "queue", "--state", "cancelled") == []


def test_queue_table(seeded: Seeded) -> None:
    head, *rows = table(seeded, "queue")
    assert head.split() == [
        *["ID", "STATE", "NUMBER", "CREATED", "TRIES", "USER", "FROM", "SUBJECT", "TAGS", "SEND", "AT", "REASON"]
    ]
    assert [row.split()[0] for row in rows] == [seeded.failed, seeded.doubted, seeded.queued]
    assert "busy (3): the line was busy" in rows[0]
    assert "dana@example.co.il" in rows[2]
    assert "חוזה" in rows[2]
    assert table(seeded, "queue", "--state", "cancelled") == ["no faxes in state cancelled"]


def test_show_prints_a_fax_with_its_events_deliveries_and_attempts(seeded: Seeded) -> None:
    fax = read_json(seeded, "show", seeded.failed)
    assert [event["type"] for event in fax["events"]] == ["fax.queued", "fax.failed"]
    assert [(d["type"], d["state"]) for d in fax["deliveries"]] == [("fax.queued", "delivered"), ("fax.failed", "dead")]
    assert fax["documents"][0]["name"] == "חוזה.pdf"
    assert fax["attempts"][0]["n"] == 1
    assert (fax["user"], fax["repeat_of"]) == ("scanner", seeded.queued)
    assert fax["passed_over"] == ["logo.png", HOSTILE]
    lines = table(seeded, "show", seeded.failed)
    assert lines[0] == seeded.failed
    text = "\n".join(lines)
    for words in (
        "state      failed",
        "busy (3): the line was busy",
        "חוזה.pdf",
        "fax.failed to crm: dead after 1 try  HTTP 410",
        "user       scanner",
        f"repeat of  {seeded.queued}",
        "tags       case=1723, unit=חוזה",
        "  not faxed\n    logo.png\n    חוזה",
    ):
        assert words in text


def test_events_and_deliveries(seeded: Seeded) -> None:
    events = read_json(seeded, "events")
    assert sorted(event["type"] for event in events) == ["fax.failed", "fax.in_doubt", *["fax.queued"] * 3]
    assert [event["type"] for event in read_json(seeded, "events", "--fax", seeded.doubted)] == ["fax.in_doubt", "fax.queued"]
    assert len(table(seeded, "events")) == 1 + len(events)
    dead = read_json(seeded, "deliveries", "--dead")
    assert [(one["type"], one["endpoint"], one["status"], one["error"]) for one in dead] == [
        ("fax.failed", "crm", 410, "HTTP 410")
    ]
    assert len(read_json(seeded, "deliveries")) == 5
    assert len(read_json(seeded, "deliveries", "--limit", "2")) == 2
    head, row = table(seeded, "deliveries", "--dead")
    assert head.split()[:4] == ["ENDPOINT", "TYPE", "STATE", "TRIES"]
    assert row.split()[:5] == ["crm", "fax.failed", "dead", "1", "410"]


@pytest.mark.parametrize("id", ["fax_01J00000000000000000000000", "x", "", "'; DROP TABLE fax; --", "חוזה", "../../etc/passwd"])
def test_unknown_id_is_exit_1_in_one_line(seeded: Seeded, id: str) -> None:
    done = run("show", "--config", seeded.config, "--", id)
    assert done.status == 1
    assert id in one_line(done)


def test_closed_pipe_prints_no_error(seeded: Seeded) -> None:
    shell = 'set -o pipefail; "$0" -m mailbridge events --json --config "$1" | head -1'
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable, str(seeded.config)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
    )
    assert (done.stdout, done.stderr) == ("[\n", "")
    # The reader closes before the first line.
    for command in (["queue"], ["queue", "--json"], ["show", seeded.failed]):
        read, write = os.pipe()
        os.close(read)
        words = [sys.executable, "-m", "mailbridge", *command, "--config", str(seeded.config)]
        gone = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, env=environment())
        os.close(write)
        assert (gone.returncode, gone.stderr) == (1, ""), command


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_output_in_an_encoding_without_hebrew(seeded: Seeded, encoding: str) -> None:
    for command in (("queue",), ("show", seeded.queued)):
        done = run_cold(*command, "--config", seeded.config, PYTHONIOENCODING=encoding)
        assert (done.status, done.errors) == (0, ""), command
        assert "dana" in done.output


@pytest.mark.parametrize("command", ["migrate", "queue"])
def test_migration_does_not_disturb_json_output(config: Path, command: str) -> None:
    old = Path(__file__).parent.parent / "store" / "schema-1.sql"
    with sqlite3.connect(load(config, environment()).state_dir / "mailbridge.sqlite3") as database:
        database.executescript(old.read_text(encoding="utf-8"))
    database.close()
    done = run(command, "--json", "--config", config)
    assert (done.status, done.errors) == (0, "")
    json.loads(done.output)


def test_missing_database_is_one_line(config: Path) -> None:
    done = run("queue", "--config", config)
    assert done.status == 1
    assert one_line(done).endswith("start it with mailbridge serve")


def on_terminal(seeded: Seeded, *arguments: str) -> list[str]:
    """Return the lines of a command on a terminal of 80 columns."""
    done = run(*arguments, "--config", seeded.config, COLUMNS="80")
    assert (done.status, done.errors) == (0, "")
    return done.output.splitlines()


@pytest.mark.parametrize("command", ["queue", "events", "deliveries", "usage --month 2026-01"])
def test_tables_fit_80_columns_with_short_ids_that_commands_take(seeded: Seeded, command: str) -> None:
    lines = on_terminal(seeded, *command.split())
    assert max(map(len, lines)) <= 80
    if command == "queue":
        short = next(line.split()[0] for line in lines if " failed " in line)
        assert seeded.failed.endswith(short)
        assert len(short) == 8
        for given in (short, short.lower(), f"fax_{short}", read_json(seeded, "queue")[0]["token"]):
            assert read_json(seeded, "show", given)["id"] == seeded.failed
        assert "11:00 IST" in lines[3]
        text = "\n".join(lines)
        assert "scanner" in text
        assert "case=1723" in text


def test_end_of_several_ids_is_refused_with_those_ids(tmp_path: Path) -> None:
    seeded = seed(tmp_path)
    with sqlite3.connect(seeded.config.parent / "state/mailbridge.sqlite3") as database:
        database.execute("UPDATE fax SET id = substr(id, 1, 26) || 'ZZZZ'")
    database.close()
    done = run("show", "ZZZZ", "--config", seeded.config)
    assert done.status == 1
    assert "is the end of several ids (fax_" in one_line(done)


FILTERS = {
    "number as it is written": (("--number", "03-9876543"), 3),
    "number in E.164": (("--number", "+97239876543"), 3),
    "last digits": (("--number", "6543"), 3),
    "prefix": (("--number", "+9723"), 3),
    "another number": (("--number", "03-9876544"), 0),
    "another prefix": (("--number", "+9724"), 0),
    "user": (("--user", "scanner"), 1),
    "account": (("--account", "office"), 3),
    "another account": (("--account", "branch"), 0),
    "sender": (("--from", "DANA@"), 3),
    "another sender": (("--from", "d%a"), 0),
    "subject": (("--subject", "חוזה"), 3),
    "another subject": (("--subject", "_"), 0),
    "tag": (("--tag", "case"), 1),
    "tag with its value": (("--tag", "case=1723"), 1),
    "tag with another value": (("--tag", "case=17"), 0),
    "since, in the time zone of the configuration": (("--since", "2026-01-04T11:00"), 3),
    "since later": (("--since", "2026-01-04T11:01"), 0),
    "until the end of a day": (("--until", "2026-01-04"), 3),
    "until earlier": (("--until", "2026-01-04T10:59"), 0),
    "several": (("--state", "failed", "--user", "scanner", "--number", "03-9876543"), 1),
    "several that no fax has": (("--state", "queued", "--user", "scanner"), 0),
}


@pytest.mark.parametrize("case", FILTERS)
def test_queue_finds_by(seeded: Seeded, case: str) -> None:
    arguments, count = FILTERS[case]
    assert len(read_json(seeded, "queue", *arguments)) == count


def test_events_and_deliveries_are_found_by_type_state_endpoint_and_time(seeded: Seeded) -> None:
    assert [event["type"] for event in read_json(seeded, "events", "--type", "fax.failed")] == ["fax.failed"]
    assert read_json(seeded, "events", "--since", "2026-01-05") == []
    assert len(read_json(seeded, "events", "--since", "2026-01-04", "--until", "2026-01-04")) == 5
    assert len(read_json(seeded, "events", "--fax", seeded.failed[-8:], "--type", "fax.queued")) == 1
    assert len(read_json(seeded, "deliveries", "--state", "delivered", "--endpoint", "crm")) == 4
    assert read_json(seeded, "deliveries", "--endpoint", "erp") == []
    assert len(read_json(seeded, "deliveries", "--until", "2026-01-04T11:00")) == 5
    assert read_json(seeded, "deliveries", "--until", "2026-01-03") == []
    for wrong in (("events", "--type", "fax.lost"), ("events", "--since", "today"), ("deliveries", "--dead", "--state", "dead")):
        assert run(*wrong, "--config", seeded.config).status == 2


def test_usage_counts_by_user_account_and_tag(seeded: Seeded) -> None:
    by_user = read_json(seeded, "usage", "--month", "2026-01")
    none = {"faxes": 2, "delivered": 0, "failed": 0, "other": 2, "pages": 0, "price": "0"}
    assert by_user["rows"] == [{"user": "-", **none}, {"user": "scanner", **none, "faxes": 1, "failed": 1, "other": 0}]
    [account] = read_json(seeded, "usage", "--month", "2026-01", "--by", "account")["rows"]
    assert (account["account"], account["faxes"]) == ("office", 3)
    tags = read_json(seeded, "usage", "--month", "2026-01", "--by", "tag")["rows"]
    assert [(row["tag"], row["faxes"]) for row in tags][:2] == [("-", 2), ("case=1723", 1)]
    assert read_json(seeded, "usage", "--month", "2026-02")["rows"] == []
    done = run("usage", "--month", "2026-01", "--csv", "--config", seeded.config)
    assert done.output.splitlines()[0] == "user,faxes,delivered,failed,other,pages,price"
    assert done.output.splitlines()[2] == "scanner,1,0,1,0,0,0"
    for wrong in ("2026-13", "2026", "january", "0000-01"):
        assert run("usage", "--month", wrong, "--config", seeded.config).status == 2


RECEIVED = {
    "path": "received/00/fax_1",
    "sha256": "cd",
    "size": 4,
    "content_type": "application/pdf",
    "filename": "fax.pdf",
    "pages": None,
}


@pytest.mark.parametrize("daemon", [False, True])
def test_events_shows_bodies_as_they_are_delivered_and_with_raw_the_row(tmp_path: Path, daemon: bool) -> None:
    seeded = seed(tmp_path)
    data = {"fax_id": "fax_1", "from": None, "document": RECEIVED, "documents": [RECEIVED]}
    at = datetime.now(UTC)  # retention must not delete the document meanwhile

    async def add() -> None:
        async with SqliteStore(tmp_path / "state", lambda fax: {}, lambda _: []) as store:
            await store.run(lambda tx: tx.events.emit("fax.received", data, at, "fax_1"))

    asyncio.run(add())
    with serving(seeded.config) if daemon else contextlib.nullcontext():
        [shown] = read_json(seeded, "events", "--type", "fax.received")
        [raw] = read_json(seeded, "events", "--type", "fax.received", "--raw")
        refused = run("events", "--raw", "--config", seeded.config)
    assert shown["timestamp"] == rfc3339(at)
    assert shown["data"]["document"] == shown["data"]["documents"][0]
    assert "/documents/" in shown["data"]["document"]["url"]
    assert "expires_at" in shown["data"]["document"]
    assert "path" not in shown["data"]["document"]
    assert raw["data"] == data
    assert shown.keys() - raw.keys() == {"timestamp"}
    assert (refused.status, "--raw requires --json" in refused.errors) == (2, True)


def test_events_prints_the_openapi_description(seeded: Seeded) -> None:
    assert read_json(seeded, "events", "--openapi")["openapi"] == "3.1.0"
