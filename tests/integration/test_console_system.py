"""The page of the system: accounts, mailboxes, what waits, and the last 24 hours, which are counted once."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailbridge import __version__
from mailbridge.config import Config
from mailbridge.store import search
from mailbridge.store.hour_counts import HourCounts, hour_counts
from tests.factories import NOW
from tests.integration.console_fixtures import Site, a_config, check_page, check_part, with_console
from tests.store.factories import a_mail

MAILBOX = {"host": "imap.example.co.il", "username": "x", "password": "y", "trust": "authserv:mx.example"}
BASE: dict[str, Any] = {
    "account": {"office": {"email": "a@b.co", "password": "x"}, "second": {"email": "b@b.co", "password": "x"}}
}


def config_of(site: Site) -> Config:
    more = Config.model_validate({**BASE, "mailbox": {"office": MAILBOX, "other": {**MAILBOX, "username": "z"}}})
    return a_config(site.state).model_copy(update={"mailboxes": more.mailboxes, "accounts": more.accounts})


def words(tree: Any) -> str:
    return " ".join("".join(tree.itertext()).split())


@pytest.mark.parametrize("language", ["he", "en"])
def test_the_page_says_how_everything_is_doing(tmp_path: Path, language: str) -> None:
    async def scenario(site: Site) -> None:
        site.use(config_of(site))
        await a_mail(site.store, site.spool, "queued", "delivered", "delivered", "failed", at=NOW)
        await site.store.run(lambda tx: tx.mailboxes.mark_processed("office", "digest", NOW))
        await site.store.run(lambda tx: tx.conditions.hold_sending("second", on=True))
        browser = await site.user("vera", language=language)
        tree = check_page(await browser.get("/console/system"))
        text = words(tree)
        for known in (__version__, "authserv:mx.example", "GB", "second"):
            assert known in text
        states = [words(one) for one in tree.iter("dd")]
        assert states[:7] == ["1", "0", "0", "0", "2", "1", "0"]
        assert len([one for one in tree.iter("{http://www.w3.org/2000/svg}rect") if "x" in one.attrib]) == 2
        rows = {words(row.find("th")): words(row) for row in tree.iter("tr") if row.find("td") is not None}
        held = {"he": "עצור", "en": "held"}[language]
        assert [held in rows[name] for name in ("office", "second")] == [False, True]
        check_part(await browser.get("/console/system?part=1"))

    with_console(tmp_path, scenario)


def test_an_hour_that_has_passed_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("vera")
        asked: list[datetime] = []

        def counted(sql: Any, start: datetime) -> HourCounts:
            asked.append(start)
            return hour_counts(sql, start)

        monkeypatch.setattr(search, "hour_counts", counted)
        await browser.get("/console/system")
        assert len(asked) == 24
        asked.clear()
        await browser.get("/console/system?part=1")
        assert len(asked) <= 2
        site.now = NOW + timedelta(hours=3)
        asked.clear()
        await browser.get("/console/system?part=1")
        assert len(asked) <= 5
        assert len(site.console.hours) <= 24

    with_console(tmp_path, scenario)


def test_a_state_dir_that_cannot_be_read_hides_the_disk_alone(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.use(site.config.model_copy(update={"state_dir": tmp_path / "gone"}))
        check_page(await (await site.user("vera")).get("/console/system"))

    with_console(tmp_path, scenario)
