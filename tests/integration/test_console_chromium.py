"""The console in a real browser, in both languages: what people do there, by mouse and keyboard, with and without script."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailbridge.page.text_page import render
from tests.integration.chromium import Language, needs_chromium
from tests.integration.console_world import TEXTS, World, log_in

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
