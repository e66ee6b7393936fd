"""A daemon with a console, everything that it talks to, and Chromium: one for many tests, since each start is slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from email.message import EmailMessage
from email.utils import make_msgid
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from mailbridge.console.texts import Texts
from mailbridge.console.visit import LANGUAGE_COOKIE
from mailbridge.demo.http import HttpRequest, HttpServer
from mailbridge.page.text_page import render
from tests.e2e.environment import Environment
from tests.integration.chromium import Chromium, Language, Profile, Visitor, chromium
from tests.integration.console_fixtures import HASH, PASSWORD
from tests.wait_helpers import PATIENCE, until

TEXTS: Final[dict[Language, Texts]] = {"he": Texts("he"), "en": Texts("en")}
# Text of others that would run in a page that takes it for markup, a template or a script.
HOSTILE: Final = "\"><img src=x onerror=alert(1)><script>alert(1)</script>'{{7*7}}"
_CONFIG = """
[webhook.erp]
url = "http://127.0.0.1:{port}/hook"
secret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
allow_private = true

[contacts]
clalit-haifa = "04-8765432"
"bad-\\"'{{{{7*7}}}}" = "03-9876544"

[user.office]
password_hash = "{hash}"
role = "operator"

[user.vera]
password_hash = "{hash}"
role = "viewer"

[user.dana]
password_hash = "{hash}"
"""


class World:
    """The daemon is `env`, the browser `chromium`; `erp` is the second webhook's receiver, which answers as it is told."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner, self._stack = runner, AsyncExitStack()
        self.answer = (204, b"")
        self.pages: list[str] = []
        self._sessions: dict[str, list[Any]] = {}

    def run(self, scenario: Awaitable[Any]) -> Any:
        """Run a scenario to its end."""

        async def bounded() -> Any:
            async with asyncio.timeout(PATIENCE * 10):
                return await scenario

        return self._runner.run(bounded())

    async def start(self, state: Path) -> None:
        """Start everything."""
        self._erp = HttpServer(self._answer)
        port = await self._erp.start()
        self._stack.push_async_callback(self._erp.stop)
        more = _CONFIG.format(port=port, hash=HASH)
        self.env = await self._stack.enter_async_context(Environment(state, more=more, http="console = true"))
        await self.env.start_myfax()
        await self.env.start()
        self.chromium: Chromium = await self._stack.enter_async_context(chromium())

    async def stop(self) -> None:
        """Stop everything."""
        await self._stack.aclose()

    async def _answer(self, request: HttpRequest) -> tuple[int, dict[str, str], bytes]:
        status, body = self.answer
        return status, {}, body

    @property
    def url(self) -> str:
        """Where the daemon serves the console."""
        return "http://{}:{}".format(*self.env.http)

    @asynccontextmanager
    async def visitor(self, user: str | None = "office", language: Language = "en", **options: Any) -> AsyncIterator[Visitor]:
        """Yield the browser window of a user who has logged in, or of somebody who has not."""
        async with self.chromium.visitor(Profile(base_url=self.url, language=language, **options)) as visitor:
            if user is not None:
                await self._log_in(visitor, user, language)
            yield visitor

    async def _log_in(self, visitor: Visitor, user: str, language: Language) -> None:
        """Log in with the form, or with the session of the last time."""
        await visitor.context.add_cookies(self._sessions.get(user, []))
        await visitor.open("/console")
        if "/login" in visitor.page.url:
            await log_in(visitor, user, language)
            found = await visitor.context.cookies()
            self._sessions[user] = [
                {"name": cookie["name"], "value": cookie["value"], "url": self.url}
                for cookie in found
                if cookie["name"] != LANGUAGE_COOKIE
            ]

    async def send(
        self, number: str = "03-9876543", *, subject: str = "contract", name: str = "a.pdf", state: str = "delivered"
    ) -> str:
        """Send a fax by SMTP; return its id once it is in this state."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "dana@example.co.il", "fax@example.co.il", subject
        mail.set_content("")
        mail.add_attachment(render(f"the contract {number} " * 300)[0], maintype="application", subtype="pdf", filename=name)
        reply = await self.env.send("dana@example.co.il", [f"{number}@fax.local"], mail.as_bytes())
        fax = reply.split()[4]
        await self.env.becomes(fax, state)
        return fax

    async def die(self) -> str:
        """Let a delivery to the webhook erp die; return its id."""
        self.answer = (500, HOSTILE.encode() * 3)
        fax = await self.send()

        events = {one["id"] for one in await self.env.ask("events", fax=fax)}

        async def dead() -> list[str]:
            await self.env.ask("replay", retire=True, endpoint="erp")
            found = await self.env.ask("deliveries", dead=True, endpoint="erp", limit=1000)
            return [one["id"] for one in found if one["event_id"] in events]

        await until(dead, every=0.05)
        return (await dead())[0]

    async def receive(self) -> str:
        """Receive a fax with hostile text in everything that a mail has; return its id."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "fax@myfax.co.il", "office@example.co.il", HOSTILE
        mail["X-Fax-Sender"], mail["Message-ID"] = HOSTILE, make_msgid()
        mail.set_content(HOSTILE)
        svg = f"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script>{HOSTILE}</svg>".encode()
        mail.add_attachment(svg, maintype="application", subtype="pdf", filename=f"{HOSTILE}.pdf")
        mail.add_attachment(render("received")[0], maintype="application", subtype="pdf", filename="fax.pdf")
        await self.env.mailbox.deliver(mail.as_bytes())
        found: list[dict[str, Any]] = []

        async def received() -> list[dict[str, Any]]:
            found[:] = [one for one in await self.env.ask("events") if one["type"] == "fax.received"]
            return found

        await until(received, every=0.05)
        return str(found[0]["fax_id"])

    async def draft(self, name: str) -> str:
        """Make a draft of the user office with a file of this name; return its address."""
        async with self.visitor("office") as visitor:
            page = visitor.page
            await visitor.open("/console/send")
            await page.get_by_label(str(TEXTS["en"].text("send.to")), exact=True).fill("clalit-haifa")
            await page.get_by_label(str(TEXTS["en"].text("send.subject")), exact=True).fill(name)
            file: Any = {"name": f"{name}.pdf", "mimeType": "application/pdf", "buffer": render("draft")[0]}
            await page.get_by_label(str(TEXTS["en"].text("send.files")), exact=True).set_input_files(file)
            await visitor.click(str(TEXTS["en"].text("send.check")))
            return urlsplit(page.url).path


async def log_in(visitor: Visitor, user: str, language: Language, path: str = "/console/login") -> None:
    """Log in with the form."""
    words = TEXTS[language]
    await visitor.open(path)
    await visitor.page.get_by_label(str(words.text("login.name")), exact=True).fill(user)
    await visitor.page.get_by_label(str(words.text("login.password")), exact=True).fill(PASSWORD)
    await visitor.click(str(words.text("login.button")))
