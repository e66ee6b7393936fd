"""The daemon and its store: retention, an old schema and a newer one."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from mailbridge.store.schema import SCHEMA_VERSION
from tests.e2e.environment import Environment
from tests.e2e.test_commands import fax_to, in_environment, refused
from tests.wait_helpers import until

FILES = pytest.mark.database("sqlite", reason="it is about the files in which faxes are kept")
OLD = Path(__file__).parents[1] / "store" / "schema-1.sql"


def mails(env: Environment) -> list[Path]:
    return [path for path in (env.state / "spool").rglob("*") if path.is_file()]


@FILES
def test_documents_are_deleted_on_time_and_still_listed(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        fax = await fax_to(env, "03-9876543")
        waiting = await fax_to(env, "03-9876598")  # never final
        await env.becomes(fax, "delivered")
        [segment] = mails(env)
        assert segment.read_bytes().count(b'filename="contract.pdf"') == 2
        await until(lambda: segment.read_bytes().count(b'filename="contract.pdf"') == 1)
        [document] = (await env.ask("show", id=fax))["documents"]
        assert (document["deleted"], document["name"]) == (True, "contract.pdf")
        assert "it is already delivered" in await refused(env, "retry", fax)
        assert (await env.ask("show", id=waiting))["documents"][0]["deleted"] is False
        said = [line for line in env.log.read_text(encoding="utf-8").splitlines() if fax in line]
        assert any('"document deleted"' in line and document["sha256"] in line for line in said)

    in_environment(tmp_path, scenario, more='\n[retention]\ndocuments = "1s"\n')


@FILES
def test_the_schema_of_the_previous_version_is_migrated_at_start(tmp_path: Path) -> None:
    async def main() -> None:
        async with Environment(tmp_path) as env:
            database = sqlite3.connect(env.state / "mailbridge.sqlite3")
            database.executescript(OLD.read_text(encoding="utf-8"))
            database.close()
            await env.start_myfax()
            await env.start()
            assert "schema migrated" in env.log.read_text(encoding="utf-8")
            assert len(await env.ask("queue")) > 1
            await env.becomes(await fax_to(env, "03-9876543"), "delivered")
            assert await env.stop() == 0
            assert (await env.command("migrate"))[1] == f"the database already has schema {SCHEMA_VERSION}\n"

    asyncio.run(main())


@FILES
def test_a_newer_schema_is_refused_with_78(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        assert await env.stop() == 0
        database = sqlite3.connect(env.state / "mailbridge.sqlite3")
        with database:
            database.execute("UPDATE meta SET value = '999' WHERE key = 'schema'")
        database.close()
        for command in ("serve", "migrate"):
            status, _, errors = await env.command(command)
            assert (status, "install the newer version again" in errors) == (78, True)

    in_environment(tmp_path, scenario)


@FILES
def test_a_file_without_a_row_is_swept_at_start(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        fax = await fax_to(env, "03-9876543")
        [kept] = mails(env)
        assert await env.stop() == 0
        orphan = kept.with_name("env_ORPHAN.eml")
        orphan.write_bytes(b"From: nobody\r\n\r\nhalf a ma")
        await env.start()
        assert not orphan.exists()
        assert kept.exists()
        assert '"orphans": 1' in env.log.read_text(encoding="utf-8")
        await env.start_myfax()
        await env.retry_now(fax)
        await env.becomes(fax, "delivered")

    in_environment(tmp_path, scenario, myfax=False)
