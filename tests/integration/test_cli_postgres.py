"""Commands with `store.url`: they need no daemon on this machine, and say what a database lacks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mailbridge import stores
from mailbridge.config import Config, load
from mailbridge.errors import ConfigError
from mailbridge.store import postgres_check
from mailbridge.store.postgres import PostgresStore
from mailbridge.store.shared_spool import SharedSpool
from tests.factories import NOW, a_fax, an_envelope
from tests.integration.cli_fixtures import one_line, run, serving, write_config
from tests.postgres_server import PostgresServer
from tests.wait_helpers import until


@pytest.fixture(autouse=True)
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres_server
    postgres_server.drop_all()


def configured(folder: Path, url: str, more: str = "unsafe = true") -> Path:
    """Write a configuration for a machine that has never had a daemon."""
    return write_config(folder, f'[store]\nurl = "{url}"\n{more}\n', state=folder / "nowhere")


@pytest.fixture
def config(tmp_path: Path, server: PostgresServer) -> Path:
    return configured(tmp_path, server.url(server.database("a")))


def printed(config: Path, *arguments: str) -> Any:
    done = run(*arguments, "--json", "--config", config)
    assert done.status == 0, done.errors
    return json.loads(done.output)


def stored(server: PostgresServer, database: str, count: int = 1, *triggers: Any) -> list[str]:
    """Store faxes, queued or moved by these triggers, as a node that has ended since."""

    async def main() -> list[str]:
        faxes = [a_fax() for _ in range(count)]
        async with PostgresStore(server.url(database), lambda fax: {}, lambda event: [], unsafe=True) as store:
            await store.run(lambda tx: tx.submissions.add(an_envelope(), faxes, None, NOW))
            for trigger in triggers:
                for fax in faxes:
                    await store.run(lambda tx, id=fax.id, by=trigger: tx.faxes.transition(id, by, NOW))  # type: ignore[misc]  # a default has no type
        return [fax.id for fax in faxes]

    return asyncio.run(main())


def test_migrate_creates_the_tables_once(tmp_path: Path, server: PostgresServer) -> None:
    config = configured(tmp_path, server.url(server.create("empty")))
    for command, of in (("queue", config), ("serve", config_of_a_daemon(tmp_path / "daemon", server.url("empty")))):
        refused = run(command, "--config", of)
        fault = "mailbridge: the database of store.url has no tables of mailbridge; run mailbridge migrate"
        assert (refused.status, refused.errors.splitlines()[-1]) == (1, fault)
    assert run("migrate", "--config", config).output == "created the tables of schema 5\n"
    assert printed(config, "migrate") == {"found": 5, "now": 5}
    assert printed(config, "queue") == []
    server.ask("empty", "UPDATE meta SET value = '9' WHERE key = 'schema'")
    for command in ("queue", "migrate", "serve"):
        done = run(command, "--config", config)
        assert (done.status, "has schema 9, this mailbridge knows 5" in done.errors) == (78, True)


def test_a_program_that_a_newer_schema_still_suits_goes_on(config: Path, server: PostgresServer) -> None:
    database = server.database("a")
    server.ask(database, "UPDATE meta SET value = '6' WHERE key = 'schema'")
    server.ask(database, "INSERT INTO meta (key, value) VALUES ('oldest', '5')")
    assert printed(config, "queue") == []
    assert printed(config, "migrate") == {"found": 6, "now": 6}
    server.ask(database, "UPDATE meta SET value = '6' WHERE key = 'oldest'")
    assert run("queue", "--config", config).status == 78


def test_every_query_and_action_works_without_a_daemon(config: Path, server: PostgresServer) -> None:
    [first, second] = stored(server, server.database("a"), 2)
    assert {fax["id"] for fax in printed(config, "queue")} == {first, second}
    assert printed(config, "show", first)["state"] == "queued"
    assert printed(config, "cancel", first)["state"] == "cancelled"
    assert printed(config, "hold")["held"] == "all"
    assert printed(config, "resume")["held"] == []
    assert printed(config, "retry", second)["state"] == "queued"
    assert printed(config, "usage", "--month", f"{NOW:%Y-%m}")["rows"][0]["faxes"] == 2
    changes = {"fax.queued", "fax.cancelled", "account.paused", "account.resumed"}
    assert {event["type"] for event in printed(config, "events")} == changes
    assert printed(config, "deliveries") == []
    assert printed(config, "nodes") == []
    assert run("nodes", "--config", config).output == "no daemon works on the database\n"


def test_nodes_lists_the_daemons_and_what_each_does_alone(tmp_path: Path, config: Path) -> None:
    (tmp_path / "a").mkdir()
    more = f'{config.read_text().partition("[store]")[2]}\n[node]\nname = "fax-a"\n'
    its = write_config(tmp_path / "a", f"[store]{more}")
    with serving(its):
        [node] = printed(config, "nodes")
        assert (node["name"], node["alive"]) == ("fax-a", True)
        assert {"id", "version", "started_at", "seen_at", "leases"} <= node.keys()
        assert printed(its, "nodes")[0]["id"] == node["id"]

        async def leased() -> None:
            await until(lambda: {"poller", "retention"} <= set(printed(config, "nodes")[0]["leases"]))

        asyncio.run(leased())
        lines = run("nodes", "--config", config).output.splitlines()
        assert lines[0].split() == ["NAME", "ID", "VERSION", "STATE", "STARTED", "SEEN", "LEASES"]
        assert "poller, retention" in lines[1]
    assert printed(config, "nodes") == []


def checked(config: Path) -> tuple[int, list[str], list[str]]:
    """Return the status of `check`, what it says about the store, and its warnings."""
    done = run("check", "--json", "--config", config)
    answer = json.loads(done.output)
    of_store = [f"{'ok' if one['ok'] else 'FAILED'} {one['words']}" for one in answer["checks"] if one["part"] == "store"]
    return done.status, of_store, [one["key"] for one in answer["warnings"]]


def test_check_says_all_that_a_database_lacks(tmp_path: Path, server: PostgresServer) -> None:
    url = server.url(server.create("empty"))
    status, said, _ = checked(configured(tmp_path, url, "unsafe = false"))
    assert status == 1
    assert said == [
        "FAILED the database server has fsync = off, and would lose faxes in a crash; set it to on",
        "FAILED the database of store.url has no tables of mailbridge; run mailbridge migrate",
    ]
    config = configured(tmp_path, url)
    assert run("migrate", "--config", config).status == 0
    status, [said_now], warnings = checked(config)
    assert (status, said_now.startswith("ok PostgreSQL "), "store.listen_url" in warnings) == (0, True, False)
    assert "store.unsafe" in warnings
    server.ask("empty", "DROP ROLE IF EXISTS stranger")
    server.ask("empty", "CREATE ROLE stranger LOGIN")
    status, [said_of_rights], _ = checked(configured(tmp_path, url.replace("tests@", "stranger@")))
    assert (status, said_of_rights.startswith("FAILED the database user lacks")) == (1, True), said_of_rights


def test_check_warns_of_a_pool_that_passes_nothing_on(tmp_path: Path, server: PostgresServer, postgres_pool: Path) -> None:
    server.pool = postgres_pool
    try:
        pooled = server.client_url(server.database("a"))
        assert checked(configured(tmp_path, pooled))[2].count("store.listen_url") == 1
        listening = f'unsafe = true\nlisten_url = "{server.url(server.database("a"))}"'
        assert checked(configured(tmp_path, pooled, listening))[2].count("store.listen_url") == 0
    finally:
        server.pool = None


def test_check_warns_of_a_server_whose_clock_is_wrong(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_check, "_NOW", text("SELECT clock_timestamp() + interval '1 hour'"))
    found = stores.check_database(load(config, {}))
    assert found is not None
    assert [str(one).partition(";")[0] for one in found.warnings] == [
        "store.url: the clock of the database server differs by 3600 s from this machine's"
    ]


@pytest.mark.parametrize("command", ["check", "queue", "migrate", "serve", "nodes"])
def test_no_error_repeats_a_password(tmp_path: Path, command: str) -> None:
    config = configured(tmp_path, "postgresql://mailbridge:hunter2@127.0.0.1:1/mailbridge")
    done = run(command, "--config", config)
    assert done.status == 1
    assert "hunter2" not in done.errors + done.output
    assert "the database of store.url cannot be used: " in done.errors + done.output


def test_without_the_extra_the_error_names_it(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr(stores, "import_module", missing)
    options = {"account": {"office": {"email": "a@b.co.il", "password": "x"}}, "store": {"url": "postgresql://a@b/c"}}
    with pytest.raises(ConfigError) as error:
        stores.migrate(Config.model_validate(options))
    said = "store.url: PostgreSQL needs packages that are not installed (psycopg); run pip install 'mailbridge[postgres]'"
    assert str(error.value) == said


def test_backup_and_restore_of_files_name_the_tools_of_postgresql(tmp_path: Path, config: Path) -> None:
    for arguments, tool in ((("backup", tmp_path / "b"), "pg_dump"), (("restore", tmp_path), "pg_restore")):
        refused = run(*arguments, "--config", config)
        assert (refused.status, tool in one_line(refused)) == (78, True)


def restored(server: PostgresServer, database: str, folder: Path) -> str:
    """Dump a database, and restore it into a new one; return that."""
    file = server.directory / "dump"
    where = ("-h", str(server.directory), "-U", "tests")
    server.run("pg_dump", *where, "--format=custom", f"--file={file}", database)
    server.create("copy", "template0")
    server.run("pg_restore", *where, "--dbname=copy", str(file))
    return server.url("copy")


def test_a_database_that_was_restored_sends_nothing_until_a_person_has_settled_it(
    tmp_path: Path, config: Path, server: PostgresServer
) -> None:
    database = server.database("a")
    with serving(config_of_a_daemon(tmp_path, server.url(database))):
        refused = run("restore", "--config", config)
        assert (refused.status, "stop them first" in one_line(refused)) == (1, True)
    queued, uploading = stored(server, database)[0], stored(server, database, 1, "claim")[0]
    submitted = stored(server, database, 1, "claim", "accept")[0]
    copy = config_of_a_daemon(tmp_path / "copy", restored(server, database, tmp_path))
    done = run("serve", "--config", copy)
    assert (done.status, "is a copy of another one" in done.errors) == (78, True), done.errors
    assert sorted(printed(copy, "restore")["in_doubt"]) == sorted([queued, uploading])
    assert printed(copy, "show", queued)["restored_at"] is not None
    assert printed(copy, "show", submitted)["state"] == "submitted"
    with serving(copy):
        assert printed(copy, "show", queued)["state"] == "in_doubt"


def test_a_database_that_has_moved_goes_on(tmp_path: Path, config: Path, server: PostgresServer) -> None:
    with serving(config_of_a_daemon(tmp_path, server.url(server.database("a")))):
        pass
    [queued] = stored(server, server.database("a"))
    copy = config_of_a_daemon(tmp_path / "copy", restored(server, server.database("a"), tmp_path))
    assert printed(copy, "restore", "--moved") == {"in_doubt": []}
    assert printed(copy, "show", queued)["state"] == "queued"
    with serving(copy):
        pass


def config_of_a_daemon(folder: Path, url: str) -> Path:
    folder.mkdir(exist_ok=True)
    return write_config(folder, f'[store]\nurl = "{url}"\nunsafe = true\n')


def test_show_saves_a_document_from_the_database(tmp_path: Path, config: Path, server: PostgresServer) -> None:
    content = b"%PDF" * 200_000

    async def main() -> str:
        async with PostgresStore(server.url(server.database("a")), lambda fax: {}, lambda event: [], unsafe=True) as store:
            assert store.bodies is not None
            path, size = SharedSpool(tmp_path / "elsewhere", store.bodies).store_received("fax_1", content), len(content)
            document = replace(a_fax().documents[0], encoding="identity", path=path, offset=0, length=size, size=size)
            fax = a_fax(documents=(document,))
            await store.run(lambda tx: tx.submissions.add(an_envelope(), [fax], None, NOW))
        return fax.id

    fax_id = asyncio.run(main())
    assert run("show", fax_id, "--save", tmp_path / "saved", "--config", config).status == 0
    assert (tmp_path / "saved/a.pdf").read_bytes() == content
    server.ask(server.database("a"), "DELETE FROM body")
    refused = run("show", fax_id, "--save", tmp_path / "saved", "--config", config)
    assert "no longer in the spool" in one_line(refused)
