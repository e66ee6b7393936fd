"""`mailbridge import --from-sqlite`: everything comes along, once, and nothing is left that could be faxed twice."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from sqlalchemy import Table, create_engine, select

from mailbridge import sqlite_import, stores
from mailbridge.config import Config, load
from mailbridge.errors import StoreUnavailable, Undecided
from mailbridge.lifecycle import FaxState
from mailbridge.model import Document
from mailbridge.notice.planner import Planner
from mailbridge.store import postgres_connection, schema
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.postgres_import import ImportTarget
from mailbridge.store.shared_spool import SharedSpool
from mailbridge.store.sqlite_source import OWN_FACTS
from mailbridge.store.state_dir import lock_state_dir, moved_to
from tests.factories import NOW, a_fax, an_envelope
from tests.integration.cli_fixtures import Done, one_line, run, write_config
from tests.postgres_server import PostgresServer
from tests.store.factories import a_mail, ask
from tests.store.test_migrations import make_old

STATES = get_args(FaxState)


@pytest.fixture(autouse=True)
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres_server
    postgres_server.drop_all()


@pytest.fixture
def target(tmp_path: Path, server: PostgresServer) -> Path:
    """A configuration with an empty database, of a machine that has had no daemon."""
    url = server.url(server.create("target"))
    return write_config(tmp_path, f'[store]\nurl = "{url}"\nunsafe = true\n', state=tmp_path / "new")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A state_dir with something in every table: of the frozen schema 3, with more, and its files."""
    state = make_old(tmp_path / "old", 3)
    spool = LocalSpool(state / "spool")
    asyncio.run(_fill(state, spool))
    # The frozen database came without files.
    for (name,) in ask(state, "SELECT path FROM envelope UNION SELECT document FROM event WHERE document IS NOT NULL"):
        path = state / "spool" / name
        if ".segment" not in name and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
    (state / "link.key").write_bytes(b"k" * 32)
    tokens = {"configured": "digest", "refresh_token": "hunter2-refresh"}
    (state / "oauth2-of%2Ffice.json").write_text(json.dumps(tokens), encoding="utf-8")
    return state


async def _fill(state: Path, spool: LocalSpool) -> None:
    config = load(with_sqlite(state), {})
    async with stores.open_store(config) as store:
        for fax in await a_mail(store, spool, *STATES):
            placed = tuple(replace(document, offset=1) for document in fax.documents)
            await store.run(lambda tx, id=fax.id, new=placed: tx.faxes.update(id, documents=new))  # type: ignore[misc]  # a default has no type
        for one in range(3):
            mail = spool.receive(f"env_01KE4B8W3PZQ7T5RMN2VXJ6HC{one}")
            mail.write(b"small mail %d" % one)
            await mail.store(b"derived %d" % one)
            fax = a_fax(documents=(replace(a_fax().documents[0], path=mail.relpath, offset=12, length=9),))
            envelope = an_envelope(path=mail.relpath, size=12, user="dana")
            await store.run(lambda tx, e=envelope, f=fax: tx.submissions.add(e, [f], "key", NOW))  # type: ignore[misc]  # a default has no type
            mail.keep()
        await store.run(lambda tx: tx.conditions.hold_sending("office", on=True))
        await store.run(lambda tx: tx.sending.add_doubt("office", 1, NOW))
        await store.run(lambda tx: tx.audit.note("login", "dana", None, {"client": "192.0.2.1", "text": "a\0b \ud800"}, NOW))
        await store.run(lambda tx: tx.stopped_webhooks.add("crm", "HTTP 410", NOW))


def with_sqlite(state: Path) -> Path:
    """A configuration for SQLite in this state_dir."""
    folder = state.parent / "with_sqlite"
    folder.mkdir(exist_ok=True)
    return write_config(folder, state=state)


def loaded(config: Path) -> Config:
    return load(config, {})


def import_(config: Path, source: Path, *more: str) -> Done:
    return run("import", "--from-sqlite", source, "--config", config, *more)


def url_of(config: Path) -> str:
    url = loaded(config).store.url
    assert url is not None
    return url.get_secret_value()


def cleaned(value: Any) -> Any:
    """As PostgreSQL can hold it."""
    written = json.dumps(value) if isinstance(value, dict | list) else value
    if isinstance(written, str):
        written = written.replace("\\u0000", "\\ufffd").replace("\\ud800", "\\ufffd").replace("\0", "\ufffd")
    return json.loads(written) if isinstance(value, dict | list) else written


def rows_of(engine: Any, table: Table) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        found = [dict(row) for row in connection.execute(select(table)).mappings()]
    rows = [{name: cleaned(value) for name, value in row.items()} for row in found]
    if table is schema.meta:
        rows = [row for row in rows if row["key"] not in OWN_FACTS]
    if table is schema.counter:
        rows = [row for row in rows if row["n"]]
    key = [column.name for column in table.primary_key.columns]
    return sorted(rows, key=lambda row: [str(row[name]) for name in key])


def assert_same_rows(source: Path, config: Path) -> None:
    old = create_engine(f"sqlite:///{source}/mailbridge.sqlite3")
    new = postgres_connection.engine(url_of(config))
    for table in schema.metadata.sorted_tables:
        here, there = rows_of(old, table), rows_of(new, table)
        if table is schema.secret:
            here = [{"name": "link key", "value": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="}]
        elif table is schema.oauth_token:
            assert [(row["mailbox"], row["configured"], row["refresh_token"]) for row in there] == [
                ("of/fice", "digest", "hunter2-refresh")
            ]
            continue
        elif table is schema.fax:
            for row in (*here, *there):
                row["documents"] = [{**one, "path": "", "offset": 0} for one in row["documents"]]
        assert there == here, table.name
        assert here or table.name in {"former_token", "delivery_try", "received_note", "console_session", "poll_request", "draft"}
    old.dispose()
    new.dispose()


def documents(source: Path, config: Path) -> None:
    """Read each document of each fax from both, and compare the bytes."""
    old = LocalSpool(source / "spool")
    compared: set[str] = set()
    deleted = {id for (id,) in ask(source, "SELECT id FROM fax WHERE documents_deleted_at IS NOT NULL")}

    async def main() -> None:
        async with stores.open_store(loaded(config)) as store:
            new = SharedSpool(source.parent / "cache", store.bodies)  # type: ignore[arg-type]  # of PostgresStore
            for fax in await store.run(lambda tx: tx.faxes.newest(limit=1000)):
                before = [Document(**one) for one in json.loads(ask(source, FAX_DOCUMENTS, fax.id)[0][0])]
                assert len(before) == len(fax.documents)
                for one, other in zip(before, fax.documents, strict=True):
                    if one.path and fax.id not in deleted:
                        expected = content(old, one)
                        assert not expected or content(new, other) == expected, (one, other)
                        compared.update([one.path.rpartition(".")[2]] if expected else [])

    asyncio.run(main())
    assert {"eml", "derived"} <= compared
    assert any(name.startswith("segment/") for name in compared)


FAX_DOCUMENTS = "SELECT documents FROM fax WHERE id = ?"


def content(spool: Any, document: Document) -> bytes:
    with spool.open(document.path) as file:
        file.seek(document.offset)
        return bytes(file.read(document.length))


def test_every_row_and_body_comes_along_and_the_source_is_not_used_again(source: Path, target: Path) -> None:
    done = import_(target, source)
    assert done.status == 0, done.errors
    assert "hunter2" not in done.output + done.errors
    assert "faxes were being sent" in done.output
    assert_same_rows(source, target)
    documents(source, target)
    # With SQLite nothing starts there any more, and another import says that it is done.
    other = with_sqlite(source)
    for command in (["serve"], ["queue"], ["migrate"]):
        refused = run(*command, "--config", other)
        assert (refused.status, "mailbridge import has moved what is in" in refused.errors) == (78, True), refused.errors


def test_a_second_run_changes_nothing_and_another_database_gets_nothing(
    source: Path, target: Path, server: PostgresServer, tmp_path: Path
) -> None:
    assert import_(target, source).status == 0
    again = import_(target, source)
    assert (again.status, again.output.startswith("an earlier run has moved ")) == (0, True)
    assert_same_rows(source, target)
    url = server.url(server.create("second"))
    folder = tmp_path / "second"
    folder.mkdir()
    second = write_config(folder, f'[store]\nurl = "{url}"\nunsafe = true\n')
    refused = import_(second, source)
    assert (refused.status, "faxes may have been sent there since" in refused.errors) == (78, True)


def test_a_dry_run_changes_nothing(source: Path, target: Path, server: PostgresServer) -> None:
    unstable = ("lock", "mailbridge.sqlite3-wal", "mailbridge.sqlite3-shm")

    def everything() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in source.rglob("*") if path.is_file() and path.name not in unstable}

    before = everything()
    done = import_(target, source, "--dry-run", "--json")
    assert done.status == 0, done.errors
    found = json.loads(done.output)
    assert (found["dry_run"], found["done_before"], found["missing"]) == (True, False, [])
    assert everything() == before
    assert server.ask("target", "SELECT count(*) FROM pg_class WHERE relname = 'meta'") == [(0,)]
    really = json.loads(import_(target, source, "--json").output)
    same = ("rows", "bodies", "size", "uploading")
    assert [found[name] for name in same] == [really[name] for name in same]


def test_what_is_refused(source: Path, target: Path, tmp_path: Path, server: PostgresServer) -> None:
    lock = lock_state_dir(source)
    assert "another mailbridge already works on" in import_(target, source).errors
    os.close(lock)
    assert "has no mailbridge.sqlite3" in one_line(import_(target, tmp_path))
    assert "store.url: is not set" in one_line(import_(with_sqlite(source), source))


def test_a_database_that_has_something_is_refused(source: Path, target: Path) -> None:
    async def fill() -> None:
        config = loaded(target)
        stores.migrate(config)
        async with stores.open_store(config) as store:
            await store.run(lambda tx: tx.audit.note("login", "dana", None, {}, NOW))

    asyncio.run(fill())
    for more in ([], ["--dry-run"]):
        refused = one_line(import_(target, source, *more))
        assert refused == "the database is not empty: its table audit has rows; import into a new database"
    assert moved_to(source) is None


def test_a_database_that_a_daemon_uses_is_refused(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        config = loaded(target)
        stores.migrate(config)
        async with stores.open_for_daemon(config, 0.0, stores.ConfiguredRoute(config), Planner(config)):
            done = await asyncio.to_thread(import_, target, source)
            assert "uses the database; stop it first" in one_line(done)

    asyncio.run(main())


def test_a_missing_mail_is_named_and_refused_unless_damaged(source: Path, target: Path) -> None:
    [(name,)] = ask(source, "SELECT path FROM envelope WHERE path LIKE '%.eml' AND path NOT LIKE '%01KE3Y%' LIMIT 1")
    (source / "spool" / name).unlink()
    dry = import_(target, source, "--dry-run")
    assert (dry.status, f"{name} is missing in the spool" in dry.errors) == (1, True)
    assert "add --damaged to go on" in one_line(import_(target, source))
    assert moved_to(source) is None
    assert import_(target, source, "--damaged").status == 0


@pytest.mark.parametrize("undecided", [False, True])
def test_an_import_that_fails_in_its_last_transaction_is_run_again(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, undecided: bool
) -> None:
    config = loaded(target)
    real = ImportTarget.copy_rows

    def fail(*given: Any) -> Any:
        if undecided:
            real(*given)
            raise Undecided("the connection is lost")
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(ImportTarget, "copy_rows", fail)
    with pytest.raises(StoreUnavailable):
        sqlite_import.import_sqlite(config, source, dry_run=False, damaged=False, progress=lambda *_: None)
    marked = moved_to(source)
    assert (marked is not None) is undecided
    if undecided:
        refused = run("serve", "--config", with_sqlite(source))
        assert (refused.status, "was interrupted; run mailbridge import again" in refused.errors) == (78, True)
    monkeypatch.undo()
    again = sqlite_import.import_sqlite(config, source, dry_run=False, damaged=False, progress=lambda *_: None)
    assert again.done_before is undecided
    marked = moved_to(source)
    assert marked is not None
    assert marked.complete
