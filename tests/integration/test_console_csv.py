"""The lists as CSV: what the search finds and the user may see, which no spreadsheet calculates."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import httpx
import pytest

from mailbridge.console import csv_pages
from mailbridge.model import Email
from tests.integration.console_fixtures import Site, with_console
from tests.integration.console_store import add_fax, add_received


async def rows(browser: httpx.AsyncClient, path: str) -> list[dict[str, str]]:
    answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.content.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))


def test_each_list_is_downloaded_with_its_search(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("vera")
        faxes = {state: await add_fax(site, state) for state in ("queued", "delivered", "failed")}
        received = await add_received(site)
        for name, state in (("sent", "delivered"), ("waiting", "queued"), ("failed", "failed")):
            assert [row["ID"] for row in await rows(browser, f"/console/{name}/csv")] == [faxes[state].id]
        assert len(await rows(browser, "/console/faxes/csv")) == 3
        (row,) = await rows(browser, "/console/failed/csv?q=1723")
        assert (row["Number"], row["State"], row["Subject"], row["Account"]) == ("03-9876543", "failed", "חשבונית 1723", "office")
        assert row["Reason"] not in ("", "None")
        assert row["Accepted"].startswith("20")
        assert await rows(browser, "/console/faxes/csv?q=nothing-like-this") == []
        (row,) = await rows(browser, "/console/received/csv")
        assert row["ID"] == received
        noted = [line["list"] for line in await site.audit("list.download")]
        assert noted == ["sent", "waiting", "failed", "faxes", "failed", "faxes", "received"]

    with_console(tmp_path, scenario)


def test_a_sender_gets_only_own_faxes(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        own, _ = await add_fax(site, user="dana"), await add_fax(site, user="erez")
        assert [row["ID"] for row in await rows(await site.user("dana"), "/console/faxes/csv")] == [own.id]
        assert len(await rows(await site.user("office"), "/console/faxes/csv")) == 2
        assert (await (await site.user("dana")).get("/console/received/csv")).status_code == 403

    with_console(tmp_path, scenario)


def test_all_rows_of_a_long_list_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_pages, "_STEP", 3)

    async def scenario(site: Site) -> None:
        browser = await site.user("vera")
        made = [(await add_fax(site, minutes_ago=number)).id for number in range(10)]
        assert [row["ID"] for row in await rows(browser, "/console/faxes/csv")] == made
        monkeypatch.setattr(csv_pages, "_MOST", 5)
        assert len(await rows(browser, "/console/faxes/csv")) == 6

    with_console(tmp_path, scenario)


def test_formulas_are_text(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        email = Email(message_id=None, envelope_id=None, sender="=1+1@example.com", subject='=HYPERLINK("http://evil.example")')
        await add_fax(site, email=email)
        (row,) = await rows(await site.user("vera"), "/console/faxes/csv")
        assert row["Subject"] == '\'=HYPERLINK("http://evil.example")'
        assert row["From"] == "'=1+1@example.com"

    with_console(tmp_path, scenario)


@pytest.mark.parametrize(("language", "title"), [("he", "נושא"), ("en", "Subject")])
def test_titles_are_in_the_language_of_the_user(tmp_path: Path, language: str, title: str) -> None:
    async def scenario(site: Site) -> None:
        await add_fax(site)
        (row,) = await rows(await site.user("vera", language=language), "/console/faxes/csv")
        assert title in row

    with_console(tmp_path, scenario)
