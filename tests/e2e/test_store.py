"""The daemon and its store: retention, an old schema and a newer one."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from mailbridge.store.schema import SCHEMA_VERSION
from tests.e2e.environment import World
from tests.e2e.test_commands import fax_to, in_a_world, refused
from tests.wait_helpers import until

OLD = Path(__file__).parents[1] / "store" / "schema-1.sql"


def mails(world: World) -> list[Path]:
    return [path for path in (world.state / "spool").rglob("*") if path.is_file()]


def test_documents_are_deleted_on_time_and_still_listed(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        fax = await fax_to(world, "03-9876543")
        waiting = await fax_to(world, "03-9876598")  # never final
        await world.becomes(fax, "delivered")
        assert len(mails(world)) == 2
        await until(lambda: len(mails(world)) == 1)
        [document] = (await world.ask("show", id=fax))["documents"]
        assert (document["deleted"], document["name"]) == (True, "contract.pdf")
        assert "it is already delivered" in await refused(world, "retry", fax)
        assert (await world.ask("show", id=waiting))["documents"][0]["deleted"] is False
        said = [line for line in world.log.read_text(encoding="utf-8").splitlines() if fax in line]
        assert any('"document deleted"' in line and document["sha256"] in line for line in said)

    in_a_world(tmp_path, scenario, more='\n[retention]\ndocuments = "1s"\n')


def test_the_schema_of_the_previous_version_is_migrated_at_start(tmp_path: Path) -> None:
    async def main() -> None:
        async with World(tmp_path) as world:
            database = sqlite3.connect(world.state / "mailbridge.sqlite3")
            database.executescript(OLD.read_text(encoding="utf-8"))
            database.close()
            await world.start_myfax()
            await world.start()
            assert "schema migrated" in world.log.read_text(encoding="utf-8")
            assert len(await world.ask("queue")) > 1
            await world.becomes(await fax_to(world, "03-9876543"), "delivered")
            assert await world.stop() == 0
            assert (await world.command("migrate"))[1] == f"the database already has schema {SCHEMA_VERSION}\n"

    asyncio.run(main())


def test_a_newer_schema_is_refused_with_78(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        assert await world.stop() == 0
        database = sqlite3.connect(world.state / "mailbridge.sqlite3")
        with database:
            database.execute("UPDATE meta SET value = '999' WHERE key = 'schema'")
        database.close()
        for command in ("serve", "migrate"):
            status, _, errors = await world.command(command)
            assert (status, "install the newer version again" in errors) == (78, True)

    in_a_world(tmp_path, scenario)


def test_a_file_without_a_row_is_swept_at_start(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        fax = await fax_to(world, "03-9876543")
        [kept] = mails(world)
        assert await world.stop() == 0
        orphan = kept.with_name("env_ORPHAN.eml")
        orphan.write_bytes(b"From: nobody\r\n\r\nhalf a ma")
        await world.start()
        assert not orphan.exists()
        assert kept.exists()
        assert '"orphans": 1' in world.log.read_text(encoding="utf-8")
        await world.start_myfax()
        await world.ask("retry", id=fax)
        await world.becomes(fax, "delivered")

    in_a_world(tmp_path, scenario, myfax=False)
