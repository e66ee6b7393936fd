"""One real daemon as a process, and around it the MyFax simulator, a mailbox and a webhook receiver."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import smtplib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString
from zoneinfo import ZoneInfo

import httpx

from mailbridge.control.client import call
from mailbridge.control.socket_path import socket_path
from mailbridge.demo.mailbox import DemoMailbox, report_of
from mailbridge.demo.receiver import Receiver
from mailbridge.demo.simulator import SimFax, Simulator
from mailbridge.errors import ControlError
from tests.e2e.failing_disk import ATTACH_FAULTS, FAULTS
from tests.loopback_ports import reserved_port
from tests.postgres_server import PostgresServer
from tests.preloaded_process import PreloadedProcess, Start, preloaded, with_fork_server
from tests.wait_helpers import PATIENCE, until

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes....").decode()
_CONFIG = """
state_dir = "{state}"

[myfax]
url = "http://127.0.0.1:{myfax_port}/action/"

[account.office]
email = "office@example.co.il"
password = "demo"
uploads = {uploads}

[smtp]
listen = ["127.0.0.1:{smtp_port}"]

[http]
listen = "127.0.0.1:0"
{http}
{store}
[mailbox.office]
host = "127.0.0.1"
port = {imap_port}
tls = "none"
username = "office@example.co.il"
password = "demo"
trust = "none"

[webhook.crm]
url = "{webhook}"
secret = "{secret}"
allow_private = true
"""
_STORE = """
[store]
url = "{url}"
listen_url = "{listen_url}"
unsafe = true

[node]
name = "{name}"
"""
# The fixture `_database` sets it: the daemons then use PostgreSQL.
server: PostgresServer | None = None

_DAEMON = ("-m", "mailbridge")


def _program(constants: Mapping[str, float]) -> str:
    """Return the daemon as a program, with other values of these constants."""
    modules = {"cli", *(name.rpartition(".")[0] for name in constants)}
    imported = ", ".join(f"mailbridge.{module}" for module in sorted(modules))
    return "\n".join(
        [f"import {imported}", *(f"mailbridge.{name} = {value}" for name, value in constants.items()), "mailbridge.cli.main()"]
    )


class Environment:
    """Entering it starts everything but the daemon and MyFax; `start` and `start_myfax` start those.

    `more` is appended to the configuration, `http` to its section [http]. `reports` is whether MyFax mails a report at the end of
    each fax. `log` is everything the daemon wrote, over all its starts. `smtp_port` 0 is another free port at each start.
    `strict` makes every warning of Python's development mode an error. `env` is added to the daemon's environment variables;
    `under` is a command that runs the daemon's. `constants` are other values of constants of mailbridge, such as `app.GRACE`.
    `beside` is the environment of another daemon: this one shares everything with it but its state_dir. `way` returns the URL by
    which it reaches its PostgreSQL database, given the usual one.
    """

    def __init__(
        self,
        state: Path,
        *,
        more: str = "",
        reports: bool = True,
        step: float = 0.1,
        smtp_port: int = 0,
        strict: bool = False,
        uploads: int = 1,
        env: Mapping[str, str] | None = None,
        under: Sequence[str] = (),
        constants: Mapping[str, float] | None = None,
        http: str = "",
        beside: Environment | None = None,
        way: Callable[[str], str] | None = None,
    ) -> None:
        self._more, self._reports, self._smtp_port, self._strict, self._uploads = more, reports, smtp_port, strict, uploads
        self._http = http
        self._env, self._under = env or {}, under
        self._program = _program(constants or {})
        self._daemon = ("-c", self._program) if constants else _DAEMON
        self._beside, self._way = beside, way
        self.simulator: Simulator = beside.simulator if beside else Simulator(step=step, on_final=self._report)
        self.receiver: Receiver = beside.receiver if beside else Receiver(SECRET)
        self.mailbox: DemoMailbox = beside.mailbox if beside else DemoMailbox()
        self.database: str = beside.database if beside else str(state)
        self.smtp = self.http = ("127.0.0.1", 0)
        self.name = state.name  # of the node
        self.config, self.log, self.state = state / "config.toml", state / "log", state / "state"
        self._stack = AsyncExitStack()
        self._process: asyncio.subprocess.Process | PreloadedProcess | None = None

    async def __aenter__(self) -> Environment:
        if self._beside is None:
            self.myfax_port = self._stack.enter_context(reserved_port())
            await self._stack.enter_async_context(self.mailbox)
            self._webhook = await self.receiver.start()
            self._stack.push_async_callback(self.receiver.stop)
        else:
            self.myfax_port, self._webhook = self._beside.myfax_port, self._beside._webhook
        ports = {"imap_port": self.mailbox.port, "myfax_port": self.myfax_port, "smtp_port": self._smtp_port}
        values = {**ports, "http": self._http, "uploads": self._uploads, "webhook": self._webhook, "secret": SECRET}
        config = _CONFIG.format(state=self.state, store=self._store_section(), **values) + self._more
        self.config.parent.mkdir(exist_ok=True)
        self.config.write_text(config, encoding="utf-8")
        self.state.mkdir(exist_ok=True)
        return self

    def _store_section(self) -> str:
        if server is None:
            return ""
        database = server.database(self.database)
        url, listen_url = server.client_url(database), server.url(database)
        if self._way:
            url = listen_url = self._way(url)
        return _STORE.format(url=url, listen_url=listen_url, name=self.name)

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            await self.kill(lease_passes=False)
        await self._stack.aclose()

    def another(self, state: Path, **options: Any) -> Environment:
        """Return the environment of another daemon on the same database, with these files of its own."""
        more = {"more": self._more, "http": self._http, "uploads": self._uploads, "way": self._way, **options}
        return Environment(state, beside=self, **more)

    async def start_myfax(self) -> None:
        """Start the MyFax simulator; until then, connections to it are refused."""
        await self.simulator.start(port=self.myfax_port)
        self._stack.push_async_callback(self.simulator.stop)

    async def list_incoming(self, source: str, did: str, type_: str = "incoming") -> None:
        """Let a fax or voicemail arrive now at MyFax: from now on it is in the list of `incoming.do`."""
        now = datetime.now(ZoneInfo("Asia/Jerusalem")).strftime("%Y-%m-%d %H:%M:%S.0")
        item = {"time": now, "source": source, "did": did, "type": type_}
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE) as client:
            (await client.post(f"http://127.0.0.1:{self.myfax_port}/_control/incoming", json=item)).raise_for_status()

    async def start(self, *, ready: bool = True) -> None:
        """Start the daemon; return when it accepts mail and, with `ready`, when it or another node watches the mailbox."""
        begun = self.log.stat().st_size if self.log.exists() else 0
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await self._start(log)
        finally:
            os.close(log)
        await until(lambda: self._has_started(begun), every=0.01)
        if ready:
            await self.becomes_ready()

    async def becomes_ready(self) -> None:
        """Wait until the daemon says that it is ready."""
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE) as client:

            async def is_ready() -> bool:
                return (await client.get("http://{}:{}/readyz".format(*self.http))).is_success

            await until(is_ready, every=0.01)

    async def _start(self, log: int) -> asyncio.subprocess.Process | PreloadedProcess:
        options = ("-X", "dev", "-W", "error") if self._strict else ()
        arguments, env = ("serve", "--config", str(self.config)), {"PATH": os.environ["PATH"], **self._env}
        if not self._under and set(self._env) <= {*FAULTS}:
            forker = preloaded(*options, library=env.get("LD_PRELOAD"))
            program = with_fork_server(f"{ATTACH_FAULTS}\n{self._program}" if self._env else self._program)
            return await forker.start(Start(arguments=arguments, env=env, program=program), [None, None, log])
        command = [*self._under, sys.executable, *options, *self._daemon, *arguments]
        return await asyncio.create_subprocess_exec(*command, stderr=log, env=env)

    def _has_started(self, begun: int) -> bool:
        """Whether the daemon has logged where it listens, after so many bytes of the log. Raises AssertionError if it ended."""
        assert self._process is not None
        with self.log.open("rb") as log:
            log.seek(begun)
            lines = log.read().splitlines()
        for line in lines:
            if b'"daemon started"' in line and line.endswith(b"}"):
                started = json.loads(line)
                self.smtp, self.http = (_address(started[name].split(",")[0]) for name in ("smtp", "http"))
                return True
        assert self._process.returncode is None, self.log.read_text()
        return False

    async def kill(self, *, lease_passes: bool = True) -> None:
        """Kill the daemon with SIGKILL. With `lease_passes` other nodes see it then as if its lease had passed."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        self._process = None
        if lease_passes:
            self.let_lease_pass()

    def let_lease_pass(self) -> None:
        """Let other nodes see this one, which does not work any more, as if its lease had passed."""
        if server is not None:
            self.ask_database("UPDATE node SET seen_at = seen_at - 60000000 WHERE name = %s", self.name)

    async def stop(self) -> int:
        """Stop the daemon as systemd does; return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            status = await self._process.wait()
        self._process = None
        return status

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self._process is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send the daemon a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ask(self, command: str, /, **args: object) -> Any:
        """Call the daemon on its control socket. Raises ControlError."""
        return await asyncio.to_thread(call, socket_path(self.state, {}), command, **args)

    def ask_database(self, question: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement on the daemon's PostgreSQL database, beside it."""
        assert server is not None
        return server.ask(server.database(self.database), question, *values)

    async def becomes(self, fax: str, *states: str) -> dict[str, Any]:
        """Return the fax once it is in one of the states."""
        shown: dict[str, Any] = {}

        async def there() -> bool:
            shown.update(await self.ask("show", id=fax))
            return shown["state"] in states

        await until(there, what=f"{fax} is not {states}")
        return shown

    async def retry_now(self, fax: str) -> None:
        """Make a queued fax due now."""
        with contextlib.suppress(ControlError):  # its upload has already started
            await self.ask("retry", id=fax)

    async def printed(self, *args: str) -> Any:
        """Run a mailbridge command; return the JSON that it prints. Raises AssertionError if it fails."""
        status, output, errors = await self.command(*args, "--json")
        assert status == 0, errors
        return json.loads(output)

    async def printed_without_config(self, *args: str) -> Any:
        """Run a mailbridge command that takes no configuration; return the JSON that it prints, whatever its exit status."""
        return json.loads((await self._run(*args, "--json"))[1])

    async def command(self, *args: str) -> tuple[int, str, str]:
        """Run a mailbridge command; return its exit status, output and errors."""
        return await self._run(*args, "--config", str(self.config))

    async def _run(self, *args: str) -> tuple[int, str, str]:
        start = Start(arguments=args, env=dict(os.environ))
        status, output, errors = await asyncio.to_thread(preloaded().run, start, b"", PATIENCE)
        return status, output.decode(), errors.decode()

    async def send(self, sender: str, recipients: list[str], mail: bytes) -> str:
        """Send a mail by SMTP; return the reply to its data, or to the first refused command."""
        return await asyncio.to_thread(_send, self.smtp, sender, recipients, mail)

    async def _report(self, fax: SimFax) -> None:
        if self._reports:
            await self.mailbox.deliver(report_of(fax, fax.email))


def _address(printed: str) -> tuple[str, int]:
    host, _, port = printed.rpartition(":")
    return host, int(port)


def _send(address: tuple[str, int], sender: str, recipients: list[str], mail: bytes) -> str:
    with smtplib.SMTP(*address, timeout=PATIENCE) as client:
        client.ehlo()
        code, text = client.mail(sender)
        for recipient in recipients:
            if code != 250:
                break
            code, text = client.rcpt(recipient)
        if code == 250:
            try:
                code, text = client.data(mail)
            except smtplib.SMTPDataError as refusal:  # instead of 354
                code, text = refusal.smtp_code, _bytes(refusal.smtp_error)
        return f"{code} {text.decode()}"


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
