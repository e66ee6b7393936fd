"""The tour: stand-ins of everything around the very daemon that `serve` runs, and one fax round the whole circle."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import smtplib
import socket
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from mailbridge import log
from mailbridge.app import Daemon
from mailbridge.config import load
from mailbridge.demo.mailbox import DemoMailbox, report_of
from mailbridge.demo.receiver import Receiver
from mailbridge.demo.simulator import SimFax, Simulator
from mailbridge.submission.page import render

Say = Callable[[float | None, str], None]

NUMBER = "03-9876543"
SENDER = "dana@example.co.il"
# The circle takes about two seconds; a machine that needs longer than this has told that something is wrong.
PATIENCE = 18.0
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

[http]
listen = "127.0.0.1:0"

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


class Tour:
    """The stand-ins and the daemon between them. `say` gets one short line a step, with the seconds since the start."""

    def __init__(self, say: Say, log_level: str = "error") -> None:
        self._tell, self._log_level, self._begin = say, log_level, time.monotonic()

    def step(self, what: str) -> None:
        """Tell one step with its time since the start."""
        self._tell(time.monotonic() - self._begin, what)

    def _say(self, words: str) -> None:
        self._tell(None, words)

    async def run(self, once: bool, smtp_port: int = 0) -> int:
        """Send one fax round the circle; then stay, unless `once`. Return the exit code: 0 only if the whole circle came true."""
        async with AsyncExitStack() as stack:
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbridge-demo-")))
            daemon, stop = await self._build(stack, state, smtp_port)
            serving = asyncio.create_task(daemon.run(stop, self._ready.set))
            try:
                await self._race(self._ready.wait(), serving)
                self.step(f"mailbridge takes mail on {_address(daemon)}")
                came_true = await self._race(self._circle(daemon), serving)
                if not once and came_true:
                    await self._race(self._stay(daemon), serving)
            finally:
                stop.set()
                await serving
        return 0 if came_true else 1

    async def _build(self, stack: AsyncExitStack, state: Path, smtp_port: int) -> tuple[Daemon, asyncio.Event]:
        secret = "whsec_" + base64.b64encode(os.urandom(32)).decode()
        self._ready = asyncio.Event()
        self._mailbox = await stack.enter_async_context(DemoMailbox())
        self._receiver = Receiver(secret, self._on_event)
        webhook = await self._receiver.start()
        stack.push_async_callback(self._receiver.stop)
        simulator = Simulator(step=0.3, on_final=self._report, on_upload=self._on_upload)
        myfax = await simulator.start()
        stack.push_async_callback(simulator.stop)
        self.step("a MyFax stand-in, a mailbox and a webhook receiver are up")
        values = {"myfax": myfax, "webhook": webhook, "secret": secret, "level": self._log_level}
        text = _CONFIG.format(state=state, smtp_port=smtp_port, imap_port=self._mailbox.port, **values)
        (state / "config.toml").write_text(text, encoding="utf-8")
        log.setup(self._log_level, "console")
        return Daemon(load(state / "config.toml", {}), {}), asyncio.Event()

    async def _race(self, wanted: Coroutine[Any, Any, Any], serving: asyncio.Task[None]) -> Any:
        """Return what `wanted` gives; a daemon that ends meanwhile raises its own error here."""
        task = asyncio.create_task(wanted)
        await asyncio.wait({task, serving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await serving
            raise RuntimeError("the daemon ended by itself")
        return task.result()

    async def _circle(self, daemon: Daemon) -> bool:
        self.step(f"a mail with a PDF goes to {NUMBER}@fax.local")
        reply = await asyncio.to_thread(_send, *daemon.smtp[0])
        self.step(f"SMTP answers: {reply}")
        try:
            events = [await self._receiver.wait(type_, PATIENCE) for type_ in _EVENTS]
        except TimeoutError:
            self.step(f"not all of {', '.join(_EVENTS)} arrived within {PATIENCE:g} s; run it again with --verbose to see why")
            return False
        final = events[-1]["data"]
        by_report = final["source"] == "report" and final["report"] is not None
        self.step(
            "the whole circle came true" if by_report else f"delivered, but told by {final['source']} and not by the report"
        )
        return by_report and not self._receiver.forged

    async def _stay(self, daemon: Daemon) -> None:
        host, port = daemon.smtp[0]
        self._say("")
        self._say(
            f"Point a mail client at it: outgoing server {host}, port {port}, no password, no encryption; write to any Israeli"
        )
        self._say(
            "number at fax.local with a PDF attached. Numbers that end in 01 are busy, 02 do not answer, 06 are wrong, 07 fail."
        )
        self._say("Or paste one of these:")
        self._say(f"  swaks --server {host}:{port} --from {SENDER} --to 03-9876501@fax.local --body 'a short letter'")
        self._say(
            f"  printf 'From: {SENDER}\\nSubject: hello\\n\\na short letter\\n' | "
            f"curl -s smtp://{host}:{port} --mail-from {SENDER} --mail-rcpt 03-9876501@fax.local -T -"
        )
        self._say("Ctrl-C ends it.")
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    def _on_upload(self, fax: SimFax) -> None:
        self.step(f"MyFax takes {fax.subject or 'a file'} for {fax.number}")

    async def _report(self, fax: SimFax) -> None:
        self.step(f"MyFax mails its report: {fax.outcome}")
        await self._mailbox.deliver(report_of(fax, fax.email))

    def _on_event(self, event: dict[str, Any]) -> None:
        data = event["data"]
        error = data.get("error")
        words = (data.get("to"), error.get("code") if isinstance(error, dict) else error)
        self.step(" ".join(["webhook", event["type"], *(word for word in words if word)]) + ", signature verified")


def _address(daemon: Daemon) -> str:
    return "{}:{}".format(*daemon.smtp[0])


def _send(host: str, port: int) -> str:
    """Send the tour's mail as any mail client would, and return what the server answered to its end."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = SENDER, f"{NUMBER}@fax.local", "חוזה לחתימה"
    mail["Message-ID"] = f"<{os.urandom(8).hex()}@example.co.il>"
    mail.set_content("The contract is attached.\n")
    page, _ = render("A page for the tour.\nעמוד לסיור.\n")
    mail.add_attachment(page, maintype="application", subtype="pdf", filename="contract.pdf")
    with smtplib.SMTP(host, port, timeout=PATIENCE) as client:
        client.ehlo()
        client.mail(SENDER)
        client.rcpt(f"{NUMBER}@fax.local")
        code, text = client.data(mail.as_bytes())
    return f"{code} {text.decode()}"


def _free(port: int) -> int:
    """Return `port`, or 0 for any free one where it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


async def tour(once: bool, say: Say, log_level: str = "error", smtp_port: int = 0) -> int:
    """Run the demo; return its exit code. Where `smtp_port` is taken, a free one is used. SIGTERM ends it as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await Tour(say, log_level).run(once, _free(smtp_port))
