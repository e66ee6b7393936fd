"""Hold and resume in the console: who does it, what waits meanwhile and says so, and the audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mailbridge.config import Config
from tests.integration.console_fixtures import Site, a_config, check_page, check_part, post, with_console
from tests.integration.console_store import add_fax


def words(tree: Any) -> str:
    return " ".join("".join(tree.itertext()).split())


def links(tree: Any) -> list[str]:
    return [one.get("href") for one in tree.iter("a")]


def two_accounts(site: Site) -> Config:
    names = {name: {"email": f"{name}@b.co", "password": "x"} for name in ("office", "second")}
    return a_config(site.state).model_copy(update={"accounts": Config.model_validate({"account": names}).accounts})


async def held(site: Site) -> list[str]:
    return await site.store.run(lambda tx: tx.conditions.held_sending())


def test_an_operator_holds_and_resumes_one_account_or_all(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.use(two_accounts(site))
        office = await site.user("office", peer="10.1.2.3")
        page = check_page(await office.get("/console/system"))
        assert "/console/system/hold" in links(page)
        assert "/console/system/hold?account=second" in links(page)
        page = check_page(await office.get("/console/system/hold?account=second"))
        assert "second" in page.findtext(".//h1/bdi")
        assert "none expires" in words(page)
        assert await held(site) == []
        answer = await post(office, "/console/system/hold", account="second")
        assert await held(site) == ["second"]
        page = check_page(await office.get(answer.headers["location"]))
        assert "Sending is held." in words(page)
        assert "Held by office since" in words(page)
        assert "/console/system/resume?account=second" in links(page)
        check_part(await office.get("/console/system?part=1"))
        page = check_page(await office.get("/console/"))
        # What an action changed is in the next answer to the pages that are open.
        assert "resume" in (await office.get("/console/system?part=1")).text
        assert "/console/system/resume?account=second" in links(page)
        check_page(await office.get("/console/system/resume?account=second"))
        await post(office, "/console/system/resume", account="second")
        assert "resume" not in (await office.get("/console/system?part=1")).text
        assert await held(site) == []
        check_page(await office.get("/console/system/hold"))
        await post(office, "/console/system/hold")
        assert await held(site) == [""]
        page = check_page(await office.get("/console/system"))
        assert [link for link in links(page) if "/system/" in link] == ["/console/system/resume"]
        # Somebody else held all meanwhile: one account alone cannot go on.
        answer = await post(office, "/console/system/resume", account="second")
        assert (answer.headers["location"], await held(site)) == ("/console/system", [""])
        await post(office, "/console/system/resume")
        assert await held(site) == []
        done = [
            (one["what"], one["subject"], one["user"], one["client"]) for one in await site.audit() if "sending" in one["what"]
        ]
        by = ("office", "10.1.2.3")
        assert done == [
            ("sending.hold", "second", *by),
            ("sending.resume", "second", *by),
            ("sending.hold", "*", *by),
            ("sending.resume", "*", *by),
        ]

    with_console(tmp_path, scenario)


def test_an_unknown_account_is_not_found(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        office = await site.user("office")
        for action in ("hold", "resume"):
            check_page(await office.get(f"/console/system/{action}?account=nobody"), 404)
            check_page(await post(office, f"/console/system/{action}", account="nobody"), 404)
        assert await held(site) == []

    with_console(tmp_path, scenario)


def test_a_viewer_sees_that_sending_is_held_and_no_button(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await post(await site.user("office"), "/console/system/hold")
        vera = await site.user("vera")
        for path in ("/console/", "/console/system", "/console/waiting"):
            page = check_page(await vera.get(path))
            assert "held" in words(page)
            assert not [link for link in links(page) if "/system/" in link]
        assert "Held by office" in words(check_page(await vera.get("/console/system")))

    with_console(tmp_path, scenario)


@pytest.mark.parametrize(
    ("account", "condition", "says"),
    [
        (None, None, "held by a person"),
        ("office", None, "held by a person"),
        (None, "account office is paused", "paused after several doubts"),
        ("second", "account second is paused", "waits for its turn"),
    ],
)
def test_a_fax_that_waits_says_why(tmp_path: Path, account: str | None, condition: str | None, says: str) -> None:
    async def scenario(site: Site) -> None:
        fax = await add_fax(site, user="dana")

        def stop(tx: Any) -> None:
            if condition is None:
                tx.conditions.hold_sending(account, on=True)
            else:
                tx.conditions.set(condition, on=True)

        await site.store.run(stop)
        for name in ("office", "dana"):
            assert says in words(check_page(await (await site.user(name)).get(f"/console/faxes/{fax.id}")))

    with_console(tmp_path, scenario)
