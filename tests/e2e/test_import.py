"""A daemon with SQLite is killed under load, its state is imported into PostgreSQL, and a node goes on there."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path

import pytest

from mailbridge.page.text_page import render
from tests.e2e.environment import Environment
from tests.e2e.test_backup import FAST, sent
from tests.e2e.test_kill import Client, settled
from tests.postgres_server import PostgresServer
from tests.wait_helpers import until

ENDINGS = ("43",) * 8 + ("01", "06")
_STORE = '\n[store]\nurl = "{}"\nunsafe = true\n'


@pytest.mark.database("sqlite", reason="this is how one leaves it")
def test_a_killed_daemon_is_imported_and_no_fax_is_lost_or_sent_twice(
    tmp_path: Path, free_port: int, postgres_server: PostgresServer
) -> None:
    url = postgres_server.client_url(postgres_server.create("imported"))
    asyncio.run(_import_under_load(tmp_path, free_port, url))
    postgres_server.drop_all()


async def refused(env: Environment, *args: str) -> str:
    status, output, errors = await env.command(*args)
    assert (status, output, errors.count("\n")) == (78, "", 1), (status, output, errors)
    return errors


async def _import_under_load(folder: Path, port: int, url: str) -> None:
    done = threading.Event()
    page, _ = render("A page.")
    clients = [Client(f"client{n}", [port], page, done, ENDINGS, digit=5 + n) for n in range(3)]
    env = Environment(folder, more=FAST, step=0.05, smtp_port=port, uploads=3)
    async with env:
        await env.start_myfax()
        await env.start()
        for client in clients:
            client.start()
        try:
            await until(lambda: sum(len(client.accepted) for client in clients) >= 30)
        finally:
            done.set()
            for client in clients:
                await asyncio.to_thread(client.join)
        with_sqlite = env.config.read_text(encoding="utf-8")
        env.config.write_text(with_sqlite + _STORE.format(url), encoding="utf-8")
        assert "another mailbridge already works on" in await refused(env, "import", "--from-sqlite", str(env.state))
        await env.kill()
        accepted = {id: message for client in clients for message, id in client.accepted.items()}
        before = sent(env)
        moved = await env.printed("import", "--from-sqlite", str(env.state))
        assert moved["rows"]["fax"] >= len(accepted)
        await env.start()
        faxes = await settled(env)
        known = {fax["id"]: fax["message_id"] for fax in faxes}
        assert {id: known.get(id) for id in accepted} == accepted
        assert not [token for token, times in sent(env).items() if times > 1]
        assert before <= sent(env)
        states = Counter(fax["state"] for fax in faxes)
        assert set(states) <= {"delivered", "failed", "in_doubt"}, states
        await env.stop()
        env.config.write_text(with_sqlite, encoding="utf-8")
        assert "mailbridge import has moved what is in" in await refused(env, "queue")
