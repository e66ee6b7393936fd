"""Commands as a person or a script runs them: a real process, its output, one line of error, and exit status."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import mailbridge
from mailbridge import online_check
from mailbridge.cli import COMMANDS, main
from mailbridge.config import load
from mailbridge.demo.mailbox import DemoMailbox
from mailbridge.demo.receiver import Receiver
from mailbridge.demo.simulator import Simulator
from mailbridge.model import Attempt, Email, Failure, new_id
from mailbridge.online_check import check_all
from mailbridge.store.sqlite import SqliteStore
from mailbridge.submission.password import check_password
from tests.factories import a_fax, an_envelope
from tests.wait_helpers import PATIENCE

PASSWORD = "hunter2-office"
WEBHOOK_KEY = base64.b64encode(b"a secret of thirty-two bytes....").decode()
SECRET = f"whsec_{WEBHOOK_KEY}"
NOW = datetime(2026, 1, 4, 9, 0, tzinfo=UTC)
NEVER = datetime(2100, 1, 1, tzinfo=UTC)
# A subject that tries to control the terminal: a colour, and right-to-left override.
HOSTILE = "חוזה \x1b[31m\u202egnp.exe"
MINIMAL = """
state_dir = "{state}"
[account.office]
email = "office@example.co.il"
password = "{password}"
[myfax]
url = "{myfax}"
[smtp]
listen = ["127.0.0.1:{smtp}"]
[http]
listen = "127.0.0.1:{http}"
"""


@dataclass(frozen=True)
class Done:
    """The result of a command."""

    status: int
    output: str
    errors: str


def environment(**more: str) -> dict[str, str]:
    ours = ("MAILBRIDGE_CONFIG", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "NOTIFY_SOCKET", "LISTEN_FDS")
    return {**{name: value for name, value in os.environ.items() if name not in ours}, **more}


def run(*arguments: str | Path, stdin: str = "", **more: str) -> Done:
    """Run `mailbridge` with arguments; `more` is added to its environment."""
    words = [sys.executable, "-m", "mailbridge", *map(str, arguments)]
    done = subprocess.run(words, input=stdin, capture_output=True, encoding="utf-8", timeout=PATIENCE, env=environment(**more))
    return Done(done.returncode, done.stdout, done.stderr)


async def run_beside(*arguments: str | Path) -> Done:
    """Run `mailbridge` while simulators answer in this process."""
    return await asyncio.to_thread(run, *arguments)


def one_line(done: Done) -> str:
    """Return the one line of error, the only output of a failed command."""
    assert done.output == ""
    assert done.errors.startswith("mailbridge: ")
    assert done.errors.count("\n") == 1, done.errors
    assert "Traceback" not in done.errors
    return done.errors.removeprefix("mailbridge: ").rstrip("\n")


def write_config(folder: Path, more: str = "", **values: object) -> Path:
    (folder / "state").mkdir(exist_ok=True)
    path = folder / "config.toml"
    given = {"state": folder / "state", "password": PASSWORD, "myfax": "http://127.0.0.1:1/action/", "smtp": 0, "http": 0}
    path.write_text(MINIMAL.format(**{**given, **values}) + more, encoding="utf-8")
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


# Help and usage


def test_no_command_is_a_usage_error_with_help() -> None:
    done = run()
    assert (done.status, done.output) == (2, "")
    assert done.errors == run("--help").output == run("-h").output


def test_help_lists_every_command() -> None:
    done = run("--help")
    assert (done.status, done.errors) == (0, "")
    for name, (_, job) in COMMANDS.items():
        assert re.search(rf"^  {name} +\S", done.output, re.MULTILINE), name
        assert job.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    done = run(name, "--help")
    assert (done.status, done.errors) == (0, "")
    assert done.output.startswith(f"Usage: mailbridge {name} ")
    assert "--json" in done.output or name in ("serve", "hash-password")


def test_version() -> None:
    assert run("--version") == Done(0, f"mailbridge {mailbridge.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("quueue",), "No such command 'quueue'"),
        (("queue", "--stat", "failed"), "No such option"),
        (("queue", "--state", "lost"), "Invalid value for '--state': 'lost' is not one of 'queued'"),
        (("queue", "--limit", "0"), "Invalid value for '--limit': 0 is not in the range"),
        (("queue", "--limit", "many"), "Invalid value for '--limit': 'many' is not a valid integer"),
        (("show",), "Missing argument 'ID'"),
        (("show", "one", "two"), "Got unexpected extra argument (two)"),
        (("simulator", "--port", "70000"), "Invalid value for '--port': 70000 is not in the range"),
        (("hash-password", "hunter2"), "Got unexpected extra argument"),
    ],
)
def test_usage_error_is_one_line_and_exit_2(arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments)
    assert done.status == 2
    answer = one_line(done)
    assert answer.startswith(words)
    assert answer.endswith(" --help")


# Configuration

BAD = 'lanugage = "he"\n[account.office]\nemail = "x"\n[smtp]\nauth = "off"\nlisten = ["0.0.0.0:25"]\n'


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.toml"
    path.write_text(BAD, encoding="utf-8")
    return path


def test_check_prints_each_error_on_a_line(bad: Path) -> None:
    done = run("check", "--config", bad)
    assert (done.status, done.output) == (78, "")
    lines = done.errors.splitlines()
    assert all(line.startswith("mailbridge: ") and line.count("; ") >= 1 for line in lines)
    for key in ("lanugage", "account.office.email", "account.office.password", "smtp"):
        assert sum(line.startswith(f"mailbridge: {key}: ") for line in lines) == 1, key
    assert len(lines) == 4


def test_check_json(bad: Path) -> None:
    done = run("check", "--json", "--config", bad)
    assert (done.status, done.errors) == (78, "")
    answer = json.loads(done.output)
    assert (answer["ok"], answer["checks"]) == (False, [])
    assert [set(mistake) for mistake in answer["mistakes"]] == [{"key", "fault", "remedy"}] * 4
    assert {"key": "lanugage", "fault": "unknown key", "remedy": "did you mean language?"} in answer["mistakes"]


def test_check_of_a_valid_file(config: Path) -> None:
    assert run("check", "--config", config) == Done(0, f"{config} is valid\n", "")
    done = run("check", "--json", "--config", config)
    assert (done.status, json.loads(done.output)) == (0, {"ok": True, "mistakes": [], "warnings": [], "checks": []})


def test_environment_variable_replaces_the_config_option(config: Path, bad: Path) -> None:
    assert run("check", MAILBRIDGE_CONFIG=str(config)).status == 0
    assert run("check", "--config", bad, MAILBRIDGE_CONFIG=str(config)).status == 78


@pytest.mark.parametrize(
    ("command", "content"),
    [
        *((command, None) for command in ("serve", "check", "queue", "events", "deliveries")),
        *((command, content) for command in ("serve", "queue") for content in (b"[smtp\n", b"\xff\xfe")),
    ],
)
def test_unreadable_configuration_is_exit_78_in_one_line(tmp_path: Path, command: str, content: bytes | None) -> None:
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)
    done = run(command, "--config", path)
    assert done.status == 78
    assert one_line(done).startswith(f"{path}: ")


def test_configuration_without_read_permission_is_exit_78_in_one_line(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forbidden(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    # Tests may run as root, who may read everything.
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    for name in ("read_text", "read_bytes", "open"):
        monkeypatch.setattr(Path, name, forbidden)
    with pytest.raises(SystemExit) as end:
        main(["queue", "--config", str(config)])
    errors = capsys.readouterr().err
    assert (end.value.code, errors.count("\n"), "Permission denied" in errors) == (78, 1, True), errors


def test_serve_rejects_an_invalid_configuration(bad: Path) -> None:
    done = run("serve", "--config", bad)
    assert (done.status, done.output) == (78, "")
    assert "Traceback" not in done.errors
    assert re.search(r"^mailbridge: \S+: .*; ", done.errors)


# The store, with and without a daemon


@dataclass(frozen=True)
class Seeded:
    """A state_dir with three faxes: one queued, one in doubt, one failed."""

    config: Path
    queued: str
    doubted: str
    failed: str


def seed(folder: Path) -> Seeded:
    # The endpoint is never called, because every delivery to it is final.
    webhook = f'[webhook.crm]\nurl = "http://127.0.0.1:1/"\nsecret = "{SECRET}"\nallow_private = true\n'
    return asyncio.run(_seed(write_config(folder, webhook)))


async def _seed(config: Path) -> Seeded:
    # IDs of the same millisecond are in no order.
    ids = sorted(new_id("fax") for _ in range(3))
    document = replace(a_fax().documents[0], name="חוזה.pdf")
    email = Email(message_id="<1@x>", sender="dana@example.co.il", subject=HOSTILE)
    plain = {"documents": (document,), "email": email, "due_at": NEVER, "expires_at": NEVER, "tags": {}}
    queued, doubted, failed = (a_fax(NOW, id=id, **plain) for id in ids)
    envelope = an_envelope(NOW, subject=HOSTILE)
    attempt = (Attempt(n=1, started_at=NOW),)
    busy = Failure(code="busy", message="the line was busy", provider_code=3)
    async with SqliteStore(config.parent / "state", lambda fax: {"fax_id": fax.id}, lambda type_: ["crm"]) as store:
        await store.run(lambda tx: tx.submissions.add(envelope, (queued, doubted, failed), None, NOW))
        for fax in (doubted, failed):
            await store.run(lambda tx, fax=fax: tx.faxes.transition(fax.id, "claim", NOW, attempts=attempt))  # type: ignore[misc]  # a default has no type
        await store.run(lambda tx: tx.faxes.transition(doubted.id, "lose", NOW))
        await store.run(lambda tx: tx.faxes.transition(failed.id, "fail", NOW, failure=busy))
        claimed = await store.run(lambda tx: tx.deliveries.claim("crm", NOW, 100))
        for delivery, event in claimed:
            end = ("reject", {"status": 410, "error": "HTTP 410"}) if event.type == "fax.failed" else ("deliver", {"status": 204})
            await store.run(lambda tx, id=delivery.id, end=end: tx.deliveries.transition(id, end[0], NOW, **end[1]))  # type: ignore[misc]  # a default has no type
    return Seeded(config, queued.id, doubted.id, failed.id)


@contextlib.contextmanager
def serving(config: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "mailbridge", "serve", "--config", str(config)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment())
    try:
        assert process.stderr is not None
        assert any('"daemon started"' in line for line in process.stderr)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    """The state_dir with a daemon."""
    seeded = seed(tmp_path_factory.mktemp("seeded"))
    with serving(seeded.config):
        yield seeded


def test_commands_read_the_store_without_a_daemon(tmp_path: Path) -> None:
    seeded = seed(tmp_path)
    commands = [("queue",), ("show", seeded.failed, "--json"), ("show", "fax_1"), ("deliveries", "--dead")]
    alone = [run(*command, "--config", seeded.config) for command in commands]
    with serving(seeded.config):
        assert [run(*command, "--config", seeded.config) for command in commands] == alone
    assert [done.status for done in alone] == [0, 0, 1, 0]
    assert "fax_1" in one_line(alone[2])


def read_json(seeded: Seeded, *arguments: str) -> Any:
    done = run(*arguments, "--json", "--config", seeded.config)
    assert (done.status, done.errors) == (0, "")
    assert done.output.isascii(), "text from a mail must not reach the terminal unescaped"
    return json.loads(done.output)


def table(seeded: Seeded, *arguments: str) -> list[str]:
    done = run(*arguments, "--config", seeded.config)
    assert (done.status, done.errors) == (0, "")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e]", done.output)
    return done.output.splitlines()


def test_queue_json(seeded: Seeded) -> None:
    faxes = read_json(seeded, "queue")
    assert [fax["id"] for fax in faxes] == [seeded.failed, seeded.doubted, seeded.queued]
    assert [fax["state"] for fax in faxes] == ["failed", "in_doubt", "queued"]
    assert faxes[0]["failure"] == {"code": "busy", "message": "the line was busy", "provider_code": 3}
    assert faxes[2]["subject"] == HOSTILE
    assert [fax["id"] for fax in read_json(seeded, "queue", "--state", "in_doubt")] == [seeded.doubted]
    assert [fax["id"] for fax in read_json(seeded, "queue", "--limit", "1")] == [seeded.failed]
    assert read_json(seeded, "queue", "--state", "cancelled") == []


def test_queue_table(seeded: Seeded) -> None:
    head, *rows = table(seeded, "queue")
    assert head.split() == ["ID", "STATE", "NUMBER", "CREATED", "TRIES", "FROM", "SUBJECT", "REASON"]
    assert [row.split()[0] for row in rows] == [seeded.failed, seeded.doubted, seeded.queued]
    assert "busy (3): the line was busy" in rows[0]
    assert "dana@example.co.il" in rows[2]
    assert "חוזה" in rows[2]
    assert table(seeded, "queue", "--state", "cancelled") == ["no faxes in state cancelled"]


def test_show(seeded: Seeded) -> None:
    fax = read_json(seeded, "show", seeded.failed)
    assert [event["type"] for event in fax["events"]] == ["fax.queued", "fax.failed"]
    assert [(d["type"], d["state"]) for d in fax["deliveries"]] == [("fax.queued", "delivered"), ("fax.failed", "dead")]
    assert fax["documents"][0]["name"] == "חוזה.pdf"
    assert fax["attempts"][0]["n"] == 1
    lines = table(seeded, "show", seeded.failed)
    assert lines[0] == seeded.failed
    text = "\n".join(lines)
    for words in (
        "state      failed",
        "busy (3): the line was busy",
        "חוזה.pdf",
        "fax.failed to crm: dead after 1 try  HTTP 410",
    ):
        assert words in text


def test_events_and_deliveries(seeded: Seeded) -> None:
    events = read_json(seeded, "events")
    assert sorted(event["type"] for event in events) == ["fax.failed", "fax.in_doubt", *["fax.queued"] * 3]
    assert [event["type"] for event in read_json(seeded, "events", "--fax", seeded.doubted)] == ["fax.in_doubt", "fax.queued"]
    assert len(table(seeded, "events")) == 1 + len(events)
    dead = read_json(seeded, "deliveries", "--dead")
    assert [(one["type"], one["endpoint"], one["status"], one["error"]) for one in dead] == [
        ("fax.failed", "crm", 410, "HTTP 410")
    ]
    assert len(read_json(seeded, "deliveries")) == 5
    assert len(read_json(seeded, "deliveries", "--limit", "2")) == 2
    head, row = table(seeded, "deliveries", "--dead")
    assert head.split()[:4] == ["ENDPOINT", "TYPE", "STATE", "TRIES"]
    assert row.split()[:5] == ["crm", "fax.failed", "dead", "1", "410"]


@pytest.mark.parametrize("id", ["fax_01J00000000000000000000000", "x", "", "'; DROP TABLE fax; --", "חוזה", "../../etc/passwd"])
def test_unknown_id_is_exit_1_in_one_line(seeded: Seeded, id: str) -> None:
    done = run("show", "--config", seeded.config, "--", id)
    assert done.status == 1
    assert id in one_line(done)


def test_closed_pipe_prints_no_error(seeded: Seeded) -> None:
    shell = 'set -o pipefail; "$0" -m mailbridge events --json --config "$1" | head -1'
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable, str(seeded.config)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
    )
    assert (done.stdout, done.stderr) == ("[\n", "")
    # The reader closes before the first line.
    for command in (["queue"], ["queue", "--json"], ["show", seeded.failed]):
        read, write = os.pipe()
        os.close(read)
        words = [sys.executable, "-m", "mailbridge", *command, "--config", str(seeded.config)]
        gone = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, env=environment())
        os.close(write)
        assert (gone.returncode, gone.stderr) == (1, ""), command


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_output_in_an_encoding_without_hebrew(seeded: Seeded, encoding: str) -> None:
    for command in (("queue",), ("show", seeded.queued)):
        done = run(*command, "--config", seeded.config, PYTHONIOENCODING=encoding)
        assert (done.status, done.errors) == (0, ""), command
        assert "dana" in done.output


@pytest.mark.parametrize("command", ["migrate", "queue"])
def test_migration_does_not_disturb_json_output(config: Path, command: str) -> None:
    old = Path(__file__).parent.parent / "store" / "schema-1.sql"
    with sqlite3.connect(load(config, environment()).state_dir / "mailbridge.sqlite3") as database:
        database.executescript(old.read_text(encoding="utf-8"))
    database.close()
    done = run(command, "--json", "--config", config)
    assert (done.status, done.errors) == (0, "")
    json.loads(done.output)


def test_missing_database_is_one_line(config: Path) -> None:
    done = run("queue", "--config", config)
    assert done.status == 1
    assert one_line(done).endswith("start mailbridge serve")


# The daemon


def test_second_daemon_on_the_same_state_dir_is_refused(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with serving(config) as first:
        done = run("serve", "--config", config)
        assert done.status == 78
        assert one_line(done) == f"another mailbridge already works on {tmp_path / 'state'}; stop it first"
        assert first.poll() is None
        assert run("queue", "--config", config).output == "no faxes\n"


@pytest.mark.parametrize(("section", "key"), [("smtp", "smtp.listen"), ("http", "http.listen")])
def test_port_in_use_is_one_line(tmp_path: Path, section: str, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--config", write_config(tmp_path, **{section: port}))
    assert (done.status, done.output) == (78, "")
    # Log lines are JSON; the error is the only other line.
    [error] = [line for line in done.errors.splitlines() if not line.startswith("{")]
    assert error.startswith(f"mailbridge: {key}: ")
    assert f"127.0.0.1:{port}" in error
    assert "; " in error, "a remedy is named"


def test_state_dir_without_a_parent_is_one_line(tmp_path: Path) -> None:
    config = write_config(tmp_path, state=tmp_path / "gone" / "state")
    done = run("serve", "--config", config)
    assert done.status == 1
    assert one_line(done).startswith(f"state_dir {tmp_path / 'gone' / 'state'} cannot be written")


def test_daemon_creates_its_state_dir_with_mode_700(tmp_path: Path) -> None:
    with serving(write_config(tmp_path, state=tmp_path / "new")):
        assert (tmp_path / "new" / "mailbridge.sqlite3").exists()
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


# check --online


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
        assert (done.status, done.errors.startswith("mailbridge: warning: notice.relay: ")) == (0, True)
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
    ("relay", {"relay": "smtp://office:hunter2@127.0.0.1:1"}, "127.0.0.1:1 cannot be used: [Errno 111] Connection refused"),
    ("relay", {"relay": "smtp://office:hunter2/x@127.0.0.1:25"}, "in a password write / as %2F"),
    ("relay", {"relay": "smtp://office:סודhunter2@127.0.0.1:{relay_port}"}, "check failed"),
    ("relay", {"relay": "127.0.0.1:25"}, "notice.relay is not a valid URL"),
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


def test_check_online_fails_if_a_part_fails(tmp_path: Path) -> None:
    async def scenario(peers: Peers) -> None:
        config = peers.config(tmp_path, password="hunter2-wrong", relay="smtp://office:hunter2@127.0.0.1:1")
        done = await run_beside("check", "--online", "--config", config)
        assert (done.status, done.errors.startswith("mailbridge: warning: notice.relay: ")) == (1, True)
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


# hash-password and simulator


def test_hash_password_reads_a_pipe() -> None:
    done = run("hash-password", stdin="סוד hunter2\n")
    assert (done.status, done.errors) == (0, "")
    assert "hunter2" not in done.output
    hashed = done.output.removesuffix("\n")
    assert "\n" not in hashed
    assert check_password(hashed, "סוד hunter2")
    assert not check_password(hashed, "hunter2")
    assert run("hash-password", stdin="x").output.startswith("scrypt$")


@pytest.mark.parametrize("stdin", ["", "\n"])
def test_hash_password_rejects_an_empty_password(stdin: str) -> None:
    done = run("hash-password", stdin=stdin)
    assert done.status == 2
    assert one_line(done).startswith("the password is empty")


def test_simulator_prints_its_addresses_and_answers() -> None:
    words = [sys.executable, "-m", "mailbridge", "simulator", "--port", "0", "--imap-port", "0", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    try:
        assert process.stdout is not None
        imap, myfax = (json.loads(process.stdout.readline()) for _ in range(2))
        host, _, port = imap["imap"].partition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as mailbox:
            assert mailbox.recv(1000).startswith(b"* OK")
        url = myfax["url"].removesuffix("action/")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}_control/uploads", timeout=PATIENCE) as answer:
            assert json.load(answer) == []
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) in (0, 130)
    finally:
        process.kill()
        _, errors = process.communicate(timeout=PATIENCE)
    assert errors == ""


def test_simulator_on_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("simulator", "--port", str(taken.getsockname()[1]))
    assert done.status == 1
    assert "in use" in one_line(done)
