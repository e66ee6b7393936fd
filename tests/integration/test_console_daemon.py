"""The console of a real daemon: over TLS, with the passwords of SMTP, and through a reload."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from mailbridge.app import Daemon
from mailbridge.config import Config
from mailbridge.web import connections
from tests.integration import scripted_servers
from tests.integration.console_fixtures import PASSWORD, SAME_ORIGIN, USERS
from tests.wait_helpers import PATIENCE, until


def a_daemon_config(state: Path, **http: Any) -> Config:
    return Config.model_validate(
        {
            "state_dir": state,
            "myfax": {"url": "http://127.0.0.1:9/action/"},
            "account": {"office": {"email": "office@example.co.il", "password": "x"}},
            "user": USERS,
            "smtp": {"listen": ["127.0.0.1:0"], "auth": "required"},
            "incoming": {"every": "off"},
            "http": {"console": True, "listen": "127.0.0.1:0", **http},
        }
    )


def with_daemon(config: Config, scenario: Callable[[Daemon], Awaitable[None]]) -> None:
    async def main() -> None:
        daemon, stop, ready = Daemon(config, {}), asyncio.Event(), asyncio.Event()
        serving = asyncio.create_task(daemon.run(stop, ready.set))
        try:
            await asyncio.wait({serving, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await scenario(daemon)
        finally:
            stop.set()
            await serving

    asyncio.run(main())


def browser(daemon: Daemon, certificate: Path | None = None) -> httpx.AsyncClient:
    host, port = daemon.http
    verify = ssl.create_default_context(cafile=str(certificate)) if certificate else False
    base = f"https://{host}:{port}" if certificate else f"http://{host}:{port}"
    return httpx.AsyncClient(base_url=base, verify=verify, trust_env=False, timeout=PATIENCE)


async def log_in(client: httpx.AsyncClient, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/console/login", data={"name": "office", "password": password}, headers=SAME_ORIGIN)


def a_certificate(folder: Path) -> tuple[Path, Path]:
    folder.mkdir()
    scripted_servers.certificate(folder)
    return folder / "cert.pem", folder / "key.pem"


def test_the_console_over_tls_and_a_certificate_that_is_renewed(tmp_path: Path) -> None:
    certificate, key = a_certificate(tmp_path / "one")
    new = a_certificate(tmp_path / "two")
    (tmp_path / "state").mkdir()
    config = a_daemon_config(tmp_path / "state", tls={"certificate": certificate, "key": key})

    async def scenario(daemon: Daemon) -> None:
        async with browser(daemon, certificate) as client:
            answer = await log_in(client)
            assert answer.status_code == 303
            assert answer.headers["set-cookie"].startswith("__Host-mailbridge=")
            assert (await client.get("/console/sent")).status_code == 200
        trusted = certificate.read_bytes()
        certificate.write_bytes(new[0].read_bytes())
        key.write_bytes(new[1].read_bytes())
        await daemon.reload(config)
        async with browser(daemon, new[0]) as client:
            assert (await client.get("/healthz")).status_code == 200
        (tmp_path / "old.pem").write_bytes(trusted)
        async with browser(daemon, tmp_path / "old.pem") as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("/healthz")

    with_daemon(config, scenario)


def test_a_tls_client_that_says_nothing_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HANDSHAKE_TIMEOUT", 0.2)
    certificate, key = a_certificate(tmp_path / "tls")

    async def scenario(daemon: Daemon) -> None:
        reader, writer = await asyncio.open_connection(*daemon.http)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()
        async with browser(daemon, certificate) as client:
            assert (await client.get("/healthz")).status_code == 200

    with_daemon(a_daemon_config(tmp_path, tls={"certificate": certificate, "key": key}), scenario)


def test_silent_tls_clients_make_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailbridge.http_assembly.allowed_connections", lambda: type("Allowed", (), {"http": 4}))
    monkeypatch.setattr(connections, "HANDSHAKE_TIMEOUT", PATIENCE)
    certificate, key = a_certificate(tmp_path / "tls")

    async def scenario(daemon: Daemon) -> None:
        silent = [await asyncio.open_connection(*daemon.http) for _ in range(6)]
        async with browser(daemon, certificate) as client:
            assert (await client.get("/healthz")).status_code == 200
        for _, writer in silent:
            writer.close()

    with_daemon(a_daemon_config(tmp_path, tls={"certificate": certificate, "key": key}), scenario)


def test_a_guess_at_the_console_delays_the_next_one_by_smtp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise whoever guesses would have two limits instead of one."""
    monkeypatch.setattr("mailbridge.submission.limits._FIRST_DELAY", 1000.0)
    monkeypatch.setattr("mailbridge.submission.limits._MAX_DELAY", 1000.0)

    async def scenario(daemon: Daemon) -> None:
        def by_smtp() -> int:
            with smtplib.SMTP(*daemon.smtp[0], timeout=PATIENCE) as client:
                try:
                    return client.login("office", PASSWORD)[0]
                except smtplib.SMTPAuthenticationError as error:
                    return error.smtp_code

        with capture_logs() as lines:
            async with browser(daemon) as client:
                guess = asyncio.create_task(log_in(client, "wrong"))
                await until(lambda: [line for line in lines if line["event"] == "login failed"])
                assert await asyncio.to_thread(by_smtp) == 454
                guess.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await guess
        assert [(line["id"], line["client"]) for line in lines if line["event"] == "login failed"] == [("console", "127.0.0.1")]

    with_daemon(a_daemon_config(tmp_path), scenario)


@pytest.mark.parametrize(("proxies", "client"), [(["192.0.2.1"], "127.0.0.1"), (["127.0.0.1"], "192.0.2.7")])
def test_a_proxy_on_the_same_machine_is_believed_if_it_is_listed_alone(tmp_path: Path, proxies: list[str], client: str) -> None:
    """The HTTP server itself takes no address from X-Forwarded-For."""
    forwarded = {"x-forwarded-for": "192.0.2.7", "x-remote-user": "vera", **SAME_ORIGIN}

    async def scenario(daemon: Daemon) -> None:
        async with browser(daemon) as console:
            answer = await console.get("/console/sent", headers=forwarded)
            assert answer.status_code == (200 if "127.0.0.1" in proxies else 303)
            with capture_logs() as lines:
                form = {"name": "office", "password": "wrong"}
                assert (await console.post("/console/login", data=form, headers=forwarded)).status_code == 403
        assert [line["client"] for line in lines if line["event"] == "login failed"] == [client]

    with_daemon(a_daemon_config(tmp_path, proxies=proxies, proxy_user="X-Remote-User"), scenario)


def test_a_reload_takes_the_console_away_and_brings_it_back(tmp_path: Path) -> None:
    async def scenario(daemon: Daemon) -> None:
        async with browser(daemon) as client:
            assert (await log_in(client)).status_code == 303
            assert (await client.get("/console/")).status_code == 200
            await daemon.reload(a_daemon_config(tmp_path, console=False))
            assert (await client.get("/console/")).status_code == 404
            await daemon.reload(a_daemon_config(tmp_path))
            assert (await client.get("/console/")).status_code == 200
            assert (await client.get("/healthz")).text == "ok\n"

    with_daemon(a_daemon_config(tmp_path), scenario)
