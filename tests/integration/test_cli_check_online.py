"""`check --online` against a simulator of each service."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailbridge import online_check
from mailbridge.config import load
from mailbridge.demo.mailbox import DemoMailbox
from mailbridge.demo.receiver import Receiver
from mailbridge.demo.simulator import Simulator
from mailbridge.online_check import check_all
from tests.integration.cli_fixtures import PASSWORD, SECRET, WEBHOOK_KEY, run_beside, write_config
from tests.integration.relay_stand_in import RelayStandIn, relay_running
from tests.wait_helpers import PATIENCE


class Relay:
    """A mail relay with one login."""

    def __init__(self, user: str = "", password: str = "") -> None:
        self._token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 relay\r\n")
        while line := (await reader.readline()).decode().strip():
            writer.write(self._answer(line).encode() + b"\r\n")
        writer.close()

    def _answer(self, line: str) -> str:
        match line.split():
            case ["ehlo" | "EHLO", *_]:
                return "250-relay\r\n250 AUTH PLAIN"
            case ["AUTH", "PLAIN", token]:
                return "235 2.7.0 welcome" if token == self._token else "535 5.7.8 no such user or password"
            case ["QUIT"]:
                return "221 2.0.0 bye"
        return "250 2.0.0 OK"


@dataclass
class Peers:
    """Simulators for every check of `check --online`, and the values that refer to them in a configuration."""

    mailbox: DemoMailbox
    receiver: Receiver
    values: dict[str, str]

    def config(self, folder: Path, **changed: str) -> Path:
        values = {**self.values, **changed}
        more = """
[mailbox.office]
host = "127.0.0.1"
port = {imap}
tls = "none"
username = "office@example.co.il"
password = "{imap_password}"
folder = "{inbox}"
[webhook.crm]
url = "{webhook}"
secret = "{secret}"
allow_private = {private}
[notice]
relay = "{relay}"
"""
        return write_config(folder, more.format(**values), password=values["password"], myfax=values["myfax"])


@contextlib.asynccontextmanager
async def peers_running() -> AsyncIterator[Peers]:
    simulator, receiver = Simulator(password=PASSWORD), Receiver(SECRET)
    async with DemoMailbox(password="hunter2-imap") as mailbox, Relay("office", "hunter2-relay") as relay:
        myfax, webhook = await simulator.start(), await receiver.start()
        try:
            yield Peers(
                mailbox,
                receiver,
                {
                    "password": PASSWORD,
                    "myfax": myfax,
                    "imap": str(mailbox.port),
                    "imap_password": "hunter2-imap",
                    "inbox": "INBOX",
                    "webhook": webhook,
                    "secret": SECRET,
                    "private": "true",
                    "relay": f"smtp://office:hunter2-relay@127.0.0.1:{relay.port}",
                    "relay_port": str(relay.port),
                },
            )
        finally:
            await simulator.stop()
            await receiver.stop()


def with_peers(scenario: Callable[[Peers], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE), peers_running() as peers:
            await scenario(peers)

    asyncio.run(main())


PARTS = ["account office", "mailbox office", "webhook crm", "relay"]


def test_check_online_tests_every_login(tmp_path: Path) -> None:
    async def scenario(peers: Peers) -> None:
        config = peers.config(tmp_path)
        done = await run_beside("check", "--online", "--config", config)
        assert (done.status, done.errors) == (0, "")
        lines = done.output.splitlines()
        assert [line[:8] + line[8:].split(":")[0] for line in lines] == [f"ok      {part}" for part in PARTS]
        assert "login as office@example.co.il ok, folder INBOX ok, with IDLE" in lines[1]
        assert [event["type"] for event in peers.receiver.events] == ["ping"]
        assert peers.receiver.forged == 0
        done = await run_beside("check", "--online", "--json", "--config", config)
        answer = json.loads(done.output)
        assert (done.status, answer["ok"], answer["mistakes"]) == (0, True, [])
        assert [(check["part"], check["ok"]) for check in answer["checks"]] == [(part, True) for part in PARTS]
        assert "hunter2" not in done.output

    with_peers(scenario)


WRONG = [
    ("account office", {"password": "hunter2-wrong"}, "MyFax refused with code"),
    ("account office", {"myfax": "http://127.0.0.1:1/action/"}, "MyFax failed: ConnectError"),
    ("mailbox office", {"imap_password": "hunter2-wrong"}, "refuses LOGIN"),
    ("mailbox office", {"imap": "1"}, "127.0.0.1:1 cannot be reached"),
    ("mailbox office", {"inbox": "Faxes"}, "refuses SELECT"),
    ("webhook crm", {"secret": "whsec_" + base64.b64encode(b"hunter2" * 5).decode()}, "failed: HTTP 401"),
    ("webhook crm", {"webhook": "http://user:hunter2@127.0.0.1:1/hunter2"}, "ping to 127.0.0.1 failed: ConnectError"),
    ("webhook crm", {"webhook": "https://127.0.0.1:1/hunter2", "private": "false"}, "is not a public address"),
    ("relay", {"relay": "smtp://office:hunter2-wrong@127.0.0.1:{relay_port}"}, "refuses the login: 535 5.7.8 no such user"),
    ("relay", {"relay": "smtp://office:hunter2@127.0.0.1:1"}, "127.0.0.1:1 cannot be used: Connection refused"),
    ("relay", {"relay": "smtp://office:סודhunter2@127.0.0.1:{relay_port}"}, "refuses the login: 535"),
    ("relay", {"relay": "smtps://office:hunter2@127.0.0.1:{relay_port}"}, "cannot be used: "),
]


@pytest.mark.parametrize(("part", "changed", "words"), WRONG)
def test_check_online_names_the_failed_part_and_no_secret(tmp_path: Path, part: str, changed: dict[str, str], words: str) -> None:
    async def scenario(peers: Peers) -> None:
        filled = {key: value.format(**peers.values) for key, value in changed.items()}
        checks = {one.part: one for one in await check_all(load(peers.config(tmp_path, **filled), {}))}
        assert list(checks) == PARTS
        assert {name for name, one in checks.items() if not one.ok} == {part}, checks
        assert words in checks[part].words
        assert "hunter2" not in str(checks)

    with_peers(scenario)


def test_check_online_says_what_the_relay_offers_and_mails_a_sample(tmp_path: Path) -> None:
    async def scenario(peers: Peers) -> None:
        async with relay_running(RelayStandIn()) as relay:
            config = peers.config(tmp_path, relay=f"smtp://127.0.0.1:{relay.port}")
            done = await run_beside("check", "--online", "--config", config)
            assert "ok      relay: accepts mail; offers 8BITMIME, SMTPUTF8, DSN; without TLS\n" in done.output
            assert relay.taken == []
            done = await run_beside("check", "--online", "--send-to", "dana@example.co.il", "--config", config)
            assert (done.status, "a sample notice to dana@example.co.il was taken" in done.output) == (0, True)
            [mail] = relay.taken
            assert "dana@example.co.il" in str(mail.message["To"])
            assert any(part.get_content_type() == "text/html" for part in mail.message.walk())
            relay.refuse["RCPT"] = "550 5.1.1 who?"
            done = await run_beside("check", "--online", "--send-to", "dana@example.co.il", "--config", config)
            assert (done.status, "was not taken: 550 5.1.1 who?" in done.output) == (1, True)
        done = await run_beside("check", "--send-to", "dana@example.co.il", "--config", config)
        assert (done.status, done.errors.count("\n")) == (2, 1)

    with_peers(scenario)


def test_check_online_without_a_relay_says_so(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    checks = asyncio.run(check_all(load(path, {})))
    assert [(one.ok, one.words) for one in checks if one.part == "relay"] == [
        (True, "notice.relay is not set: senders get no mail about their faxes")
    ]


def test_check_online_fails_if_a_part_fails(tmp_path: Path) -> None:
    async def scenario(peers: Peers) -> None:
        config = peers.config(tmp_path, password="hunter2-wrong", relay="smtp://office:hunter2@127.0.0.1:1")
        done = await run_beside("check", "--online", "--config", config)
        assert (done.status, done.errors) == (1, "")
        answer = [line.split(":")[0] for line in done.output.splitlines()]
        assert answer == ["FAILED  account office", "ok      mailbox office", "ok      webhook crm", "FAILED  relay"]
        assert "hunter2" not in done.output
        assert WEBHOOK_KEY not in done.output
        done = await run_beside("check", "--online", "--json", "--config", config)
        report = json.loads(done.output)
        assert (done.status, report["ok"]) == (1, False)
        assert [check["ok"] for check in report["checks"]] == [False, True, True, False]
        assert "hunter2" not in done.output

    with_peers(scenario)


def test_check_online_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online_check, "TIMEOUT", 0.2)

    async def scenario(peers: Peers) -> None:
        over = asyncio.Event()

        async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await over.wait()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = str(server.sockets[0].getsockname()[1])
        deaf = {"myfax": f"http://127.0.0.1:{port}/", "imap": port, "webhook": f"http://127.0.0.1:{port}/"}
        checks = await check_all(load(peers.config(tmp_path, **deaf, relay=f"smtp://127.0.0.1:{port}"), {}))
        over.set()
        server.close()
        assert [one.part for one in checks] == PARTS
        assert not any(one.ok for one in checks)
        assert all("0.2 s" in one.words or "timed out" in one.words for one in checks), checks

    with_peers(scenario)
