"""The console in a real browser, in both languages: what people do there, by mouse and keyboard, with and without script."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from mailbridge.page.text_page import render
from tests.integration.chromium import Language, Visitor, needs_chromium
from tests.integration.console_fixtures import PASSWORD
from tests.integration.console_world import HOSTILE, TEXTS, World, log_in
from tests.wait_helpers import until

pytestmark = needs_chromium
LANGUAGES = pytest.mark.parametrize("language", ["he", "en"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with asyncio.Runner() as runner:
        found = World(runner)
        try:
            runner.run(found.start(tmp_path_factory.mktemp("console")))
            yield found
        finally:
            runner.run(found.stop())


@LANGUAGES
def test_a_user_logs_in_and_out(world: World, language: Language) -> None:
    words = TEXTS[language]

    async def scenario() -> None:
        async with world.visitor(None, language) as visitor:
            await visitor.open("/console/send")
            assert "/console/login?next=" in visitor.page.url
            await log_in(visitor, "dana", language, visitor.page.url)
            assert visitor.page.url.endswith("/console/send")
            assert await visitor.page.get_attribute("html", "dir") == ("rtl" if language == "he" else "ltr")
            await visitor.click(str(words.text("logout")))
            assert str(words.text("done.logged_out")) in await visitor.text()

    world.run(scenario())


@LANGUAGES
def test_a_user_sends_a_file(world: World, language: Language, tmp_path: Path) -> None:
    words = TEXTS[language]
    (tmp_path / "חוזה.pdf").write_bytes(render("the contract " * 500)[0])

    async def scenario() -> None:
        async with world.visitor("dana", language) as visitor:
            await visitor.click(str(words.text("nav.send")))
            await visitor.page.get_by_label(str(words.text("send.to")), exact=True).fill("03-9876543")
            await visitor.page.get_by_label(str(words.text("send.subject")), exact=True).fill("חוזה")
            await visitor.page.get_by_label(str(words.text("send.files")), exact=True).set_input_files(tmp_path / "חוזה.pdf")
            await visitor.click(str(words.text("send.check")))
            images = await visitor.page.locator(".pages img").all()
            assert len(images) >= 2
            assert await images[0].evaluate("one => one.decode().then(() => one.naturalWidth)") == 360
            await visitor.click(str(words.text("draft.send")))
            assert "/console/faxes/fax_" in visitor.page.url
            fax = visitor.page.url.rpartition("/")[2].partition("?")[0]
            shown = await world.env.becomes(fax, "delivered")
            assert (shown["subject"], shown["user"]) == ("חוזה", "dana")

    world.run(scenario())


@LANGUAGES
def test_an_operator_resolves_a_doubt(world: World, language: Language) -> None:
    words = TEXTS[language]

    async def scenario() -> None:
        fax = await world.send("03-9876591", subject=f"doubt {language}", state="in_doubt")
        async with world.visitor("office", language) as visitor:
            row = visitor.page.locator("tr", has_text=f"doubt {language}")
            await row.get_by_role("link", name=str(words.text("action.resolve"))).click()
            await visitor.page.wait_for_url(f"**/faxes/{fax}/resolve")
            await visitor.page.get_by_label(str(words.text("resolve.failed")), exact=True).check()
            await visitor.click(str(words.text("action.resolve")))
            assert str(words.text("done.resolve")) in await visitor.text()
            assert (await world.env.becomes(fax, "failed"))["state"] == "failed"
            assert "office" in await visitor.text()

    world.run(scenario())


@LANGUAGES
def test_an_operator_holds_and_resumes_sending(world: World, language: Language) -> None:
    words = TEXTS[language]

    async def scenario() -> None:
        async with world.visitor("office", language) as visitor:
            await visitor.click(str(words.text("nav.system")))
            await visitor.page.get_by_role("link", name=str(words.text("action.hold"))).first.click()
            await visitor.page.wait_for_url("**/system/hold*")
            await visitor.click(str(words.text("action.hold")))
            try:
                assert str(words.text("done.hold")) in await visitor.text()
                waiting = await world.send(subject=f"held {language}", state="queued")
                await visitor.open(f"/console/faxes/{waiting}")
                assert str(words.text("fax.waits.held")) in await visitor.text()
                assert await visitor.accessibility_faults() == []
                await visitor.click(str(words.text("nav.todo")))
                await visitor.click(str(words.text("action.resume")))
                await visitor.click(str(words.text("action.resume")))
                assert str(words.text("done.resume")) in await visitor.text()
            finally:
                await world.env.ask("resume")
            await world.env.becomes(waiting, "delivered")

    world.run(scenario())


@LANGUAGES
def test_an_operator_replays_a_dead_letter(world: World, language: Language) -> None:
    words = TEXTS[language]

    async def scenario() -> None:
        dead = await world.die()
        world.answer = (204, b"")
        async with world.visitor("office", language) as visitor:
            await visitor.click(str(words.text("nav.webhooks")))
            await visitor.page.locator("a.count").click()
            await visitor.page.wait_for_url("**/webhooks/erp?state=dead")
            await visitor.page.locator(f"a[href$='{dead}']").click()
            await visitor.page.wait_for_url(f"**/deliveries/{dead}")
            assert HOSTILE in await visitor.text("pre >> nth=0")
            await visitor.click(str(words.text("delivery.replay")))
            assert str(words.text("done.replayed")) in await visitor.text()

            async def delivered() -> bool:
                found = await world.env.ask("deliveries", endpoint="erp", state="delivered", limit=1000)
                return dead in [one["id"] for one in found]

            await until(delivered, every=0.05)

    world.run(scenario())


@LANGUAGES
def test_every_page_is_accessible_fits_a_small_window_and_runs_nothing_of_others(world: World, language: Language) -> None:
    """In light and dark, with hostile text in everything that others write. 320 pixels are a window of 1280 at 400 % zoom."""

    async def scenario() -> None:
        paths = await hostile_pages(world)
        async with world.visitor("office", language, axe=True) as visitor:
            await visitor.keep()
            for path in paths:
                await visitor.open(path)
                assert await visitor.accessibility_faults() == [], path
                await visitor.picture(f"{language} light {path}")
                if language == "he":  # the colours are those of both languages
                    await visitor.page.emulate_media(color_scheme="dark")
                    assert await visitor.accessibility_faults(colours_alone=True) == [], path
                    await visitor.picture(f"{language} dark {path}")
                    await visitor.page.emulate_media(color_scheme="light")
                await visitor.page.set_viewport_size({"width": 320, "height": 640})
                assert await visitor.too_wide() == [], path
                await visitor.picture(f"{language} small {path}")
                await visitor.page.set_viewport_size({"width": 1280, "height": 800})
            await visitor.open("/console/faxes/fax_01KE3Y0000000000000000000A", status=404)
            assert await visitor.accessibility_faults() == []
        async with world.visitor(None, language, axe=True) as visitor:
            await visitor.open("/console/login")
            assert await visitor.accessibility_faults() == []
            await visitor.page.emulate_media(color_scheme="dark")
            assert await visitor.accessibility_faults(colours_alone=True) == []
            assert await visitor.too_wide() == []

    world.run(scenario())


async def hostile_pages(world: World) -> list[str]:
    """Let others write hostile text wherever they can; return the address of every kind of page."""
    if world.pages:
        return world.pages
    dead = await world.die()
    world.answer = (204, b"")
    sent = await world.send(subject=HOSTILE, name=f"{HOSTILE}.pdf")
    doubt = await world.send("03-9876591", subject=HOSTILE, state="in_doubt")
    failed = await world.send("03-9876501", subject=HOSTILE, state="failed")
    received = await world.receive()
    draft = await world.draft(HOSTILE)
    lists = ("", "sent", "waiting", "failed", "faxes", "received", "send", "webhooks", "system", "system/hold", "sessions")
    searches = (f"sent?q={quote(HOSTILE)}", f"send?to={quote(HOSTILE)}")
    faxes = (f"faxes/{sent}", f"faxes/{doubt}", f"faxes/{doubt}/resolve", f"faxes/{failed}/retry", f"received/{received}")
    views = (f"faxes/{sent}/documents/0/pages/1/view", f"received/{received}/documents/1/pages/1/view")
    hooks = ("webhooks/erp", "webhooks/erp?state=dead", f"deliveries/{dead}")
    world.pages = [draft, *(f"/console/{path}" for path in (*lists, *searches, *faxes, *views, *hooks))]
    return world.pages


@LANGUAGES
def test_everything_works_without_the_script(world: World, language: Language, tmp_path: Path) -> None:
    words = TEXTS[language]
    (tmp_path / "a.pdf").write_bytes(render("the contract")[0])

    async def scenario() -> None:
        doubt = await world.send("03-9876591", state="in_doubt")
        async with world.visitor("office", language, script=False) as visitor:
            await visitor.open("/console/send")
            await visitor.page.get_by_label(str(words.text("send.to")), exact=True).fill("12")
            await visitor.click(str(words.text("send.check")), status=422)
            await visitor.page.get_by_label(str(words.text("send.to")), exact=True).fill("clalit-haifa")
            await visitor.page.get_by_label(str(words.text("send.files")), exact=True).set_input_files(tmp_path / "a.pdf")
            await visitor.click(str(words.text("send.check")))
            await visitor.click(str(words.text("draft.send")))
            assert "/console/faxes/" in visitor.page.url
            await visitor.open(f"/console/faxes/{doubt}")
            await visitor.click(str(words.text("action.resolve")))
            await visitor.page.get_by_label(str(words.text("resolve.sent")), exact=True).check()
            await visitor.click(str(words.text("action.resolve")))
            await world.env.becomes(doubt, "delivered")
            other = "he" if language == "en" else "en"
            async with visitor.page.expect_navigation():
                await visitor.page.locator(".foot button").click()
            assert await visitor.page.get_attribute("html", "lang") == other

    world.run(scenario())


def test_a_page_is_used_by_keyboard_alone(world: World) -> None:
    async def scenario() -> None:
        async with world.visitor(None) as visitor:
            page = visitor.page
            await visitor.open("/console/login")
            await page.keyboard.press("Tab")
            assert await focused(visitor) == ("#content", True)
            await page.keyboard.press("Enter")
            await tab_to(visitor, "name")
            await page.keyboard.type("office")
            await tab_to(visitor, "password")
            await page.keyboard.type(PASSWORD)
            async with page.expect_navigation():
                await page.keyboard.press("Enter")
            await tab_to(visitor, "/console/send")
            async with page.expect_navigation():
                await page.keyboard.press("Enter")
            await tab_to(visitor, "to")
            await page.keyboard.type("clalit-haifa")
            await tab_to(visitor, "text")
            await page.keyboard.type("hello")
            await tab_to(visitor, str(TEXTS["en"].text("send.check")))
            async with page.expect_navigation():
                await page.keyboard.press("Enter")
            await tab_to(visitor, str(TEXTS["en"].text("draft.discard")))
            async with page.expect_navigation():
                await page.keyboard.press("Space")
            assert "Nothing was sent" in await visitor.text()

    world.run(scenario())


_FOCUSED = """
() => {
    const one = document.activeElement;
    const seen = getComputedStyle(one).outlineStyle != "none" && one.offsetWidth > 0;
    return [one.id || one.getAttribute("href") || one.textContent.trim(), seen];
}
"""


async def focused(visitor: Visitor) -> tuple[str, bool]:
    """Return what has the focus (an id, an address or a text), and whether that is seen."""
    name, seen = await visitor.page.evaluate(_FOCUSED)
    return name, seen


async def tab_to(visitor: Visitor, name: str) -> None:
    """Press the tab key until this has the focus, which must be seen at every step."""
    for _ in range(60):
        await visitor.page.keyboard.press("Tab")
        found, seen = await focused(visitor)
        assert seen, found
        if found == name:
            return
    raise AssertionError(f"{name} cannot be reached by keyboard")


def test_what_changes_is_shown_without_a_reload(world: World) -> None:
    async def scenario() -> None:
        async with world.visitor("office") as visitor:
            await visitor.open("/console/sent")
            await visitor.page.evaluate("window.kept = true")
            await world.send(subject="a new one")
            # The page asks every few seconds, and at once when it is looked at again.
            await visitor.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            await visitor.page.locator("tr", has_text="a new one").wait_for()
            assert await visitor.page.evaluate("window.kept") is True

    world.run(scenario())


def test_a_page_that_nobody_sees_asks_for_nothing(world: World) -> None:
    look = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    look += " document.dispatchEvent(new Event('visibilitychange')); }"

    async def scenario() -> None:
        # A size of its own: no other test gets this window, whose clock is not the machine's.
        async with world.visitor("office", width=1000) as visitor:
            await visitor.page.clock.install()
            await visitor.open("/console/sent")
            asked: list[str] = []
            visitor.page.on("request", lambda request: asked.append(request.url) if "part=1" in request.url else None)
            await visitor.page.evaluate(look, True)
            await visitor.page.clock.run_for(60_000)
            assert asked == []
            async with visitor.page.expect_response("**/console/sent?part=1"):
                await visitor.page.evaluate(look, False)
            async with visitor.page.expect_response("**/console/sent?part=1"):
                await visitor.page.clock.run_for(5_000)

    world.run(scenario())
