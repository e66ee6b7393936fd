"""Nothing is imported once the daemon is ready: an import that fails later, as for lack of descriptors, would hit any mail."""

from __future__ import annotations

import asyncio
import json
import smtplib
from pathlib import Path

import httpx

from mailbridge.demo.mailbox import report_mail
from tests.e2e.environment import Environment
from tests.wait_helpers import PATIENCE, until

HERE = Path(__file__).parent
# Writes what was imported between READY and the end.
WATCHED = """
import json, os, sys
from mailbridge import process
from mailbridge.cli import main
ready = process._Process._on_started
before = set()
def on_started(self):
    ready(self)
    before.update(sys.modules)
process._Process._on_started = on_started
try:
    main()
finally:
    with open(os.environ["IMPORTED"], "w") as file:
        json.dump(sorted(set(sys.modules) - before), file)
"""
MORE = """
[user.anna]
password_hash = "scrypt$16384$8$1$c2FsdHNhbHRzYWx0c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[incoming]
every = "200ms"
"""


def test_nothing_is_imported_after_ready(tmp_path: Path) -> None:
    asyncio.run(_circle(tmp_path))
    assert json.loads((tmp_path / "imported.json").read_text()) == []


async def _circle(state: Path) -> None:
    """Let everything happen once that a daemon does."""
    async with Environment(state, more=MORE, env={"IMPORTED": str(state / "imported.json")}, strict=False) as env:
        env._daemon = ("-c", WATCHED)
        env.simulator.script.update({"+97239876501": "busy", "+97239876599": "reject"})
        await env.start_myfax()
        await env.start()
        for folder in ("02-delivered-by-report", "07-two-attachments", "08-hebrew-body-only", "14-refused-in-words"):
            mail = (HERE / folder / "mail.eml").read_bytes()
            await env.send("dana@example.co.il", ["03-9876543@fax.local", "03-9876501@fax.local", "03-9876599@fax.local"], mail)
        for recipient in ("nobody@fax.local", "x@example.com", "+8801712345678@fax.local", "+442071234567@fax.local"):
            await env.send("dana@example.co.il", [recipient], b"")
        await env.mailbox.deliver((HERE / "09-incoming-fax" / "incoming.eml").read_bytes())
        await env.mailbox.deliver(report_mail("Success", 9, "of somebody else"))
        await env.list_incoming("08-7777777", "03-9876543")
        await env.list_incoming("08-7777777", "03-9876543", "voice")
        await asyncio.to_thread(_odd_client, env.smtp)
        await env.receiver.wait("fax.delivered", PATIENCE)
        await env.receiver.wait("voicemail.received", PATIENCE)
        await env.receiver.wait("report.received", PATIENCE)
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            for path in ("healthz", "readyz", "metrics", "documents/x.y", "none"):
                await client.get("http://{}:{}/{}".format(*env.http, path))
        faxes = await env.printed("queue")
        await env.command("show", faxes[0]["id"])
        await env.command("retry", faxes[0]["id"])
        await env.command("events")
        await env.command("replay", "--all")
        await env.command("reload")

        async def settled() -> bool:
            return all(delivery["state"] == "delivered" for delivery in await env.ask("deliveries"))

        await until(settled)
        assert await env.stop() == 0


def _odd_client(address: tuple[str, int]) -> None:
    with smtplib.SMTP(*address, timeout=PATIENCE) as client:
        client.ehlo()
        for line in ("HELP", "VRFY x", "NONSENSE", "AUTH PLAIN AGFubmEAeA==", "STARTTLS", "RSET"):
            client.docmd(line)
