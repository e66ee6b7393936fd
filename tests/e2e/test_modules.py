"""Nothing is imported once the daemon is ready: an import that fails later, as for lack of descriptors, would hit any mail."""

from __future__ import annotations

import asyncio
import json
import smtplib
from pathlib import Path

import httpx

from mailbridge.demo.mailbox import report_mail
from mailbridge.page.text_page import render
from tests.e2e.environment import Environment
from tests.integration.console_fixtures import HASH, PASSWORD
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
[user.office]
password_hash = "HASH"
role = "operator"
[incoming]
every = "200ms"
""".replace("HASH", HASH)


def test_nothing_is_imported_after_ready(tmp_path: Path) -> None:
    asyncio.run(_circle(tmp_path))
    assert json.loads((tmp_path / "imported.json").read_text()) == []


async def _circle(state: Path) -> None:
    """Let everything happen once that a daemon does."""
    async with Environment(
        state, more=MORE, env={"IMPORTED": str(state / "imported.json")}, strict=False, http="console = true"
    ) as env:
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
        await _use_console("http://{}:{}/console".format(*env.http), [fax["id"] for fax in faxes])
        await env.command("show", faxes[0]["id"])
        await env.command("retry", faxes[0]["id"])
        await env.command("events")
        await env.command("replay", "--all")
        await env.command("reload")

        async def settled() -> bool:
            return all(delivery["state"] == "delivered" for delivery in await env.ask("deliveries"))

        await until(settled)
        assert await env.stop() == 0


async def _use_console(url: str, faxes: list[str]) -> None:
    """Do everything that the console can do."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE, headers={"sec-fetch-site": "same-origin"}) as browser:
        assert (await browser.post(f"{url}/login", data={"name": "office", "password": PASSWORD})).status_code == 303
        pages = ("", "sent", "failed", "waiting", "received", "send", "webhooks", "webhooks/crm", "system", "sessions")
        lists = ("sent/csv", "received/csv", "faxes?q=contract", "waiting?part=1", "none")
        actions = ("cancel", "retry", "resolve", "confirmation", "documents/0", "documents/0/pages/1", "documents/0/pages/1/view")
        for path in (*pages, *lists, *(f"faxes/{fax}{action}" for fax in faxes for action in ("", *map("/{}".format, actions)))):
            await browser.get(f"{url}/{path}")
        await browser.post(f"{url}/webhooks/crm/test")
        await browser.post(f"{url}/webhooks/crm/replay")
        await browser.post(f"{url}/faxes/{faxes[0]}/retry")
        form = {"to": "03-9876543", "subject": "חוזה", "text": "שלום"}
        written = await browser.post(f"{url}/send", data=form, files={"files": ("a.txt", b"x" * 2_000_000, "text/plain")})
        await browser.get(written.url.join(written.headers["location"]))
        written = await browser.post(f"{url}/send", data=form, files={"files": ("a.pdf", render("page")[0], "application/pdf")})
        draft = written.url.join(written.headers["location"])
        await browser.get(draft)
        assert (await browser.post(draft)).status_code == 303
        await browser.post(f"{url}/logout")


def _odd_client(address: tuple[str, int]) -> None:
    with smtplib.SMTP(*address, timeout=PATIENCE) as client:
        client.ehlo()
        for line in ("HELP", "VRFY x", "NONSENSE", "AUTH PLAIN AGFubmEAeA==", "STARTTLS", "RSET"):
            client.docmd(line)
