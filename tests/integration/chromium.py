"""Chromium for tests: pages in which a violation of the content security policy, an error, or a request to another host fails.

Debian's `chromium` is driven by playwright; axe-core is the copy that axe-playwright-python carries.
"""

from __future__ import annotations

import importlib.resources
import os
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import pytest
from playwright.async_api import BrowserContext, Page, Playwright, async_playwright

from tests.wait_helpers import PATIENCE

PROGRAM: Final = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")
_AXE = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
_CHECK = """
async rules => (await axe.run({runOnly: rules, resultTypes: ["violations"]}))
    .violations.map(found => `${found.id}: ${found.help}: ${found.nodes.map(node => node.html).slice(0, 3).join(" ")}`)
"""
_TOO_WIDE = """
() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const wide = [...document.body.querySelectorAll("*")].filter(one => {
        const place = one.getBoundingClientRect();
        return (place.right > width + 1 || place.left < -1) && !one.closest(".scroll, .skip, .hidden, pre, thead");
    });
    return wide.map(one => one.outerHTML.slice(0, 200)).concat("the page");
}
"""
Language = Literal["he", "en"]
_LOCALES: Final[dict[Language, str]] = {"he": "he-IL", "en": "en-US"}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How a browser window is set up. With `axe`, axe-core is in each of its pages; so Chromium compiles it only once."""

    base_url: str
    language: Language = "en"
    dark: bool = False
    script: bool = True
    axe: bool = False
    width: int = 1280
    height: int = 800


class Chromium:
    """A running browser; each `visitor` has a profile that nobody else has at the time, and no cookies.

    A window is used again by the next visitor with the same profile: a new one takes two seconds of processor time.
    """

    def __init__(self, playwright: Playwright) -> None:
        self._playwright = playwright
        self._idle: dict[Profile, list[Visitor]] = {}

    async def start(self) -> None:
        """Start the browser."""
        # As root, and in most containers, Chromium's own sandbox cannot be made.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        # What Chromium would ask Google for by itself.
        arguments += ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
        # A container's shared memory may be too small for it.
        arguments += ["--disable-dev-shm-usage"]
        self._browser = await self._playwright.chromium.launch(
            executable_path=PROGRAM, args=arguments, timeout=PATIENCE * 1000, env={**os.environ, "TZ": "UTC"}
        )

    async def stop(self) -> None:
        """End the browser."""
        await self._browser.close()

    @asynccontextmanager
    async def visitor(self, profile: Profile) -> AsyncIterator[Visitor]:
        """Yield somebody's browser window. Raises AssertionError at the end if something was wrong on one of its pages."""
        idle = self._idle.setdefault(profile, [])
        visitor = idle.pop() if idle else await self._new_visitor(profile)
        try:
            yield visitor
            assert visitor.faults == [], "\n".join(visitor.faults)
            await visitor.forget(profile)
        except BaseException:
            await visitor.context.close()
            raise
        idle.append(visitor)

    async def _new_visitor(self, profile: Profile) -> Visitor:
        context = await self._browser.new_context(
            base_url=profile.base_url,
            locale=_LOCALES[profile.language],
            color_scheme="dark" if profile.dark else "light",
            java_script_enabled=profile.script,
            viewport={"width": profile.width, "height": profile.height},
        )
        context.set_default_timeout(PATIENCE * 1000)
        if profile.axe:
            await context.add_init_script(_AXE)
        return Visitor(context, await context.new_page(), profile.base_url)


class Visitor:
    """One browser window. `faults` are what went wrong on its pages."""

    def __init__(self, context: BrowserContext, page: Page, base_url: str) -> None:
        self.context, self.page, self._base_url = context, page, base_url
        self.faults: list[str] = []
        self._expected: Sequence[int] = ()
        page.on("console", lambda message: self._fault(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self._fault(f"a script failed: {error}"))
        page.on("dialog", lambda dialog: self._fault(f"a script of others ran: {dialog.message}"))
        page.on("request", lambda request: self._check_host(request.url))

    async def forget(self, profile: Profile) -> None:
        """Be as a new window is with this profile."""
        await self.page.unroute_all()
        await self.page.goto("about:blank")
        await self.page.emulate_media(color_scheme="dark" if profile.dark else "light")
        await self.page.set_viewport_size({"width": profile.width, "height": profile.height})
        await self.context.clear_cookies()

    async def open(self, path: str, *, status: int = 200) -> None:
        """Open a page, which answers with this status."""
        self._expected = (status,)
        answer = await self.page.goto(path)
        assert answer is not None
        assert answer.status == status, f"{path}: {answer.status}"

    async def click(self, name: str | Any, *, status: int = 200) -> None:
        """Press the button or follow the link with this name, and wait for the next page, which answers with this status."""
        self._expected = (status,)
        target = self.page.get_by_role("button", name=name, exact=True).or_(self.page.get_by_role("link", name=name, exact=True))
        async with self.page.expect_navigation() as navigation:
            await target.first.click()
        answer = await navigation.value
        assert answer is not None
        assert answer.status == status, f"{name}: {answer.status}"

    async def keep(self) -> None:
        """Keep pages as they are loaded: nothing changes while they are checked."""
        await self.page.route("**/*part=1", lambda route: route.fulfill(status=304))

    async def text(self, selector: str = "main") -> str:
        """Return the text that is seen in a part of the page."""
        return await self.page.inner_text(selector)

    async def accessibility_faults(self, *, colours_alone: bool = False) -> list[str]:
        """Return what axe-core finds on the page, or only which colours are hard to tell apart."""
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(_AXE)
        rules = {"type": "rule", "values": ["color-contrast"]} if colours_alone else {"type": "tag", "values": _RULES}
        found: list[str] = await self.page.evaluate(_CHECK, rules)
        return found

    async def picture(self, name: str) -> None:
        """Write a picture of the page, to be looked at, to the directory that CONSOLE_PICTURES names; without it do nothing."""
        if directory := os.environ.get("CONSOLE_PICTURES"):
            file = re.sub(r"[^a-z0-9]+", "-", name.lower().replace("/console", "")).strip("-")[:80]
            await self.page.screenshot(path=Path(directory) / f"{file}.png", full_page=True)

    async def too_wide(self) -> list[str]:
        """Return the elements for which a person must scroll the page sideways."""
        found: list[str] = await self.page.evaluate(_TOO_WIDE)
        return found

    def _check_host(self, url: str) -> None:
        parts, own = urlsplit(url), urlsplit(self._base_url)
        if parts.scheme not in ("data", "blob", "about") and parts.netloc != own.netloc:
            self._fault(f"a request to another host: {url}")

    def _fault(self, text: str) -> None:
        # Chromium also reports a page that answers with an error as such.
        if not any(f"the server responded with a status of {status}" in text for status in self._expected if status >= 400):
            self.faults.append(text)


@asynccontextmanager
async def chromium() -> AsyncIterator[Chromium]:
    """Yield a running browser."""
    async with async_playwright() as playwright:
        browser = Chromium(playwright)
        await browser.start()
        try:
            yield browser
        finally:
            await browser.stop()
