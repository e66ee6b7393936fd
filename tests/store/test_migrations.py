"""Migrations: a database of each released schema is migrated to the newest with all its rows, or left as it was."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.operations import Operations

from mailbridge.errors import SchemaTooNew, StateLocked, StoreUnavailable
from mailbridge.model import Cursor
from mailbridge.store import migrations, schema
from mailbridge.store.migrations.to_5 import upgrade
from mailbridge.store.sql_store import SqlStore
from mailbridge.store.sqlite import migrate
from tests.factories import NOW
from tests.preloaded_process import Start, preloaded
from tests.store.factories import ask, with_store
from tests.wait_helpers import PATIENCE

# Written once by the code of each schema, and not changed since: faxes and deliveries in every state, a received document;
# from schema 2 on also a pending deletion and an audit line, from schema 3 on received items and a condition.
FROZEN = {number: Path(__file__).with_name(f"schema-{number}.sql") for number in (1, 2, 3, 4)}
TABLES: dict[int, tuple[str, ...]] = {1: ("cursor", "delivery", "envelope", "event", "fax", "handled")}
TABLES[2] = (*TABLES[1], "audit", "erasure", "tally")
TABLES[3] = (*TABLES[2], "receipt", "listing")
# Renamed by schema 4.
RENAMED = {
    "handled": "processed_mail",
    "erasure": "pending_deletion",
    "tally": "counter",
    "receipt": "received_item",
    "listing": "listing_progress",
}
RENAMED_COLUMNS = {"noun": "kind"}
TABLES[4] = tuple(RENAMED.get(name, name) for name in TABLES[3])


@pytest.fixture(params=sorted(FROZEN))
def old(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return make_old(tmp_path / "old", request.param)


def make_old(state_dir: Path, number: int) -> Path:
    state_dir.mkdir()
    database = sqlite3.connect(state_dir / "mailbridge.sqlite3")
    database.executescript(FROZEN[number].read_text(encoding="utf-8"))
    database.close()
    return state_dir


async def nothing(_: SqlStore) -> None:
    pass


def version(path: Path) -> str:
    return str(ask(path, "SELECT value FROM meta WHERE key = 'schema'")[0][0])


def content(path: Path, number: int) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of that schema, in its columns, by the names that tables and columns had then."""
    reference = sqlite3.connect(":memory:")
    reference.executescript(FROZEN[number].read_text(encoding="utf-8"))
    columns = {table: [row[1] for row in reference.execute(f"PRAGMA table_info({table})")] for table in TABLES[number]}
    reference.close()
    renamed = int(version(path)) >= 4
    found = {}
    for table, names in columns.items():
        now = [RENAMED_COLUMNS.get(name, name) if renamed else name for name in names]
        fields = ", ".join(f'"{name}"' for name in now)
        found[table] = ask(path, f"SELECT {fields} FROM {RENAMED.get(table, table) if renamed else table} ORDER BY 1, 2, 3")
    return found


def shape(path: Path) -> dict[str, Any]:
    """Columns, indexes with their order and condition, and triggers, without the spelling of their SQL."""
    found: dict[str, Any] = {}
    for kind, name, table, sql in ask(path, "SELECT type, name, tbl_name, sql FROM sqlite_master"):
        if kind == "table":
            indexes = {tuple(row[1:]) for row in ask(path, f"PRAGMA index_list({name})")}
            found[name] = (ask(path, f"PRAGMA table_info({name})"), indexes)
        elif kind == "index":
            condition = (sql or "").partition(" WHERE ")[2] + ("lower" if "lower(" in (sql or "") else "")
            found[name] = (table, ask(path, f"PRAGMA index_xinfo({name})"), condition)
        else:
            found[name] = (table, " ".join(sql.split()))
    return found


def test_a_released_schema_is_migrated_at_start_with_every_row(old: Path) -> None:
    number = int(version(old))
    before = content(old, number)
    assert all(before.values())
    assert {row[0] for row in ask(old, "SELECT DISTINCT state FROM fax")} == {
        *("queued", "uploading", "submitted", "in_doubt", "delivered", "failed", "cancelled")
    }

    async def scenario(store: SqlStore) -> None:
        counted = await store.run(lambda tx: tx.faxes.counts())
        assert counted == dict(ask(old, "SELECT state, count(*) FROM fax GROUP BY 1"))
        deliveries = await store.run(lambda tx: tx.deliveries.counts())
        assert deliveries == {(e, s): n for e, s, n in ask(old, "SELECT endpoint, state, count(*) FROM delivery GROUP BY 1, 2")}
        assert len(await store.run(lambda tx: tx.faxes.newest())) == len(before["fax"])
        assert await store.run(lambda tx: tx.submissions.count_faxes("erp", NOW)) == 3
        received = {"received/07/fax_01KE3YRECEIVED"}
        assert await store.run(lambda tx: tx.retention.known_files({*received, "received/07/no"})) == received
        assert await store.run(lambda tx: tx.mailboxes.cursor("office", "INBOX")) == Cursor(uidvalidity=7, last_uid=42)
        assert not await store.run(lambda tx: tx.mailboxes.mark_processed("office", "digest1", NOW))
        items = await store.run(lambda tx: tx.received.between("office", "incoming", NOW, NOW + timedelta(hours=1)))
        assert [item.id for item in items] == (["fax_01KE3YRECEIVED", "fax_01KE3YLISTED"] if number >= 3 else [])
        progress = await store.run(lambda tx: tx.received.progress("office", "incoming", NOW))
        assert progress.until == (NOW + timedelta(hours=1) if number >= 3 else None)
        assert await store.run(lambda tx: tx.conditions.set("mailbox office is down", on=True)) == (number < 3)
        assert content(old, number) == before

    with_store(old, scenario)
    assert version(old) == str(schema.SCHEMA_VERSION)


def test_a_migrated_schema_equals_a_fresh_one(old: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    with_store(fresh, nothing)
    with_store(old, nothing)
    assert version(old) == version(fresh)
    assert shape(old) == shape(fresh)


def test_there_is_a_migration_to_each_schema() -> None:
    modules = {path.stem for path in Path(str(migrations.__file__)).parent.glob("to_*.py")}
    assert modules == {f"to_{number}" for number in range(2, schema.SCHEMA_VERSION + 1)}


def test_a_failed_migration_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = int(version(old))
    before, was = content(old, number), shape(old)

    def fail(op: Operations) -> None:
        upgrade(op)
        raise OSError(28, "the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("mailbridge.store.migrations.to_5.upgrade", fail)
        with pytest.raises(StoreUnavailable, match="full"):
            with_store(old, nothing)
    assert (version(old), content(old, number), shape(old)) == (str(number), before, was)
    with_store(old, nothing)
    assert version(old) == str(schema.SCHEMA_VERSION)


STEPS = [(1, "to_2._columns"), (1, "to_2._indexes"), (1, "to_2._tables"), (1, "to_2._tally"), (1, "to_3._listing")]
STEPS += [(2, "to_3._receipt"), (2, "to_3._listing"), (2, "to_4._counter")]
STEPS += [(3, f"to_4.{name}") for name in ("_processed_mail", "_received_item", "_counter", "_audit", "_stopped_webhook")]


@pytest.mark.parametrize(("number", "step"), STEPS)
def test_a_crash_during_a_migration_changes_nothing(tmp_path: Path, number: int, step: str) -> None:
    old = make_old(tmp_path / "old", number)
    before, was = content(old, number), shape(old)
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from importlib import import_module\n"
        "from mailbridge.store.sqlite import migrate\n"
        "module, _, name = sys.argv[2].partition('.')\n"
        "way = import_module(f'mailbridge.store.migrations.{module}')\n"
        "real = getattr(way, name)\n"
        "def die(*given):\n    real(*given)\n    os._exit(9)\n"
        "setattr(way, name, die)\n"
        "migrate(Path(sys.argv[1]))\n"
    )
    start = Start(program=program, arguments=[str(old), step], env=dict(os.environ))
    assert preloaded().run(start, b"", PATIENCE)[0] == 9
    assert (version(old), content(old, number), shape(old)) == (str(number), before, was)
    assert ask(old, "PRAGMA integrity_check") == [("ok",)]
    assert migrate(old) == (number, schema.SCHEMA_VERSION)
    assert content(old, number) == before


def test_migrate_returns_both_schemas_and_changes_nothing_the_second_time(old: Path, tmp_path: Path) -> None:
    found = int(version(old))
    assert migrate(old) == (found, schema.SCHEMA_VERSION)
    assert migrate(old) == (schema.SCHEMA_VERSION, schema.SCHEMA_VERSION)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreUnavailable, match="does not exist"):
        migrate(tmp_path / "empty")

    async def beside_a_daemon(_: SqlStore) -> None:
        with pytest.raises(StateLocked):
            migrate(old)

    with_store(old, beside_a_daemon)


def test_a_newer_schema_is_not_changed(old: Path) -> None:
    migrate(old)
    database = sqlite3.connect(old / "mailbridge.sqlite3")
    database.execute("UPDATE meta SET value = '999' WHERE key = 'schema'")
    database.commit()
    database.close()
    with pytest.raises(SchemaTooNew, match="999"):
        migrate(old)
    assert version(old) == "999"


def test_alembic_is_loaded_only_for_an_old_schema(old: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from mailbridge.store.sqlite import SqliteStore\n"
        "async def main():\n"
        "    async with SqliteStore(Path(sys.argv[1]), lambda fax: {}, lambda type_: []): print('alembic' in sys.modules)\n"
        "asyncio.run(main())\n"
    )
    loaded = [
        subprocess.run(
            [sys.executable, "-c", program, str(old)], capture_output=True, text=True, timeout=PATIENCE, check=True
        ).stdout
        for _ in range(2)
    ]
    assert [line.split()[-1] for line in loaded] == ["True", "False"]
