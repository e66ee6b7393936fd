"""The demo: the daemon as `serve` runs it, between a MyFax simulator, a mailbox and a webhook receiver, and one fax."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
import signal
import smtplib
import socket
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, TypeVar

from mailbridge import log
from mailbridge.app import Daemon
from mailbridge.config import load
from mailbridge.demo.mail_relay import MailRelay
from mailbridge.demo.mailbox import DemoMailbox, report_of
from mailbridge.demo.receiver import Receiver
from mailbridge.demo.simulator import SimFax, Simulator
from mailbridge.page.text_page import render
from mailbridge.submission.password import hash_password

T = TypeVar("T")
# Prints one line, with the seconds since the start unless None.
PrintStep = Callable[[float | None, str], None]

NUMBER = "03-9876543"
SENDER = "dana@example.co.il"
# Seconds. The demo takes about two; a machine that needs longer than this has a problem.
TIMEOUT = 18.0
_EVENTS = ("fax.queued", "fax.submitted", "fax.delivered")
_CONFIG = """
state_dir = "{state}"

[myfax]
url = "{myfax}"

[account.office]
email = "office@example.co.il"
password = "demo"

[smtp]
listen = ["127.0.0.1:{smtp_port}"]
hostname = "mailbridge.demo"

[notice]
relay = "smtp://127.0.0.1:{relay_port}"
on = ["delivered", "failed", "in_doubt"]

[http]
listen = "127.0.0.1:0"
console = true

[user.demo]
password_hash = "{password_hash}"
role = "operator"

[mailbox.office]
host = "127.0.0.1"
port = {imap_port}
tls = "none"
username = "office@example.co.il"
password = "demo"
trust = "none"

[webhook.demo]
url = "{webhook}"
secret = "{secret}"
allow_private = true

[log]
level = "{level}"
format = "console"
"""
_INSTRUCTIONS = """
See this fax, and those that you send, in the console: http://{console}/console/faxes
User name: demo, password: {password}

Connect a mail client: outgoing server {host}, port {port}, no password, no encryption. Write to an Israeli number at fax.local,
with a PDF attached. Numbers that end in 01 are busy, 02 do not answer, 06 are wrong, and 07 fail in transfer.
Or paste one of these commands:
  swaks --server {host}:{port} --from {sender} --to 03-9876501@fax.local --body 'a short letter'
  printf 'From: {sender}\\nSubject: hello\\n\\na short letter\\n' | curl -s smtp://{host}:{port} --mail-from {sender} \
--mail-rcpt 03-9876501@fax.local -T -
Press Ctrl-C to stop.
"""


class DemoRun:
    """The daemon and the parts around it. `print_step` gets one short line for each step."""

    def __init__(self, print_step: PrintStep, log_level: str = "error") -> None:
        self._print_step, self._log_level, self._started = print_step, log_level, time.monotonic()

    def step(self, text: str) -> None:
        """Print a step with the seconds since the start."""
        self._print_step(time.monotonic() - self._started, text)

    async def run(self, once: bool, smtp_port: int = 0) -> int:
        """Send one fax; then, unless `once`, keep running. Return the exit code: 0 only if every step succeeded."""
        async with AsyncExitStack() as stack:
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbridge-demo-")))
            daemon, stop = await self._build(stack, state, smtp_port)
            serving = asyncio.create_task(daemon.run(stop, self._ready.set))
            try:
                await _unless_ended(serving, self._ready.wait())
                self.step("mailbridge accepts mail on {}:{}".format(*daemon.smtp[0]))
                succeeded = await _unless_ended(serving, self._send_fax(daemon))
                if succeeded and not once:
                    await _unless_ended(serving, self._keep_running(daemon))
            finally:
                stop.set()
                await serving
        return 0 if succeeded else 1

    async def _build(self, stack: AsyncExitStack, state: Path, smtp_port: int) -> tuple[Daemon, asyncio.Event]:
        secret = "whsec_" + base64.b64encode(os.urandom(32)).decode()
        self._ready, self._notified = asyncio.Event(), asyncio.Event()
        self._mailbox = await stack.enter_async_context(DemoMailbox())
        self._receiver = Receiver(secret, self._on_event)
        webhook = await self._receiver.start()
        stack.push_async_callback(self._receiver.stop)
        simulator = Simulator(step=0.3, on_final=self._mail_report, on_upload=self._on_upload)
        myfax = await simulator.start()
        stack.push_async_callback(simulator.stop)
        relay = MailRelay(self._on_notice)
        relay_port = await relay.start()
        stack.push_async_callback(relay.stop)
        self.step("the MyFax simulator, a mailbox and a webhook receiver are running")
        self._password = secrets.token_hex(4)
        values = {
            "password_hash": hash_password(self._password),
            "myfax": myfax,
            "webhook": webhook,
            "secret": secret,
            "level": self._log_level,
            "relay_port": relay_port,
        }
        text = _CONFIG.format(state=state, smtp_port=smtp_port, imap_port=self._mailbox.port, **values)
        (state / "config.toml").write_text(text, encoding="utf-8")
        log.setup(self._log_level, "console")
        return Daemon(load(state / "config.toml", {}), {}), asyncio.Event()

    async def _send_fax(self, daemon: Daemon) -> bool:
        """Send a mail with a document; return whether its fax was delivered, by the report, and every webhook verified."""
        self.step(f"sending a mail with a PDF to {NUMBER}@fax.local")
        reply = await asyncio.to_thread(_send_mail, *daemon.smtp[0])
        self.step(f"SMTP reply: {reply}")
        try:
            events = [await self._receiver.wait(type_, TIMEOUT) for type_ in _EVENTS]
        except TimeoutError:
            self.step(
                f"demo failed: not all of {', '.join(_EVENTS)} arrived within {TIMEOUT:g} s; --verbose shows the daemon's log"
            )
            return False
        final = events[-1]["data"]
        if final["source"] != "report" or final["report"] is None:
            self.step(f"demo failed: the fax was delivered, but reported by {final['source']} instead of by mail")
            return False
        if self._receiver.forged:
            self.step("demo failed: a webhook had a wrong signature")
            return False
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._notified.wait()
        except TimeoutError:
            self.step("demo failed: the sender's mailbox got no notice with a confirmation")
            return False
        self.step("demo succeeded: fax delivered, webhook verified, sender notified")
        return True

    async def _keep_running(self, daemon: Daemon) -> None:
        host, port = daemon.smtp[0]
        login = {"console": "{}:{}".format(*daemon.http), "password": self._password}
        for line in _INSTRUCTIONS.format(host=host, port=port, sender=SENDER, **login).splitlines():
            self._print_step(None, line)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    def _on_upload(self, fax: SimFax) -> None:
        self.step(f"the MyFax simulator receives {fax.subject or 'a file'} for {fax.number}")

    async def _mail_report(self, fax: SimFax) -> None:
        self.step(f"the MyFax simulator mails its report: {fax.outcome}")
        await self._mailbox.deliver(report_of(fax, fax.email))

    async def _on_notice(self, mail: bytes) -> None:
        await self._mailbox.deliver(mail)
        notice = message_from_bytes(mail, policy=policy.default)
        files = [str(part.get_filename()) for part in notice.iter_attachments() if part.get_content_type() == "application/pdf"]
        confirmed = f", with its confirmation {files[0]}" if files else ""
        self.step(f"the mailbox receives the notice to {notice['To']}{confirmed}")
        if files:
            self._notified.set()

    def _on_event(self, event: dict[str, Any]) -> None:
        data = event["data"]
        error = data.get("error")
        facts = (data.get("to"), error.get("code") if isinstance(error, dict) else error)
        self.step(" ".join(["webhook", event["type"], *(fact for fact in facts if fact)]) + ", signature verified")


async def _unless_ended(serving: asyncio.Task[None], work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`. If the daemon ends first, raise its error."""
    task = asyncio.create_task(work)
    await asyncio.wait({task, serving}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await serving
        raise RuntimeError("the daemon stopped by itself")
    return task.result()


def _send_mail(host: str, port: int) -> str:
    """Send the demo's mail as a mail client does; return the reply to its end."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = SENDER, f"{NUMBER}@fax.local", "חוזה לחתימה"
    mail["Message-ID"] = f"<{os.urandom(8).hex()}@example.co.il>"
    mail.set_content("The contract is attached.\n")
    page, _ = render("The page of the demo.\nעמוד ההדגמה.\n")
    mail.add_attachment(page, maintype="application", subtype="pdf", filename="contract.pdf")
    with smtplib.SMTP(host, port, timeout=TIMEOUT) as client:
        client.ehlo()
        client.mail(SENDER)
        client.rcpt(f"{NUMBER}@fax.local")
        code, text = client.data(mail.as_bytes())
    return f"{code} {text.decode()}"


def _port_or_any(port: int) -> int:
    """Return `port`, or 0 for any free port if it is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


async def run_demo(once: bool, print_step: PrintStep, log_level: str = "error", smtp_port: int = 0) -> int:
    """Run the demo and return its exit code. If `smtp_port` is in use, any free port is taken. SIGTERM ends it as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    port = _port_or_any(smtp_port)
    if port != smtp_port:
        print_step(None, f"port {smtp_port} is in use, perhaps by another demo; this one takes another port")
    return await DemoRun(print_step, log_level).run(once, port)
