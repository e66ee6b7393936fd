"""Rows P2 and P3: a node is stopped in the middle of an upload (SIGSTOP), loses its work to another, and goes on (SIGCONT)."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.environment import Environment
from tests.e2e.several_nodes import name_of_uploader, nodes
from tests.e2e.test_durability import a_mail, accepted
from tests.tcp_proxy import running_proxy
from tests.wait_helpers import until

pytestmark = pytest.mark.database("postgresql", reason="SQLite has one node")
BEFORE_MARK = 20_000  # bytes
# A commit that marks an upload as whole waits until the gate has a row.
GATE = """
CREATE TABLE gate (is_open bool);
CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WHILE NOT EXISTS (SELECT FROM gate) LOOP PERFORM pg_sleep(0.01); END LOOP;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER gate AFTER UPDATE ON fax DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN ((NEW.attempts -> -1 ->> 'whole_at') IS NOT NULL AND (OLD.attempts -> -1 ->> 'whole_at') IS NULL)
EXECUTE FUNCTION wait_at_gate()
"""
WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query = 'COMMIT' AND wait_event = 'PgSleep'"
MARKED = "SELECT 1 FROM fax WHERE (attempts -> -1 ->> 'whole_at') IS NOT NULL"


async def uploader_of(daemons: list[Environment], fax: str) -> tuple[Environment, Environment]:
    """Return the node that uploads the fax, once one does, and the other."""
    await until(lambda: name_of_uploader(daemons[0], fax))
    name = name_of_uploader(daemons[0], fax)
    one, other = daemons
    return (one, other) if one.name == name else (other, one)


def test_p2_a_node_that_is_stopped_before_the_mark_never_sends_the_last_bytes(tmp_path: Path) -> None:
    async def main() -> None:
        async with nodes(tmp_path, 2, myfax=False) as daemons:
            simulator, port = daemons[0].simulator, daemons[0].myfax_port
            address = urlsplit(await simulator.start())
            try:
                with running_proxy(lambda: socket.create_connection((address.hostname, address.port)), port) as proxy:
                    proxy.held = BEFORE_MARK
                    fax = await accepted(daemons[0], a_mail(size=8_000_000))
                    await until(lambda: proxy.connections and proxy.connections[0].received >= BEFORE_MARK)
                    paused, other = await uploader_of(daemons, fax)
                    paused.signal(signal.SIGSTOP)
                    proxy.held = None
                    paused.let_lease_pass()
                    await other.becomes(fax, "delivered")
                    assert name_of_uploader(other, fax) in (other.name, None)
                    paused.signal(signal.SIGCONT)
                    proxy.connections[0].hold(None)
                    await until(lambda: proxy.connections[0].has_ended)
                    assert proxy.connections[0].received < 8_000_000 + BEFORE_MARK
                    assert len(simulator.uploads) == 1
                    shown = await paused.becomes(fax, "delivered")
                    assert [bool(attempt["whole_at"]) for attempt in shown["attempts"]] == [False, True]
            finally:
                await simulator.stop()

    asyncio.run(main())


def test_p3_a_node_that_is_stopped_after_the_mark_leaves_a_doubt_which_its_answer_ends(tmp_path: Path) -> None:
    async def main() -> None:
        async with nodes(tmp_path, 2) as daemons:
            daemons[0].ask_database(GATE)
            fax = await accepted(daemons[0], a_mail())
            await until(lambda: daemons[0].ask_database(WAITING))
            paused, other = await uploader_of(daemons, fax)
            paused.signal(signal.SIGSTOP)
            other.ask_database("INSERT INTO gate VALUES (true)")
            await until(lambda: other.ask_database(MARKED))
            paused.let_lease_pass()
            await other.becomes(fax, "in_doubt")
            assert other.simulator.uploads == []
            paused.signal(signal.SIGCONT)
            await other.becomes(fax, "delivered")
            assert len(other.simulator.uploads) == 1

    asyncio.run(main())
