"""Notices of a real daemon: the sender's mail program gets the answer, over kills at any point (row N20)."""

from __future__ import annotations

import asyncio
import os
import re
import smtplib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pypdfium2

from tests.e2e.environment import Environment
from tests.integration.notice_fixtures import DANA, texts
from tests.integration.relay_stand_in import RelayStandIn, relay_running
from tests.wait_helpers import PATIENCE, until

MORE = """
[notice]
relay = "smtp://127.0.0.1:{port}"
on = ["failed", "in_doubt", "delivered"]
gather = "0s"
per_hour = 100000
"""
MAIL = b"From: dana@example.co.il\r\nSubject: hello %d\r\nMessage-ID: <%d@x>\r\n\r\nA short letter %d.\r\n"
# Where the daemon is killed: after the 250, and before each reply of the relay.
POINTS = (".", "taken", "DATA", "queued", "EHLO", "MAIL", "RCPT", "QUIT")
ROUNDS = int(os.environ.get("MAILBRIDGE_NOTICE_KILLS", "4"))


def with_daemon(folder: Path, scenario: Callable[[Environment, RelayStandIn], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with (
            relay_running(RelayStandIn()) as relay,
            Environment(folder, more=MORE.format(port=relay.port), **options) as env,
        ):
            await env.start_myfax()
            await env.start()
            await scenario(env, relay)

    asyncio.run(asyncio.wait_for(main(), PATIENCE * (3 + ROUNDS)))


def killer(env: Environment, point: str, killed: asyncio.Event) -> Callable[[str], Awaitable[None]]:
    """Return what kills the daemon once, at the first time that this point is reached."""
    points = [point]

    async def kill(reached: str) -> None:
        if reached in points:
            points.clear()
            await env.kill()
            killed.set()

    return kill


def test_the_sender_hears_and_the_confirmation_can_be_filed(tmp_path: Path) -> None:
    async def scenario(env: Environment, relay: RelayStandIn) -> None:
        reply = await env.send(DANA, ["03-9876543@fax.local", "03-9876501@fax.local"], MAIL % (1, 1, 1))
        fax = reply.split()[4]
        await until(lambda: len(relay.taken) >= 2, every=0.05)
        mails = sorted(relay.taken, key=lambda mail: "לא נשלח" in texts([mail])[0])
        for mail, word in zip(mails, ("נשלח והתקבל", "לא נשלח"), strict=True):
            assert word in texts([mail])[0]
            assert mail.message["In-Reply-To"] == "<1@x>"
            [confirmation] = mail.message.iter_attachments()
            assert len(pypdfium2.PdfDocument(confirmation.get_content())) == 1

        async def sent() -> bool:
            shown.update(await env.ask("show", id=fax))
            return [one["state"] for one in shown["notices"]] == ["delivered"]

        shown: dict[str, Any] = {}
        await until(sent)
        assert (shown["notices"][0]["to"], shown["notices"][0]["kind"]) == (DANA, "delivered")
        file = tmp_path / "fax.pdf"
        status, output, errors = await env.command("show", fax, "--confirmation", str(file))
        assert (status, errors) == (0, "")
        assert f"delivered to {DANA}: delivered" in output
        assert len(pypdfium2.PdfDocument(file.read_bytes())) == 1
        status, _, errors = await env.command("show", fax, "--confirmation", str(tmp_path / "none" / "fax.pdf"))
        assert (status, errors.count("\n")) == (1, 1)

    with_daemon(tmp_path, scenario)


def test_N20_killed_at_any_point_no_notice_is_lost(tmp_path: Path) -> None:
    async def scenario(env: Environment, relay: RelayStandIn) -> None:
        faxes = []
        for n in range(ROUNDS):
            killed = asyncio.Event()
            relay.before = kill = killer(env, POINTS[n % len(POINTS)], killed)
            number = f"03-98765{'43' if n % 2 else '01'}@fax.local"
            try:
                reply = await env.send(DANA, [number], MAIL % (n, n, n))
                await kill("queued")
                await killed.wait()
                await env.start()
            except (OSError, smtplib.SMTPException):  # killed by an earlier fax's notice, before the 250: a client sends it again
                await killed.wait()
                await env.start()
                reply = await env.send(DANA, [number], MAIL % (n, n, n))
            relay.before = None
            faxes.append(reply.split()[4])

        def told() -> dict[str, dict[str, set[str]]]:
            """Return the Message-IDs by fax and first line."""
            found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
            for mail in relay.taken:
                text = texts([mail])[0]
                for fax in re.findall(r"fax_\w+", text):
                    found[fax][text.splitlines()[0]].add(str(mail.message["Message-ID"]))
            return found

        await until(lambda: set(told()) >= set(faxes), every=0.1, patience=PATIENCE * 2)
        for fax in faxes:
            for line, ids in told()[fax].items():
                assert len(ids) == 1, (fax, line)
        shown = [await env.ask("show", id=fax) for fax in faxes]
        assert all(one["state"] in ("delivered", "failed", "in_doubt") for one in shown)

    with_daemon(tmp_path, scenario)
