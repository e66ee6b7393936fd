"""Rows P11 and P12: the database server is killed, fails over to a standby, or cannot be heard any more."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import environment
from tests.e2e.environment import Environment
from tests.e2e.several_nodes import nodes
from tests.e2e.test_durability import a_mail, accepted, assert_deferred, ready, send
from tests.loopback_ports import reserved_port
from tests.postgres_server import PostgresServer, running_server, running_standby
from tests.tcp_proxy import running_proxy
from tests.wait_helpers import until

pytestmark = pytest.mark.database("postgresql", reason="SQLite has no server")


async def is_accepted(env: Environment, mail: bytes, faxes: list[str]) -> bool:
    """Whether a mail is accepted; add its fax."""
    answer = await send(env, mail)
    if not answer.startswith("250 "):
        assert_deferred(env, answer)
        return False
    faxes.append(answer.split()[4])
    return True


async def assert_all_faxed(env: Environment, faxes: list[str]) -> None:
    """Check that these are all faxes, and that MyFax gets each once."""
    assert sorted(fax["id"] for fax in await env.ask("queue")) == sorted(faxes)
    for fax in faxes:
        await env.retry_now(fax)
        await env.becomes(fax, "delivered")
    assert len(env.simulator.uploads) == len(faxes)


@contextmanager
def two_servers() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """Run a server, and a standby without which it commits nothing."""
    with (
        reserved_port() as one,
        reserved_port() as other,
        running_server(one) as primary,
        running_standby(primary, other) as standby,
    ):
        yield primary, standby


def test_p11_daemons_go_on_after_their_server_was_restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with running_server() as server:
            monkeypatch.setattr(environment, "server", server)
            async with nodes(tmp_path, 2, myfax=False) as daemons:
                faxes = [await accepted(daemons[0], a_mail("<0@example.co.il>"))]
                server.stop()
                for env in daemons:
                    assert_deferred(env, await send(env, a_mail("<1@example.co.il>")))
                    await assert_not_ready_yet(env)
                server.start()
                for number, env in enumerate(daemons, 1):
                    await until(lambda env=env, number=number: is_accepted(env, a_mail(f"<{number}@example.co.il>"), faxes))
                    await env.becomes_ready()
                await daemons[0].start_myfax()
                await assert_all_faxed(daemons[1], faxes)

    asyncio.run(main())


async def assert_not_ready_yet(env: Environment) -> None:
    """Wait until the daemon says that it has no store. Its last answer may be a second old."""

    async def said() -> bool:
        status, checks = await ready(env)
        return status == 503 and not checks["store"]

    await until(said)


def test_p11_daemons_follow_a_failover_to_the_standby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with two_servers() as (primary, standby):
            monkeypatch.setattr(environment, "server", primary)

            def both(url: str) -> str:
                database, ports = url.rpartition("/")[2], [server.port for server in (primary, standby)]
                hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
                return f"postgresql://tests@{hosts}/{database}?target_session_attrs=read-write"

            async with nodes(tmp_path, 2, myfax=False, way=both) as daemons:
                one, other = daemons
                faxes = [await accepted(one, a_mail(f"<{number}@example.co.il>")) for number in range(3)]
                primary.stop()
                for env in daemons:
                    assert_deferred(env, await send(env, a_mail("<3@example.co.il>")))
                standby.promote()
                monkeypatch.setattr(environment, "server", standby)
                for number, env in enumerate(daemons, 3):
                    await until(lambda env=env, number=number: is_accepted(env, a_mail(f"<{number}@example.co.il>"), faxes))
                    await env.becomes_ready()
                await one.start_myfax()
                await assert_all_faxed(other, faxes)

    asyncio.run(main())


def test_p11_a_server_that_is_read_only_now_is_left(tmp_path: Path) -> None:
    async def main() -> None:
        async with nodes(tmp_path, 1, myfax=False) as [env]:
            faxes = [await accepted(env, a_mail("<0@example.co.il>"))]
            [(database,)] = env.ask_database("SELECT current_database()")
            assert environment.server is not None
            environment.server.set_read_only(database, is_read_only=True)
            assert_deferred(env, await send(env, a_mail("<1@example.co.il>")))
            environment.server.set_read_only(database, is_read_only=False)
            await until(lambda: is_accepted(env, a_mail("<1@example.co.il>"), faxes))
            await env.start_myfax()
            await assert_all_faxed(env, faxes)

    asyncio.run(main())


def test_p12_a_daemon_that_cannot_hear_its_server_defers_and_loses_its_work(tmp_path: Path) -> None:
    async def main() -> None:
        server = environment.server
        assert server is not None

        def connect() -> socket.socket:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(server.socket))
            return connection

        with running_proxy(connect) as proxy:

            def by_proxy(url: str) -> str:
                database = url.partition("?")[0].rpartition("/")[2]
                return f"postgresql://tests@127.0.0.1:{proxy.port}/{database}"

            async with nodes(tmp_path, 2, myfax=False, each=[{"way": by_proxy}, {"way": None}]) as (deaf, other):
                faxes = [await accepted(deaf, a_mail("<0@example.co.il>"))]
                proxy.drop_packets()
                assert_deferred(deaf, await send(deaf, a_mail("<1@example.co.il>")))
                await assert_not_ready_yet(deaf)
                deaf.let_lease_pass()
                await other.start_myfax()
                await other.becomes_ready()
                await other.retry_now(faxes[0])
                await other.becomes(faxes[0], "delivered")
                faxes.append(await accepted(other, a_mail("<1@example.co.il>")))
                await other.becomes(faxes[1], "delivered")
                proxy.pass_packets()
                await until(lambda: is_accepted(deaf, a_mail("<2@example.co.il>"), faxes))
                await deaf.becomes_ready()
                await assert_all_faxed(deaf, faxes)

    asyncio.run(main())
