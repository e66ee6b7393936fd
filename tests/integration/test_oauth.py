"""OAuth2 against a token endpoint that the test runs, and XOAUTH2 against a Dovecot that asks it, or a scripted server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from pydantic import SecretStr

from mailbridge.config import Mailbox, OAuth2, load
from mailbridge.demo.http import HttpRequest, HttpServer
from mailbridge.demo.mailbox import report_mail
from mailbridge.errors import MailboxError
from mailbridge.online_check import Check, check_all
from mailbridge.report.imap_login import log_in
from mailbridge.report.oauth import Tokens
from mailbridge.report.token_keeper import FileKeeper
from tests.integration import dovecot
from tests.integration.dovecot import Dovecot
from tests.integration.scripted_servers import RawServer
from tests.integration.watcher_fixtures import a_store, clock, config_file, events, settings, watching
from tests.loopback_ports import reserved_port
from tests.time_limit import TimeLimit
from tests.wait_helpers import until

needs_dovecot = pytest.mark.skipif(dovecot.missing() is not None, reason=str(dovecot.missing()))
USER = "office@example.co.il"
SECRET = "hunter2-client"
REFRESH = "hunter2-refresh"
_names = count(1)


class Provider:
    """A token endpoint, with the introspection by which Dovecot asks it for tokens. `asked` are the forms that it was sent."""

    def __init__(self) -> None:
        self.user, self.life, self.rotates = USER, 3600, False
        self.refusal: tuple[str, str] | None = None
        self.refresh = REFRESH
        self.good = set[str]()
        self.asked: list[dict[str, str]] = []
        self.encodings = set[str]()

    async def answer(self, exchange: HttpRequest) -> tuple[int, dict[str, str], bytes]:
        form = {key: value for key, [value] in parse_qs(exchange.body.decode()).items()}
        if exchange.path == "/introspect":
            active = form["token"] in self.good
            return self._json(200, {"active": active, "username": self.user if active else ""})
        self.asked.append(form)
        self.encodings.add(exchange.headers["accept-encoding"])
        if self.refusal is not None:
            return self._json(400, dict(zip(("error", "error_description"), self.refusal, strict=True)))
        if (form["client_id"], form["client_secret"]) != ("mailbridge", SECRET):
            return self._json(401, {"error": "invalid_client"})
        if form["grant_type"] == "refresh_token" and form["refresh_token"] != self.refresh:
            return self._json(400, {"error": "invalid_grant", "error_description": f"{form['refresh_token']} is no token"})
        token = f"hunter2-access-{len(self.asked)}"
        self.good.add(token)
        answer: dict[str, Any] = {"access_token": token, "token_type": "Bearer", "expires_in": self.life}
        if self.rotates:
            self.refresh = f"{REFRESH}-{len(self.asked)}"
            answer["refresh_token"] = self.refresh
        return self._json(200, answer)

    def _json(self, status: int, answer: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        return status, {"content-type": "application/json"}, json.dumps(answer).encode()


@asynccontextmanager
async def a_provider(port: int = 0) -> AsyncIterator[tuple[Provider, str]]:
    provider = Provider()
    http = HttpServer(provider.answer)
    port = await http.start(port)
    try:
        yield provider, f"http://127.0.0.1:{port}/token"
    finally:
        await http.stop()


def oauth2(url: str, **changes: Any) -> OAuth2:
    named = {"token_url": url, "client_id": "mailbridge", "client_secret": SecretStr(SECRET), "scope": "imap"}
    return OAuth2(**{**named, **changes})


def by_refresh(url: str, token: str = REFRESH) -> OAuth2:
    return oauth2(url, refresh_token=SecretStr(token))


def port_of(server: RawServer) -> int:
    return int(server.url.split(":")[2].split("/")[0])


def mailbox(port: int, oauth: OAuth2, user: str = USER) -> Mailbox:
    return settings(port, username=user, password=None, oauth2=oauth)


class Clock:
    """A clock that the test sets forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return clock() + self.ahead


# Tokens


def test_token_requests_are_as_the_rfc_says(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_provider() as (provider, url):
            assert await Tokens("office", oauth2(url), FileKeeper(tmp_path), clock).token() == ("hunter2-access-1", True)
            tokens = Tokens("office", by_refresh(url), FileKeeper(tmp_path), clock)
            assert [await tokens.token() for _ in range(2)] == [("hunter2-access-2", True), ("hunter2-access-2", False)]
            named = {"client_id": "mailbridge", "client_secret": SECRET, "scope": "imap"}
            assert provider.asked == [
                {"grant_type": "client_credentials", **named},
                {"grant_type": "refresh_token", "refresh_token": REFRESH, **named},
            ]
            assert provider.encodings == {"identity"}
            assert list(tmp_path.iterdir()) == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("life", "good_for", "old_after"), [(3600, 3299, 3301), ("1000", 899, 901), (60, 53, 55), (None, 3299, 3301)]
)
def test_a_token_is_renewed_before_it_expires(tmp_path: Path, life: Any, good_for: int, old_after: int) -> None:
    async def scenario() -> None:
        now = Clock()
        async with a_provider() as (provider, url):
            provider.life = life
            tokens = Tokens("office", oauth2(url), FileKeeper(tmp_path), now)
            first, _ = await tokens.token()
            now.ahead = timedelta(seconds=good_for)
            assert await tokens.token() == (first, False)
            assert not tokens.expired
            now.ahead = timedelta(seconds=old_after)
            assert tokens.expired
            assert await tokens.token() == ("hunter2-access-2", True)

    asyncio.run(scenario())


def test_a_rotated_refresh_token_survives_restarts_until_another_is_configured(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_provider() as (provider, url):
            provider.rotates = True

            async def ask(settings: OAuth2) -> str:
                await Tokens("of/fice", settings, FileKeeper(tmp_path), clock).token()
                return provider.asked[-1]["refresh_token"]

            assert [await ask(by_refresh(url)) for _ in range(3)] == [REFRESH, f"{REFRESH}-1", f"{REFRESH}-2"]
            [kept] = tmp_path.iterdir()
            assert stat.S_IMODE(kept.stat().st_mode) == 0o600
            assert REFRESH not in json.loads(kept.read_text()).values()
            provider.refresh = "hunter2-other"
            assert await ask(by_refresh(url, "hunter2-other")) == "hunter2-other"
            assert await ask(by_refresh(url, "hunter2-other")) == f"{REFRESH}-4"
            # If the file cannot be read, there is a warning, and the configured token is used.
            kept.write_bytes(b"{")
            provider.refresh = "hunter2-other"
            assert await ask(by_refresh(url, "hunter2-other")) == "hunter2-other"

    asyncio.run(scenario())


def test_a_refresh_token_that_another_process_rotated_is_used(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_provider() as (provider, url):
            provider.rotates = True
            daemon, check = (Tokens("office", by_refresh(url), FileKeeper(tmp_path), clock) for _ in range(2))
            for tokens in (daemon, check, daemon):
                tokens.invalidate()
                await tokens.token()

    asyncio.run(scenario())


def test_a_rotated_token_that_cannot_be_stored_is_used_and_stored_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        warnings: list[str] = []
        state = tmp_path / "state"
        async with a_provider() as (provider, url):
            provider.rotates = True
            tokens = Tokens("office", by_refresh(url), FileKeeper(state), clock, warn=warnings.append)
            await tokens.token()
            assert [text.partition(" (")[0] for text in warnings] == ["the renewed refresh token cannot be stored"]
            provider.rotates = False
            state.mkdir()
            tokens.invalidate()
            await tokens.token()
            assert provider.asked[-1]["refresh_token"] == f"{REFRESH}-1"
            await Tokens("office", by_refresh(url), FileKeeper(state), clock).token()
            assert provider.asked[-1]["refresh_token"] == f"{REFRESH}-1"
        assert len(warnings) == 1
        assert "hunter2" not in warnings[0]

    asyncio.run(scenario())


ANSWERS: list[tuple[int, dict[str, str], bytes, str]] = [
    (
        400,
        {},
        b'{"error": "invalid_grant", "error_description": "AADSTS70008: it\\n expired"}',
        "invalid_grant: AADSTS70008: it expired",
    ),
    (401, {}, b'{"error": "invalid_client"}', "gives no token: invalid_client"),
    (400, {}, f'{{"error": "x", "error_description": "{SECRET} {REFRESH}"}}'.encode(), "gives no token: x: *** ***"),
    (400, {}, b'{"error": "x", "error_description": "\\u001b[31m"}', "x: �[31m"),
    (500, {}, b"<html>", "gives no token: HTTP 500"),
    (302, {"location": "http://127.0.0.1:1/"}, b"", "gives no token: HTTP 302"),
    (200, {}, b"[]", "gives no token: HTTP 200"),
    (200, {}, b"[" * 100_000, "gives no token: HTTP 200"),
    (200, {}, b"{}", "answered without an access token"),
    (200, {}, b'{"access_token": "a\\u0001b"}', "answered without an access token"),
    (200, {}, b'{"access_token": 1}', "answered without an access token"),
    (200, {}, b" " * 300_000, "has no end"),
    (200, {"content-encoding": "gzip"}, b'{"access_token": "x"', "gives no token: HTTP 200"),
]


@pytest.mark.parametrize(("status", "headers", "body", "words"), ANSWERS)
def test_an_answer_without_a_token_raises_the_providers_text(
    tmp_path: Path, status: int, headers: dict[str, str], body: bytes, words: str
) -> None:
    async def scenario() -> None:
        async def answer(_: HttpRequest) -> tuple[int, dict[str, str], bytes]:
            return status, headers, body

        http = HttpServer(answer)
        port = await http.start()
        try:
            with pytest.raises(MailboxError) as error:
                await Tokens("office", by_refresh(f"http://127.0.0.1:{port}/"), FileKeeper(tmp_path), clock).token()
        finally:
            await http.stop()
        assert words in str(error.value)
        assert "hunter2" not in str(error.value)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1/token", "127.0.0.1 gives no token: ConnectError"),
        ("https://", "gives no token: UnsupportedProtocol"),
        ("https://a:b/", "not a valid URL"),
    ],
)
def test_a_token_url_that_cannot_be_used_is_an_error(tmp_path: Path, url: str, words: str) -> None:
    with pytest.raises(MailboxError, match=words):
        asyncio.run(Tokens("office", oauth2(url), FileKeeper(tmp_path), clock).token())


@pytest.mark.parametrize("drips", [False, True])
def test_a_silent_or_dripping_token_endpoint_times_out(tmp_path: Path, drips: bool, time_limit: TimeLimit) -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nX: ")
            for sent in count():
                writer.write(b"y" * drips)
                await writer.drain()
                if sent == 10:
                    time_limit.end()
                await asyncio.sleep(0.01)

        async with RawServer(serve) as server:
            with pytest.raises(MailboxError, match=f"gives no token within {time_limit.SECONDS:g} s"):
                await Tokens("office", oauth2(server.url), FileKeeper(tmp_path), clock, timeout=time_limit.SECONDS).token()

    asyncio.run(scenario())


# XOAUTH2, by a script


class Google:
    """An IMAP session that knows AUTHENTICATE XOAUTH2 alone. It takes `good`, and challenges every other token as Google does."""

    def __init__(self, good: str, initial: bool) -> None:
        self.good, self._initial = good, initial

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK ready\r\n")
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            tag, command, *words = line.split()
            if command == "CAPABILITY":
                writer.write(b"* CAPABILITY IMAP4rev1 AUTH=XOAUTH2" + b" SASL-IR" * self._initial + b"\r\n")
            elif not await self._takes(words, reader, writer):
                writer.write(f"{tag} NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)\r\n".encode())
                continue
            writer.write(f"{tag} OK done\r\n".encode())

    async def _takes(self, words: list[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        assert len(words) == (2 if self._initial else 1)
        if not self._initial:
            writer.write(b"+ \r\n")
            words.append((await reader.readline()).decode().strip())
        sent = base64.b64decode(words[1]).decode()
        if sent == f"user={USER}\1auth=Bearer {self.good}\1\1":
            return True
        challenge = json.dumps({"status": "400", "scope": "https://mail.google.com/", "sent": sent})
        writer.write(b"+ " + base64.b64encode(challenge.encode()) + b"\r\n")
        assert await reader.readline() == b"\r\n"
        return False


@pytest.mark.parametrize("initial", [True, False], ids=["SASL-IR", "without SASL-IR"])
def test_a_refused_xoauth2_raises_the_challenges_error_and_the_next_token_is_new(tmp_path: Path, initial: bool) -> None:
    async def scenario() -> None:
        google = Google("hunter2-access-2", initial)
        async with a_provider() as (provider, url), RawServer(google) as server:
            tokens, box = Tokens("office", oauth2(url), FileKeeper(tmp_path), clock), mailbox(port_of(server), oauth2(url))
            with pytest.raises(MailboxError) as error:
                await log_in(box, tokens)
            assert "AUTHENTICATE: [AUTHENTICATIONFAILED] Invalid credentials" in str(error.value)
            assert '"status": "400"' in str(error.value)
            assert "hunter2" not in str(error.value)
            # The next one is good; when it was revoked the one after it is fetched at once.
            (await log_in(box, tokens)).close()
            google.good = "hunter2-access-3"
            (await log_in(box, tokens)).close()
            assert len(provider.asked) == 3
            assert server.faults == []

    asyncio.run(scenario())


def test_a_server_without_xoauth2_is_sent_no_token(tmp_path: Path) -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"* OK ready\r\n")
            while line := await reader.readline():
                heard.append(line)
                writer.write(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n" + line.split()[0] + b" OK\r\n")

        heard: list[bytes] = []
        async with a_provider() as (_, url), RawServer(serve) as server:
            with pytest.raises(MailboxError, match="offers no XOAUTH2"):
                await log_in(mailbox(port_of(server), oauth2(url)), Tokens("office", oauth2(url), FileKeeper(tmp_path), clock))
        assert [line.split()[1] for line in heard] == [b"CAPABILITY"]

    asyncio.run(scenario())


# The watch, against Dovecot


@pytest.fixture(scope="module")
def provider_port() -> Iterator[int]:
    """Where Dovecot asks about tokens; each test has a provider of its own there."""
    with reserved_port() as port:
        yield port


@pytest.fixture(scope="module")
def server(provider_port: int) -> Iterator[Dovecot]:
    with dovecot.running(f"http://127.0.0.1:{provider_port}/introspect") as running:
        yield running


@pytest.fixture
def user() -> str:
    return f"office{next(_names)}@example.co.il"


class Relay:
    """A port before Dovecot whose connections the test cuts."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks = set[asyncio.Task[None]]()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        behind_reader, behind = await asyncio.open_connection("127.0.0.1", self._behind)
        self._writers += [writer, behind]
        await asyncio.gather(self._pump(reader, behind), self._pump(behind_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()


@needs_dovecot
def test_a_mailbox_is_watched_by_oauth2(server: Dovecot, provider_port: int, user: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_provider(provider_port) as (provider, url), a_store(tmp_path) as store:
            provider.user = user
            box = mailbox(server.plain, by_refresh(url), user)
            async with watching(box, store, tmp_path, tokens=Tokens("office", by_refresh(url), FileKeeper(tmp_path), clock)):
                await asyncio.to_thread(server.deliver, user, report_mail("Success", 9, "by token"))
                [event] = await events(store, 1, "report.received")
                assert event.data["report"]["subject"] == "by token"

    asyncio.run(scenario())


@needs_dovecot
def test_a_connection_that_ends_with_its_token_is_reopened_at_once_with_a_new_one(
    server: Dovecot, provider_port: int, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailbridge.report.watcher.reconnect_delay", lambda failures, jitter: 3600.0)
    monkeypatch.setattr("mailbridge.report.watcher.TOKEN_SECONDS", 0.0)

    async def scenario() -> None:
        now = Clock()
        async with a_provider(provider_port) as (provider, url), a_store(tmp_path) as store, Relay(server.plain) as relay:
            provider.user = user
            tokens = Tokens("office", oauth2(url), FileKeeper(tmp_path), now)
            async with watching(mailbox(relay.port, oauth2(url), user), store, tmp_path, tokens=tokens) as watcher:
                now.ahead = timedelta(hours=1)
                provider.good.clear()
                relay.cut()
                await until(lambda: len(provider.asked) == 2 and watcher.connected)
                await asyncio.to_thread(server.deliver, user, report_mail("Success", 9, "after it"))
                assert [event.type for event in await events(store, 1)] == ["report.received"]
                # Cut before its end it is like any other connection.
                relay.cut()
                await events(store, 1, "mailbox.down")
                assert not watcher.connected

    asyncio.run(scenario())


@needs_dovecot
def test_a_refused_oauth2_login_is_mailbox_down_with_the_providers_text_and_recovers(
    server: Dovecot,
    provider_port: int,
    user: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("mailbridge.report.watcher.reconnect_delay", lambda failures, jitter: 0.02)
    monkeypatch.setattr("mailbridge.report.watcher.login_delay", lambda refusals: 0.02)

    async def scenario() -> None:
        async with a_provider(provider_port) as (provider, url), a_store(tmp_path) as store:
            provider.user, provider.refusal = user, ("invalid_grant", "Token has been expired or revoked.")
            box = mailbox(server.plain, by_refresh(url), user)
            tokens = Tokens("office", by_refresh(url), FileKeeper(tmp_path), clock)
            async with watching(box, store, tmp_path, wait=False, tokens=tokens) as watcher:
                [down] = await events(store, 1, "mailbox.down")
                assert down.data["error"] == "127.0.0.1 gives no token: invalid_grant: Token has been expired or revoked."
                assert not watcher.connected
                provider.refusal = None
                await events(store, 1, "mailbox.up")
                assert watcher.connected
            # A token of somebody else is refused by the mail server.
            provider.user = "somebody@example.co.il"
            async with watching(box, store, tmp_path, wait=False, tokens=tokens):
                [_, down] = await events(store, 2, "mailbox.down")
                assert "the server refuses AUTHENTICATE" in down.data["error"]
        output = "".join(capsys.readouterr())
        assert "Token has been expired or revoked." in output
        assert "hunter2" not in output + str(down.data)

    asyncio.run(scenario())


@needs_dovecot
def test_check_online_logs_in_by_oauth2_and_stores_the_rotated_token(
    server: Dovecot, provider_port: int, user: str, tmp_path: Path
) -> None:
    def write(url: str) -> Path:
        login = f'token_url = "{url}"\nclient_id = "mailbridge"\nclient_secret = "{SECRET}"\nrefresh_token = "{REFRESH}"'
        return config_file(tmp_path, server.plain, f"[mailbox.office.oauth2]\n{login}", username=user)

    async def scenario() -> None:
        async with a_provider(provider_port) as (provider, url):
            provider.user, provider.rotates = user, True
            config = load(write(url), {})

            async def check() -> Check:
                [found] = [one for one in await check_all(config) if one.part == "mailbox office"]
                return found

            before = await check()
            assert before.ok
            assert f"login as {user} ok, folder INBOX ok, with IDLE; the renewed refresh token cannot be stored (" in before.words
            provider.refresh = REFRESH
            config.state_dir.mkdir()
            assert "cannot be stored" not in (await check()).words
            assert (await check()).ok
            assert [form["refresh_token"] for form in provider.asked] == [REFRESH, REFRESH, f"{REFRESH}-2"]
            provider.refusal = "invalid_grant", f"{REFRESH} is over"
            refused = await check()
            assert (refused.ok, refused.words) == (False, "127.0.0.1 gives no token: invalid_grant: *** is over")

    asyncio.run(scenario())
