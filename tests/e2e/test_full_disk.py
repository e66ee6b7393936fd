"""A start on a full disk says "make room", and nothing that was accepted is lost; in the journal, errors have their priority."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mailbridge.errors import ControlError
from tests.e2e.environment import Environment
from tests.e2e.failing_disk import fill, small_disk
from tests.e2e.test_commands import MAIL, fax_to, in_environment
from tests.wait_helpers import PATIENCE

pytestmark = pytest.mark.database("sqlite", reason="it is about the disk of state_dir")

# Bytes in the write-ahead log at which SQLite starts a checkpoint: 1,000 pages.
_CHECKPOINT = 1000 * 4096


async def started_in_vain(env: Environment) -> str:
    """Start the daemon, which must fail; return what it says."""
    status, output, errors = await env.command("serve")
    assert (status, output) == (1, ""), errors
    assert "Traceback" not in errors
    return errors


def test_a_start_on_a_full_disk_says_make_room_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        fax = await fax_to(env, "03-9876543")
        await env.stop()
        before = sorted(path.name for path in env.state.iterdir() if "-" not in path.name)
        filler = fill(env.state, left=0)
        said = await started_in_vain(env)
        assert "make room" in said
        assert "move" not in said
        assert "restore" not in said
        filler.unlink()
        assert sorted(path.name for path in env.state.iterdir() if "-" not in path.name) == before
        await env.start_myfax()
        await env.start()
        await env.becomes(fax, "delivered")
        assert len(env.simulator.uploads) == 1

    with small_disk(tmp_path / "state", "16m"):
        in_environment(tmp_path, scenario, myfax=False)


def test_the_first_start_on_a_full_disk_says_make_room(tmp_path: Path) -> None:
    async def main() -> None:
        async with Environment(tmp_path) as env:
            filler = fill(env.state, left=0)
            assert "make room" in await started_in_vain(env)
            filler.unlink()
            await env.start_myfax()
            await env.start()
            await env.becomes(await fax_to(env, "03-9876543"), "delivered")

    with small_disk(tmp_path / "state", "16m"):
        asyncio.run(main())


def test_a_disk_that_fills_up_while_the_daemon_runs_says_make_room_once_a_mail_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        fax = await fax_to(env, "03-9876543")
        filler = fill(env.state, left=0)
        reply = await env.send("dana@example.co.il", ["04-8765432@fax.local"], MAIL.read_bytes())
        assert reply.startswith("451 4.3"), reply
        lines = [json.loads(line) for line in env.log.read_text(encoding="utf-8").splitlines()]
        about = [line for line in lines if "make room" in line.get("error", "") and line["id"].startswith("env_")]
        assert [(line["event"], line["level"]) for line in about] == [("mail not stored, client asked to send it again", "error")]
        assert about[0]["client"] == "127.0.0.1"
        filler.unlink()
        await env.start_myfax()
        await env.retry_now(fax)
        await env.becomes(fax, "delivered")
        await env.becomes(await fax_to(env, "04-8765432"), "delivered")

    with small_disk(tmp_path / "state", "16m"):
        in_environment(tmp_path, scenario, myfax=False)


def test_a_damaged_database_is_not_to_be_deleted(tmp_path: Path) -> None:
    async def main() -> None:
        async with Environment(tmp_path) as env:
            (env.state / "mailbridge.sqlite3").write_bytes(b"not a database" * 1000)
            said = await started_in_vain(env)
            assert "is damaged" in said
            assert "keep it" in said
            assert "mailbridge restore DIR" in said

    asyncio.run(main())


def test_a_failed_start_is_an_error_in_the_journal(tmp_path: Path) -> None:
    async def main() -> None:
        async with Environment(tmp_path) as env:
            env.config.write_text("[smtp\n")
            with (tmp_path / "journal").open("wb") as journal:
                facts = os.fstat(journal.fileno())
                environ = {**os.environ, "JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"}
                command = [sys.executable, "-m", "mailbridge", "serve", "--config", str(env.config)]
                process = await asyncio.create_subprocess_exec(*command, stderr=journal, env=environ)
                async with asyncio.timeout(PATIENCE):
                    assert await process.wait() == 78
            assert (tmp_path / "journal").read_text().startswith("<3>mailbridge: ")

    asyncio.run(main())


def test_a_disk_that_is_full_at_a_checkpoint_says_make_room_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        path = env.state / "mailbridge.sqlite3"
        replies: list[str] = []

        async def send(recipients: int) -> str:
            numbers = [f"03-9{len(replies):02}{one:04}@fax.local" for one in range(recipients)]
            replies.append(await env.send("dana@example.co.il", numbers, MAIL.read_bytes()))
            return replies[-1]

        await env.printed("hold")
        log = path.with_name(f"{path.name}-wal")
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM fax").fetchone()  # holds every checkpoint back: the write-ahead log grows
            while log.stat().st_size < _CHECKPOINT:
                assert (await send(100)).startswith("250")
            filler = fill(env.state, left=200_000)
            reader.execute("COMMIT")
            with pytest.raises(sqlite3.OperationalError) as full:
                reader.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            assert full.value.sqlite_errorname == "SQLITE_FULL"
        while (await send(1)).startswith("250"):
            pass
        assert replies[-1].startswith("451 4.3"), replies[-1]
        ids = [fax["id"] for fax in await env.printed("queue", "--limit", "1000")]

        async def cancel_all() -> None:
            for fax in ids:
                await env.ask("cancel", id=fax)

        with pytest.raises(ControlError, match=r"^the database cannot be written: the disk is full; make room"):
            await cancel_all()
        lines = [json.loads(line) for line in env.log.read_text(encoding="utf-8").splitlines()]
        about = [line for line in lines if "make room" in line.get("error", "")]
        assert about
        assert {line["level"] for line in about} == {"error"}
        filler.unlink()
        assert (await send(1)).startswith("250")
        expected = sum(100 if "and 99 more" in reply else 1 for reply in replies if reply.startswith("250"))
        assert len(await env.printed("queue", "--limit", "1000")) == expected
        await env.kill()
        await env.start()
        faxes = await env.printed("queue", "--limit", "1000")
        assert (len(faxes), {fax["state"] for fax in faxes} - {"cancelled"}) == (expected, {"queued"})

    with small_disk(tmp_path / "state", "16m"):
        in_environment(tmp_path, scenario, myfax=False)
