"""A console on a real store, asked over ASGI: users of each role, a clock, and a checker of its pages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import html5lib
import httpx

from mailbridge.config import Config
from mailbridge.console.app import build_console
from mailbridge.console.console import Console, Services, TestAnswer
from mailbridge.errors import Refused
from mailbridge.runtime import Runtime
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.submission.drafts import Drafts
from mailbridge.submission.page_pictures import PagePictures
from mailbridge.submission.password import hash_password
from mailbridge.submission.server import SmtpService
from mailbridge.web.app import build
from mailbridge.web.links import Links
from mailbridge.webhook.payload import fax_data
from tests.factories import NOW
from tests.integration.unboxed_reader import UnboxedReader
from tests.wait_helpers import PATIENCE

PASSWORD = "secret"
HASH = hash_password(PASSWORD)
USERS: dict[str, dict[str, Any]] = {
    "office": {"password_hash": HASH, "role": "operator"},
    "vera": {"password_hash": HASH, "role": "viewer"},
    "dana": {"password_hash": HASH},
    "erez": {"password_hash": HASH, "language": "he"},
    "scanner": {"networks": ["192.168.1.20"], "role": "operator"},
}
ROLES = {"operator": "office", "viewer": "vera", "sender": "dana"}
# What a browser sends with a form of the same site.
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


class Site:
    """The console, its store, and the browsers that look at it."""

    def __init__(self, state: Path, store: SqliteStore, config: Config) -> None:
        self.state, self.store, self.spool, self.now = state, store, LocalSpool(state / "spool"), NOW
        self.guesses: list[tuple[str, bytes, str, str]] = []
        self.too_soon = False
        self.use(config)

    def use(self, config: Config) -> None:
        """Use another configuration, as a reload does."""
        self.config = config
        runtime = Runtime(self.store, self.spool, lambda: self.now, lambda: 0.5)
        reader = UnboxedReader(self.spool.root)
        drafts = Drafts(SmtpService(config, runtime, reader), reader, runtime, config.smtp.domains[0])
        pictures = PagePictures(reader.picture)
        mailboxes = {"office": self.now}
        services = Services(
            self._log_in, self._confirmation, lambda event: b"{}", pictures, drafts, self._ping, lambda: mailboxes
        )
        self.console = Console(config, runtime, services)
        links = Links(bytes(32), config.http.base_url)
        self.app = build(self.store, self.spool, links, {}, lambda: self.now, console=build_console(self.console))

    async def _log_in(self, name: str, password: bytes, client: str, service: str) -> None:
        self.guesses.append((name, password, client, service))
        if self.too_soon:
            raise Refused("454 4.7.0 Too many failed logins; try again in 3 s")
        if password != PASSWORD.encode() or self.console.password_digest(name) is None:
            raise Refused("535 5.7.8 Authentication failed: wrong user name or password")

    async def _ping(self, name: str) -> TestAnswer:
        return TestAnswer(at=self.now, milliseconds=7, status=500, error="HTTP 500", answer=f"<b>{name}</b>\nline\x1b")

    async def _confirmation(self, fax_id: str) -> bytes:
        await self.store.run(lambda tx: tx.faxes.get(fax_id))
        return b"%PDF-1.4 confirmation"

    def browser(self, peer: str = "127.0.0.1", **headers: str) -> httpx.AsyncClient:
        """Return a browser without cookies."""
        transport = httpx.ASGITransport(self.app, client=(peer, 1234), raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url="http://console.test", headers=headers, timeout=PATIENCE)

    async def user(self, name: str, *, language: str = "en", peer: str = "127.0.0.1") -> httpx.AsyncClient:
        """Return the browser of a user who has logged in."""
        browser = self.browser(peer, **{"accept-language": language})
        answer = await post(browser, "/console/login", name=name, password=PASSWORD)
        assert answer.status_code == 303, answer.text
        return browser

    async def audit(self, what: str | None = None) -> list[Mapping[str, Any]]:
        """Return what was done, oldest first, as subject and record."""
        lines = await self.store.run(lambda tx: tx.audit.newest())
        return [{"what": one.what, "subject": one.subject, **one.record} for one in reversed(lines) if what in (None, one.what)]


async def post(browser: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    """Send a form of the console."""
    return await browser.post(path, data=fields, headers=SAME_ORIGIN)


def a_config(state: Path, users: Mapping[str, Any] = USERS, **http: Any) -> Config:
    """Return a configuration with a console."""
    return Config.model_validate(
        {
            "state_dir": state,
            "account": {"office": {"email": "office@example.co.il", "password": "x"}},
            "user": users,
            "contacts": {"clalit-haifa": "04-8765432"},
            "http": {"console": True, **http},
        }
    )


def with_console(
    state: Path, scenario: Callable[[Site], Awaitable[None]], users: Mapping[str, Any] = USERS, /, **http: Any
) -> None:
    """Run a scenario with a console; `http` are keys of [http]."""

    async def main() -> None:
        async with SqliteStore(state, fax_data, lambda event: ["crm"]) as store:
            await scenario(Site(state, store, a_config(state, users, **http)))

    asyncio.run(main())


def check_page(answer: httpx.Response, status: int = 200) -> Any:
    """Check that an answer is a whole page as the console promises it; return its tree."""
    assert answer.status_code == status, answer.text[:2000]
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(answer.text)
    check_tree(tree, answer.text)
    html = tree if tree.tag == "html" else tree.find(".//html")
    assert html.get("lang") in ("he", "en")
    assert html.get("dir") == ("rtl" if html.get("lang") == "he" else "ltr")
    assert len(list(tree.iter("h1"))) == 1
    assert (tree.find(".//title").text or "").removesuffix(" · mailbridge").strip()
    first = next(one for one in tree.iter("a"))
    assert (first.get("class"), first.get("href")) == ("skip", "#content")
    return tree


def check_part(answer: httpx.Response) -> None:
    """Check a part of a page."""
    assert answer.status_code == 200
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    check_tree(parser.parseFragment(answer.text), answer.text)


def check_tree(tree: Any, text: str) -> None:
    """Check that markup runs nothing inline, loads nothing from elsewhere, and can be used without sight or a mouse."""
    ids = [one.get("id") for one in tree.iter() if isinstance(one.tag, str) and one.get("id")]
    assert len(ids) == len(set(ids)), f"an id twice: {ids}"
    for one in tree.iter():
        if not isinstance(one.tag, str):
            continue
        assert one.tag != "style", "inline style"
        assert one.tag != "script" or (one.get("src") and not one.text), "inline script"
        for name, value in one.attrib.items():
            assert not name.startswith("on"), f"inline {name}"
            assert name != "style", "inline style"
            if name in ("src", "href", "action", "formaction", "data-part"):
                assert urlsplit(value).scheme == urlsplit(value).netloc == "", f"{name} leads elsewhere: {value}"
                assert value.startswith(("/console/", "#", "?")), value
        if one.tag == "th":
            assert one.get("scope") in ("col", "row")
        if one.tag == "img":
            assert one.get("alt") is not None
        if one.tag in ("input", "select", "textarea") and one.get("type") != "hidden":
            assert one.get("aria-label") or one.get("id") in {label.get("for") for label in tree.iter("label")}, one.attrib
    assert not re.search(r"\{\{ |\{% |None|Markup\(", text), "a template shows through"


def later(site: Site, **time: float) -> None:
    """Let time pass."""
    site.now = site.now + timedelta(**time)
