"""The store in PostgreSQL: several processes in one database, a server that goes away, and what is refused."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import Column, Connection, Text, event
from sqlalchemy.exc import OperationalError, StatementError

from mailbridge.errors import StoreUnavailable, Undecided
from mailbridge.model import Fax
from mailbridge.store import migrations, postgres, postgres_connection, postgres_requirements, schema
from mailbridge.store.interface import Transaction
from mailbridge.store.postgres import PostgresStore
from mailbridge.store.postgres_faults import PostgresFaults
from mailbridge.store.sql_store import SqlStore
from tests.factories import NOW, a_fax, an_envelope
from tests.postgres_server import PostgresServer
from tests.store.factories import a_store, ask, with_store
from tests.wait_helpers import PATIENCE

pytestmark = pytest.mark.usefixtures("only_postgres")
# For tests that end the store's own connection: a pool does not say which one of the server it uses.
DIRECT = pytest.mark.parametrize("only_postgres", ["postgresql"], indirect=True)


def with_two_stores(path: Path, scenario: Callable[[SqlStore, SqlStore], Awaitable[None]]) -> None:
    async def main() -> None:
        async with a_store(path) as one, a_store(path) as other:
            await scenario(one, other)

    asyncio.run(main())


async def accepted(store: SqlStore, *faxes: Fax) -> None:
    await store.run(lambda tx: tx.submissions.add(an_envelope(), faxes, None, NOW))


def test_no_two_stores_claim_the_same_fax_or_delivery(tmp_path: Path) -> None:
    def claim_fax(tx: Transaction) -> list[str]:
        found = tx.faxes.due_uploads(NOW, "office", 0, 1)
        return [tx.faxes.transition(fax.id, "claim", NOW).id for fax in found]

    def claim_delivery(tx: Transaction) -> list[str]:
        return [delivery.id for delivery, _ in tx.deliveries.claim("crm", NOW, 2)]

    async def scenario(one: SqlStore, other: SqlStore) -> None:
        faxes = [a_fax() for _ in range(20)]
        await accepted(one, *faxes)
        for work, count in ((claim_fax, 20), (claim_delivery, 20)):
            claimed: list[str] = []
            while len(claimed) < count:
                batches = await asyncio.gather(*(store.run(work) for store in (one, other) * 3))
                claimed += [id for batch in batches for id in batch]
            assert len(set(claimed)) == len(claimed) == count

    with_two_stores(tmp_path, scenario)


def test_a_claim_reads_along_indexes_however_many_faxes_wait(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        for number in range(4):
            await accepted(store, *(a_fax(number=f"+9723987{number}{n:03}", user=f"user{n % 5}") for n in range(250)))
        ask(tmp_path, "ANALYZE")
        plans: list[str] = []

        def explain(connection: Connection, _: Any, statement: str, values: Any, *__: object) -> None:
            if statement.startswith("WITH"):
                cursor = connection.connection.cursor()
                cursor.execute(f"EXPLAIN {statement}", values)
                plans.extend(row[0] for row in cursor.fetchall())

        event.listen(store._engine, "before_cursor_execute", explain)
        found = await store.run(lambda tx: tx.faxes.due_uploads(NOW, "office", 1, 3))
        assert [fax.user for fax in found] == ["user0", "user1", "user2"]
        assert plans
        assert not [line for line in plans if "Seq Scan" in line], plans

    with_store(tmp_path, scenario)


def test_a_deadlock_is_resolved_by_running_one_transaction_again(tmp_path: Path) -> None:
    async def scenario(one: SqlStore, other: SqlStore) -> None:
        faxes = [a_fax(), a_fax()]
        await accepted(one, *faxes)
        both, ran = threading.Barrier(2), list[int]()

        def move(tx: Transaction, first: Fax, second: Fax) -> None:
            tx.faxes.update(first.id, polls=tx.faxes.get(first.id).polls + 1)
            if len(ran) < 2:
                ran.append(1)
                both.wait(PATIENCE)
            tx.faxes.update(second.id, polls=tx.faxes.get(second.id).polls + 1)

        await asyncio.gather(one.run(lambda tx: move(tx, *faxes)), other.run(lambda tx: move(tx, *faxes[::-1])))
        assert [(await one.run(lambda tx, id=fax.id: tx.faxes.get(id))).polls for fax in faxes] == [2, 2]  # type: ignore[misc]  # a default has no type

    with_two_stores(tmp_path, scenario)


def test_a_transaction_runs_again_if_another_process_has_changed_its_fax(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        fax = a_fax()
        await accepted(store, fax)
        stored, ran = await store.run(lambda tx: tx.faxes.get(fax.id)), 0

        def note(tx: Transaction) -> None:
            nonlocal ran
            ran += 1
            real = tx.faxes.get

            def get(id: str) -> Fax:
                found = real(id)
                # As if it had been read, without a lock, before another process changed it.
                return replace(found, seq=found.seq - 1) if ran == 1 else found

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(type(tx.faxes), "get", lambda _, id: get(id))
                tx.faxes.update(fax.id, pages=7)

        await store.run(note)
        after = await store.run(lambda tx: tx.faxes.get(fax.id))
        assert (ran, after.seq, after.pages) == (2, stored.seq, 7)

    with_store(tmp_path, scenario)


def test_while_the_server_is_gone_nothing_is_accepted_and_afterwards_it_is(tmp_path: Path, only_postgres: PostgresServer) -> None:
    async def scenario(store: SqlStore) -> None:
        only_postgres.stop()
        try:
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="the database cannot be written"):
                    await accepted(store, a_fax())
            assert not store.healthy
        finally:
            only_postgres.start()
        await accepted(store, a_fax())
        assert store.healthy
        assert await store.run(lambda tx: tx.faxes.counts()) == {"queued": 1}

    with_store(tmp_path, scenario)


@DIRECT
def test_deliveries_that_a_commit_without_an_answer_has_claimed_are_pending_again(tmp_path: Path) -> None:
    """This node goes on, so no other one takes them over. What it has under way is left alone."""

    async def scenario(store: SqlStore) -> None:
        def commit_and_end(connection: Connection) -> None:
            raw = cast(psycopg.Connection[Any], connection.connection.driver_connection)
            raw.commit()
            raw.execute("SELECT 1")  # or there would be nothing more to commit, and no error
            ask(tmp_path, "SELECT pg_terminate_backend(?, 10000)", raw.info.backend_pid)

        for number in ("+97239876541", "+97239876542"):
            await accepted(store, a_fax(number=number))
        [(under_way, _)] = await store.run(lambda tx: tx.deliveries.claim("crm", NOW, 1))
        event.listen(store._engine, "commit", commit_and_end, once=True)
        with pytest.raises(Undecided):
            await store.run(lambda tx: tx.deliveries.claim("crm", NOW, 1))
        assert (await store.run(lambda tx: tx.deliveries.counts()))["crm", "sending"] == 2
        [(again, _)] = await store.run(lambda tx: tx.deliveries.claim("crm", NOW, 10, [under_way.id]))
        assert (again.id != under_way.id, again.attempts) == (True, 2)

    with_store(tmp_path, scenario)


@DIRECT
def test_a_connection_that_ends_during_the_commit_leaves_the_outcome_open(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        def end(connection: Connection) -> None:
            raw = cast(psycopg.Connection[Any], connection.connection.driver_connection)
            ask(tmp_path, "SELECT pg_terminate_backend(?, 10000)", raw.info.backend_pid)

        event.listen(store._engine, "commit", end, once=True)
        with pytest.raises(Undecided):
            await accepted(store, a_fax())
        await accepted(store, a_fax())

    with_store(tmp_path, scenario)


def test_an_error_of_a_statement_repeats_no_value(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        wrong: Any = "not a time"
        with pytest.raises(StatementError) as error:
            await store.run(lambda tx: tx.stopped_webhooks.add("hunter2", "gone", wrong))
        assert "hunter2" not in str(error.value)

    with_store(tmp_path, scenario)


@DIRECT
def test_a_server_that_became_read_only_is_left(tmp_path: Path, only_postgres: PostgresServer) -> None:
    async def scenario(store: SqlStore) -> None:
        pids: list[int] = []

        def note(tx: Transaction) -> None:
            pids.append(cast(Any, tx)._sql.connection.connection.driver_connection.info.backend_pid)

        await store.run(note)
        database = only_postgres.database(str(tmp_path))
        with psycopg.connect(only_postgres.url(database), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
            connection.execute("SELECT pg_terminate_backend(%s, 10000)", (pids[0],))
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await accepted(store, a_fax())
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
        await accepted(store, a_fax())

    with_store(tmp_path, scenario)


def test_text_that_postgresql_cannot_hold_is_stored_with_a_replacement(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        await accepted(store, a_fax(tags={"a": "x\0y", "b": "\ud800z"}, client="\0"))
        [fax] = await store.run(lambda tx: tx.faxes.newest())
        assert (fax.tags, fax.client) == ({"a": "x\ufffdy", "b": "\ufffdz"}, "\ufffd")

    with_store(tmp_path, scenario)


def test_text_is_stored_as_it_is_whatever_encoding_clients_have_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    fax = a_fax(client="שלום", tags={"ש": "é€"})

    async def scenario(store: SqlStore) -> None:
        await accepted(store, fax)

    with_store(tmp_path, scenario)
    monkeypatch.undo()
    assert ask(tmp_path, "SELECT client, tags FROM fax") == [(fax.client, fax.tags)]


def test_migrate_creates_the_tables_once_and_a_store_without_them_says_so(only_postgres: PostgresServer) -> None:
    url = only_postgres.url(only_postgres.create("empty"))

    async def opened() -> None:
        async with PostgresStore(url, lambda fax: {}, lambda event: [], unsafe=True):
            pass

    with pytest.raises(StoreUnavailable, match="run mailbridge migrate"):
        asyncio.run(opened())
    assert postgres.migrate(url, unsafe=True) == (0, schema.SCHEMA_VERSION)
    assert postgres.migrate(url, unsafe=True) == (schema.SCHEMA_VERSION,) * 2
    asyncio.run(opened())
    with pytest.raises(StoreUnavailable, match="fsync = off, and would lose faxes in a crash"):
        postgres.migrate(url)


@DIRECT
def test_p12_a_silent_server_fails_whoever_waits_for_it_and_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_connection, "_SILENCE", 0.2)

    def process(tx: Any) -> int:
        return int(tx._sql.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())

    async def scenario(store: SqlStore) -> None:
        hung = await store.run(process)
        os.kill(hung, signal.SIGSTOP)
        try:
            failed = await asyncio.gather(*(store.run(process) for _ in range(100)), return_exceptions=True)
            assert {str(error) for error in failed} == {
                "the database cannot be written (the database server has not answered for 0.2 s)"
            }
            assert await store.run(process) != hung
        finally:
            os.kill(hung, signal.SIGCONT)

    with_store(tmp_path, scenario)


@DIRECT
def test_p12_a_stop_does_not_wait_for_a_silent_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_connection, "_SILENCE", 86400.0)
    monkeypatch.setattr(postgres, "_AT_STOP", 0.2)

    async def main() -> None:
        store = a_store(tmp_path)
        await store.__aenter__()
        others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        hung = [pid for (pid,) in ask(tmp_path, others)]
        for pid in hung:
            os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(PATIENCE):
                await store.__aexit__(None, None, None)
        finally:
            for pid in hung:
                os.kill(pid, signal.SIGCONT)

    asyncio.run(main())


class LaterStep:
    """A migration to a later schema, which nodes of this version can use too."""

    @staticmethod
    def upgrade(op: Any) -> None:
        op.add_column("fax", Column("new", Text))
        op.execute("INSERT INTO meta (key, value) VALUES ('oldest', '5')")


@DIRECT
def test_p19_a_step_of_a_later_version_runs_while_nodes_of_this_one_work(
    tmp_path: Path, only_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(store: SqlStore) -> None:
        await accepted(store, a_fax())
        with monkeypatch.context() as later:
            later.setattr(schema, "SCHEMA_VERSION", 6)
            later.setattr(migrations, "import_module", {"mailbridge.store.migrations.to_6": LaterStep}.__getitem__)
            with pytest.raises(StoreUnavailable, match="has schema 5, this mailbridge needs 6; run mailbridge migrate"):
                await a_store(tmp_path).__aenter__()
            url = only_postgres.url(only_postgres.database(str(tmp_path)))
            assert await asyncio.to_thread(postgres.migrate, url, unsafe=True) == (5, 6)
            assert await asyncio.to_thread(postgres.migrate, url, unsafe=True) == (6, 6)
        await accepted(store, a_fax())
        async with a_store(tmp_path) as other:
            assert len(await other.run(lambda tx: tx.faxes.newest())) == 2

    with_store(tmp_path, scenario)


@DIRECT
def test_p19_migrate_steps_back_where_a_table_is_locked(
    tmp_path: Path, only_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = only_postgres.database(str(tmp_path))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 6)
    monkeypatch.setattr(postgres, "_MIGRATION_LIMITS", "SET LOCAL lock_timeout = '1ms'")
    monkeypatch.setattr(migrations, "import_module", {"mailbridge.store.migrations.to_6": LaterStep}.__getitem__)
    with psycopg.connect(only_postgres.url(database)) as busy:
        busy.execute("SELECT count(*) FROM fax")
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            postgres.migrate(only_postgres.url(database), unsafe=True)
    assert postgres.migrate(only_postgres.url(database), unsafe=True) == (5, 6)


class Server:
    """A server with these settings."""

    def __init__(self, **settings: str) -> None:
        self._settings = {
            **{"server_version_num": "140000", "server_encoding": "UTF8", "transaction_read_only": "off"},
            **dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "on"),
            **settings,
        }

    def exec_driver_sql(self, question: str) -> Server:
        self._answer = self._settings[question.removeprefix("SHOW ")]
        return self

    def scalar_one(self) -> str:
        return self._answer


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"server_version_num": "130014"}, "PostgreSQL 13 is too old; mailbridge needs 14 or newer"),
        ({"server_encoding": "SQL_ASCII"}, "does not store UTF-8"),
        ({"transaction_read_only": "on"}, "is read-only"),
        ({"fsync": "off"}, "fsync = off"),
        ({"synchronous_commit": "off"}, "synchronous_commit = off"),
    ],
)
def test_a_server_that_cannot_keep_the_promises_is_refused(settings: dict[str, str], fault: str) -> None:
    with pytest.raises(StoreUnavailable, match=fault):
        postgres_requirements.check_server(cast(Connection, Server(**settings)), unsafe=False)
    postgres_requirements.check_server(cast(Connection, Server(synchronous_commit="off", fsync="off")), unsafe=True)
    postgres_requirements.check_server(cast(Connection, Server(synchronous_commit="remote_apply")), unsafe=False)


def test_a_full_disk_of_the_server_is_reported_with_its_remedy() -> None:
    error = OperationalError("INSERT", {}, psycopg.errors.DiskFull("could not extend file"))
    found = PostgresFaults().unavailable(error, committing=False)
    remedy = "the disk of the database server is full; make room there: nothing that was accepted is lost"
    assert str(found) == f"the database cannot be written: {remedy}"


@pytest.mark.parametrize("url", ["postgresql://", "mysql://x@y/z", "::"])
def test_a_url_that_cannot_be_used_is_reported_without_repeating_it(url: str) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        postgres.migrate(f"{url}hunter2@nowhere")
    assert "hunter2" not in str(refused.value)
