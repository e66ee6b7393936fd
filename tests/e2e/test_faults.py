"""Whatever call to the system fails, it costs that mail or session an answer, never the daemon and never an accepted mail.

Each round is a seed. MAILBRIDGE_FAULT_ROUNDS=100 tries more of them.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import smtplib
from pathlib import Path

import httpx
import pytest

from mailbridge.demo.mailbox import report_mail
from tests.e2e.environment import Environment
from tests.wait_helpers import PATIENCE, until

HERE = Path(__file__).parent
DAEMON = ("-c", "from tests.e2e.fault_injection import main; main()")
ROUNDS = int(os.environ.get("MAILBRIDGE_FAULT_ROUNDS", "3"))
MAILS = ("02-delivered-by-report", "07-two-attachments", "08-hebrew-body-only")
MORE = """
[incoming]
every = "1s"
[fax]
first_poll = "200ms"
per_number = 0
"""


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_failing_calls_cost_an_answer_and_never_the_daemon(seed: int, tmp_path: Path) -> None:
    asyncio.run(_round(seed, tmp_path))


async def _round(seed: int, state: Path) -> None:
    async with Environment(state, more=MORE, env={"FAULTS": str(seed), "PYTHONPATH": os.getcwd()}) as env:
        env._daemon = DAEMON
        await env.start_myfax()
        await env.start()
        env.signal(signal.SIGUSR1)
        # The fork server and its workers have to be started while starting them can fail.
        for fork_server in _children(env.pid):
            os.kill(fork_server, signal.SIGKILL)
        replies = await asyncio.gather(*[_mail(env, seed, number) for number in range(24)], *[_ask(env) for _ in range(6)])
        for number in range(3):
            await env.mailbox.deliver(_received(f"{seed}-{number}"))
        await env.mailbox.deliver(report_mail("Success", 9, "of somebody else"))
        env.signal(signal.SIGUSR2)
        # Now all is well again, and so must be the daemon.
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE) as client:

            async def is_ready() -> bool:
                return (await client.get("http://{}:{}/readyz".format(*env.http))).is_success

            await until(is_ready, what=env.log.read_text())
        assert (await env.send("dana@example.co.il", ["03-9876543@fax.local"], _letter("after"))).startswith("250 "), replies
        accepted = [fax for reply in replies if reply.startswith("250 ") for fax in re.findall(r"fax_\w+", reply)]
        known = {fax["id"] for fax in await env.ask("queue", limit=1000)}
        assert set(accepted) <= known
        for fax in known:
            # An upload whose connection broke late is in doubt, which is not lost.
            assert (await env.becomes(fax, "delivered", "in_doubt", "failed"))["state"] != "failed", env.log.read_text()
        await until(lambda: sum(event["type"] == "fax.received" for event in env.receiver.events) >= 3, what=env.log.read_text())
        assert await env.stop() == 0
        written = env.log.read_text()
        assert "Traceback" not in written, written
        assert "unexpected" not in written, written


def _children(daemon: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()]


def _letter(name: str) -> bytes:
    return f"From: dana@example.co.il\r\nMessage-ID: <{name}@x>\r\nSubject: {name}\r\n\r\nletter {name}\r\n".encode()


def _received(name: str) -> bytes:
    head = f"From: fax@myfax.co.il\r\nTo: office@example.co.il\r\nMessage-ID: <{name}@y>\r\nSubject: fax {name}\r\n"
    return f"{head}Date: Sun, 04 Jan 2026 09:00:00 +0000\r\nX-Fax-Sender: 08-9999999\r\n\r\ntext\r\n".encode()


async def _mail(env: Environment, seed: int, number: int) -> str:
    content = (HERE / MAILS[number % len(MAILS)] / "mail.eml").read_bytes()
    content = re.sub(rb"(?mi)^Message-ID:.*$", b"Message-ID: <%d-%d@x>" % (seed, number), content)
    try:
        return await env.send("dana@example.co.il", ["03-9876543@fax.local"], content)
    except (OSError, smtplib.SMTPException) as error:
        return f"no answer: {error!r}"


async def _ask(env: Environment) -> str:
    """Ask the control socket and HTTP; any answer will do, and none at all too."""
    try:
        await env.ask("queue")
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE) as client:
            await client.get("http://{}:{}/metrics".format(*env.http))
    except Exception as error:
        return f"no answer: {error!r}"
    return ""
