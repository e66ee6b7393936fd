"""The pages of sent and received faxes: lists and their search, one fax, what people do, and downloads."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from mailbridge.console import downloads, fax_lists, page_images
from mailbridge.console.routes import ROUTES
from mailbridge.console.visit import Visit
from mailbridge.errors import StoreUnavailable
from mailbridge.lifecycle import FaxState
from tests.integration.console_fixtures import USERS, Site, check_page, check_part, post, with_console
from tests.integration.console_store import CONTENT, HOSTILE, add_fax, add_received, fail_deliveries
from tests.store.factories import ask


def text_of(tree: Any) -> str:
    return " ".join("".join(tree.itertext()).split())


def rows(tree: Any) -> list[str]:
    body = tree.find(".//tbody")
    return [] if body is None else [text_of(row) for row in body.findall("tr")]


def links(tree: Any) -> list[str]:
    return [one.get("href") for one in tree.iter("a")]


@pytest.mark.parametrize("language", ["he", "en"])
@pytest.mark.parametrize("state", get_args(FaxState))
def test_a_fax_in_every_state_has_its_page_in_both_languages(tmp_path: Path, state: FaxState, language: str) -> None:
    async def scenario(site: Site) -> None:
        fax = await add_fax(site, state, user="dana")
        for name in ("office", "vera", "dana"):
            browser = await site.user(name, language=language)
            page = check_page(await browser.get(f"/console/faxes/{fax.id}"))
            assert "03-9876543" in text_of(page)
            assert "חשבונית 1723" in text_of(page)
            check_part(await browser.get(f"/console/faxes/{fax.id}?part=1"))
        listed = {"delivered": "sent", "failed": "failed", "cancelled": "failed"}.get(state, "waiting")
        for name in ("sent", "waiting", "failed", "faxes"):
            found = rows(check_page(await browser.get(f"/console/{name}")))
            assert len(found) == (name in (listed, "faxes"))

    with_console(tmp_path, scenario)


def test_the_story_of_a_fax_is_in_order(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        fax = await add_fax(site, "in_doubt")
        office = await site.user("office")
        await post(office, f"/console/faxes/{fax.id}/resolve", **{"as": "resend"})
        page = check_page(await office.get(f"/console/faxes/{fax.id}"))
        story = [text_of(one.find("span")) for one in page.find(".//ol[@class='story']").findall("li")]
        assert story == [
            "Accepted for sending.",
            "Attempt 1: the upload to MyFax began.",
            "In doubt: MyFax's answer was lost, and it is not known whether MyFax has the fax.",
            "The doubt was resolved by a person's decision.",
            "office resolved the doubt: It was not sent: send it now",
        ]

    with_console(tmp_path, scenario)


@pytest.mark.parametrize("trusted", [True, False])
def test_the_reports_about_a_fax_are_in_its_story(tmp_path: Path, trusted: bool) -> None:
    async def scenario(site: Site) -> None:
        fax = await add_fax(site, "submitted")
        report = {
            "status": "Success",
            "status_code": 0,
            "subject": HOSTILE,
            "trusted": trusted,
            "message_id": "<r@x>",
            "match": "token",
        }

        def arrive(tx: Any) -> None:
            if trusted:
                tx.faxes.transition(fax.id, "confirm", site.now, source="report", report=report)
            else:
                tx.events.emit("report.received", {"matched": fax.id, "trusted": False, "report": report}, site.now, fax.id)

        await site.store.run(arrive)
        page = check_page(await (await site.user("office")).get(f"/console/faxes/{fax.id}"))
        story = [text_of(one.find("span")) for one in page.find(".//ol[@class='story']").findall("li")]
        said = next(one for one in story if "The report:" in one)
        assert said.startswith("Delivered, as known from MyFax's report" if trusted else "A report by mail about it came")
        assert "<script>alert(1)</script>" in said
        assert ("could not be verified" in said) is not trusted
        assert "<1@x>" in text_of(page)

    with_console(tmp_path, scenario)


def test_a_sender_sees_only_his_own_faxes_and_a_foreign_id_is_404(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        mine, other = await add_fax(site, user="dana"), await add_fax(site, "delivered", user="erez")
        nobodys, received = await add_fax(site, "failed"), await add_received(site)
        dana = await site.user("dana")
        for name in ("sent", "waiting", "failed", "faxes", "faxes?q=1723", "faxes?q=03-9876543"):
            page = check_page(await dana.get(f"/console/{name}"))
            assert not [link for link in links(page) if link.endswith((other.id, nobodys.id))], name
        assert (await dana.get(f"/console/faxes/{mine.id}")).status_code == 200
        for id in (other.id, nobodys.id, received, "fax_01KE3Y00000000000000000000", "x", other.id[-8:], other.token):
            for path in ("", "/documents/0", "/confirmation", "/cancel"):
                answer = await dana.get(f"/console/faxes/{id}{path}")
                check_page(answer, 404)
                assert "erez" not in answer.text
            check_page(await post(dana, f"/console/faxes/{id}/cancel"), 404)
        for id in (other.id, other.token):
            assert rows(check_page(await dana.get(f"/console/faxes?q={id}"))) == []
        assert (await site.store.run(lambda tx: tx.faxes.get(nobodys.id))).state == "failed"

    with_console(tmp_path, scenario)


def test_a_sender_has_nothing_to_do_and_begins_with_all_faxes(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        assert (await (await site.user("dana")).get("/console/")).headers["location"] == "/console/faxes"

    with_console(tmp_path, scenario)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("q=03-9876543", True),
        ("q=039876543", True),
        ("q=%2B972-3-987-6543", True),
        ("q=97239876543", True),
        ("q=00972 3 9876543", True),
        ("q=9876543", True),
        ("q=6543", True),
        ("q=%2B9723", True),
        ("q=03-9876544", False),
        ("q=%2B97238", False),
        ("q=1723", True),
        ("q=חשבונית", True),
        ("q=DANA@example", True),
        ("q=dana", True),
        ("q=erez", False),
        ("q=clalit", False),
        ("q=%25", False),
        ("q=_", False),
        ("q=' OR 1=1 --", False),
        ("since=2026-01-04", True),
        ("since=2026-01-05", False),
        ("until=2026-01-04", True),
        ("until=2026-01-03", False),
        ("since=2026-01-04&until=2026-01-04&q=1723", True),
        ("since=x&until=9999-12-31", True),
        ("until=9999-12-30&since=0001-01-01", True),
    ],
)
def test_a_list_is_searched_by_number_name_text_and_day(tmp_path: Path, search: str, found: bool) -> None:
    async def scenario(site: Site) -> None:
        await add_fax(site, "delivered", user="dana")
        office = await site.user("office")
        for name in ("sent", "faxes"):
            assert bool(rows(check_page(await office.get(f"/console/{name}?{search}")))) is found

    with_console(tmp_path, scenario)


def test_a_contact_is_found_by_its_name_and_shown_with_it(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await add_fax(site, "delivered", number="+97248765432")
        await add_fax(site, "delivered")
        office = await site.user("office")
        found = rows(check_page(await office.get("/console/sent?q=Clalit Haifa")))
        assert len(found) == 1
        assert found[0].startswith("clalit-haifa 04-8765432")

    with_console(tmp_path, scenario)


def test_an_id_or_a_token_leads_to_the_fax(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        fax, received = await add_fax(site, "delivered"), await add_received(site)
        office = await site.user("office")
        for id in (fax.id, fax.id.removeprefix("fax_"), fax.id.lower(), fax.token, fax.token.lower()):
            assert (await office.get(f"/console/failed?q={id}")).headers["location"] == f"/console/faxes/{fax.id}"
        answer = await office.get(f"/console/failed?q={received}")
        assert (await office.get(answer.headers["location"])).headers["location"] == f"/console/received/{received}"

    with_console(tmp_path, scenario)


@pytest.mark.parametrize(("language", "day"), [("en", "Sun"), ("he", "יום א׳")])
def test_the_day_of_the_week_is_in_lists_and_in_a_result(tmp_path: Path, language: str, day: str) -> None:
    async def scenario(site: Site) -> None:
        fax, received = await add_fax(site, "delivered", user="dana"), await add_received(site)
        office = await site.user("office", language=language)
        for path in ("sent", "faxes", "received", f"faxes/{fax.id}"):
            assert f"{day} 04.01.2026" in text_of(check_page(await office.get(f"/console/{path}"))), path
        assert received

    with_console(tmp_path, scenario)


def test_a_doubt_says_what_to_do_to_who_can_end_it(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        fax = await add_fax(site, "in_doubt", user="dana")
        for name, says in (("office", "and resolve the doubt"), ("dana", "Do not send it again")):
            assert says in text_of(check_page(await (await site.user(name)).get(f"/console/faxes/{fax.id}")))

    with_console(tmp_path, scenario)


def test_a_long_list_goes_on_below_its_last_fax(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        made = [await add_fax(site, "delivered", minutes_ago=n + 10) for n in range(103)]
        office = await site.user("office")
        seen: list[str] = []
        url = "/console/sent"
        for _ in range(4):
            page = check_page(await office.get(url))
            seen += [link.rpartition("/")[2] for link in links(page) if "/faxes/fax_" in link]
            onward = next((link for link in links(page) if "before=" in link), None)
            if onward is None:
                break
            url = f"/console/sent{onward}"
        assert seen == [fax.id for fax in made]

    with_console(tmp_path, scenario)


def test_a_search_looks_at_so_many_faxes_and_can_be_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailbridge.store.fax_lists.SCAN", 5)

    async def scenario(site: Site) -> None:
        for n in range(20):
            await add_fax(site, "delivered", minutes_ago=n + 10)
        old = await add_fax(site, "delivered", minutes_ago=99, user="erez")
        office = await site.user("office")
        page = check_page(await office.get("/console/sent?q=erez"))
        assert rows(page) == []
        onward = next(link for link in links(page) if "before=" in link)
        assert "Search further back" in text_of(page)
        page = check_page(await office.get(f"/console/sent{onward}"))
        assert f"/console/faxes/{old.id}" in links(page)

    with_console(tmp_path, scenario)


@pytest.mark.parametrize("outcome", ["sent", "failed", "resend"])
def test_a_doubt_is_resolved_once_and_who_did_it_is_in_the_audit(tmp_path: Path, outcome: str) -> None:
    async def scenario(site: Site) -> None:
        fax = await add_fax(site, "in_doubt")
        office = await site.user("office", peer="10.1.2.3")
        page = check_page(await office.get("/console/"))
        assert f"/console/faxes/{fax.id}/resolve" in links(page)
        assert "may be sent twice" not in text_of(page)
        page = check_page(await office.get(f"/console/faxes/{fax.id}/resolve"))
        assert "it is sent twice and charged twice" in text_of(page)
        check_page(await post(office, f"/console/faxes/{fax.id}/resolve"), 400)
        check_page(await post(office, f"/console/faxes/{fax.id}/resolve", **{"as": "x"}), 400)
        answer = await post(office, f"/console/faxes/{fax.id}/resolve", **{"as": outcome})
        assert answer.headers["location"] == f"/console/faxes/{fax.id}?done=resolve"
        assert "The doubt is resolved." in text_of(check_page(await office.get(answer.headers["location"])))
        check_page(await post(office, f"/console/faxes/{fax.id}/resolve", **{"as": outcome}), 409)
        now = await site.store.run(lambda tx: tx.faxes.get(fax.id))
        assert now.state == {"sent": "delivered", "failed": "failed", "resend": "queued"}[outcome]
        [done] = await site.audit("fax.resolve")
        assert (done["subject"], done["user"], done["client"], done["resolved_as"]) == (fax.id, "office", "10.1.2.3", outcome)

    with_console(tmp_path, scenario)


def test_a_doubt_that_is_resolved_with_a_fax_code_is_followed(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        fax = await add_fax(site, "in_doubt")
        await post(await site.user("office"), f"/console/faxes/{fax.id}/resolve", **{"as": "sent", "fax_code": " CODE-1 "})
        now = await site.store.run(lambda tx: tx.faxes.get(fax.id))
        assert (now.state, now.fax_code) == ("submitted", "CODE-1")

    with_console(tmp_path, scenario)


def test_a_fax_is_cancelled_by_an_operator_or_its_sender(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        for name in ("office", "dana"):
            fax = await add_fax(site, user="dana")
            browser = await site.user(name)
            assert f"/console/faxes/{fax.id}/cancel" in links(check_page(await browser.get(f"/console/faxes/{fax.id}")))
            check_page(await browser.get(f"/console/faxes/{fax.id}/cancel"))
            assert (await site.store.run(lambda tx, id=fax.id: tx.faxes.get(id))).state == "queued"  # type: ignore[misc]  # a default has no type
            await post(browser, f"/console/faxes/{fax.id}/cancel")
            assert (await site.store.run(lambda tx, id=fax.id: tx.faxes.get(id))).state == "cancelled"  # type: ignore[misc]  # a default has no type
            check_page(await post(browser, f"/console/faxes/{fax.id}/cancel"), 409)
            check_page(await browser.get(f"/console/faxes/{fax.id}/cancel"), 409)
        assert [one["user"] for one in await site.audit("fax.cancel")] == ["office", "dana"]

    with_console(tmp_path, scenario)


def test_a_fax_that_failed_is_sent_again_as_a_new_one(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        fax = await add_fax(site, "failed")
        office = await site.user("office")
        assert "costs as much as any fax" in text_of(check_page(await office.get(f"/console/faxes/{fax.id}/retry")))
        answer = await post(office, f"/console/faxes/{fax.id}/retry")
        new = answer.headers["location"].removeprefix("/console/faxes/").partition("?")[0]
        assert new != fax.id
        assert (await site.store.run(lambda tx: tx.faxes.get(new))).tags["retry_of"] == fax.id
        [done] = await site.audit("fax.retry")
        assert (done["subject"], done["copy"]) == (fax.id, new)

    with_console(tmp_path, scenario)


def test_a_sender_sends_a_fax_that_failed_again_with_the_rules_of_a_new_one(tmp_path: Path) -> None:
    users = {
        **USERS,
        "dana": {**USERS["dana"], "daily_limit": 3},
        "erez": {**USERS["erez"], "language": "en", "allow": ["+9724"]},
    }

    async def scenario(site: Site) -> None:
        mine, other = await add_fax(site, "failed", user="dana"), await add_fax(site, "failed", user="erez")
        dana, erez = await site.user("dana"), await site.user("erez")
        assert f"/console/faxes/{mine.id}/retry" in links(check_page(await dana.get(f"/console/faxes/{mine.id}")))
        check_page(await dana.get(f"/console/faxes/{mine.id}/retry"))
        for _ in range(2):
            answer = await post(dana, f"/console/faxes/{mine.id}/retry")
            assert (await dana.get(answer.headers["location"])).status_code == 200
        answer = await post(dana, f"/console/faxes/{mine.id}/retry")
        assert "Your daily limit of 3 faxes is reached" in text_of(check_page(answer, 422))
        assert "is not allowed here" in text_of(check_page(await post(erez, f"/console/faxes/{other.id}/retry"), 422))
        for browser, fax in ((dana, other), (erez, mine)):
            check_page(await browser.get(f"/console/faxes/{fax.id}/retry"), 404)
            check_page(await post(browser, f"/console/faxes/{fax.id}/retry"), 404)
        assert len(await site.store.run(lambda tx: tx.faxes.newest())) == 4
        assert [one["user"] for one in await site.audit("fax.retry")] == ["dana", "dana"]
        # An operator decides for others.
        assert (await post(await site.user("office"), f"/console/faxes/{other.id}/retry")).status_code == 303

    with_console(tmp_path, scenario, users)


def test_a_fax_without_its_documents_cannot_be_sent_again(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        fax = await add_fax(site, "failed")
        later = site.now + timedelta(days=9)
        await site.store.run(lambda tx: tx.retention.discard_documents(later, later, 9))
        office = await site.user("office")
        page = check_page(await office.get(f"/console/faxes/{fax.id}"))
        assert "deleted after the retention time" in text_of(page)
        assert not [link for link in links(page) if link.endswith("/retry") or "/documents/" in link]
        check_page(await post(office, f"/console/faxes/{fax.id}/retry"), 409)
        check_page(await office.get(f"/console/faxes/{fax.id}/documents/0"), 404)

    with_console(tmp_path, scenario)


def test_what_a_person_does_and_its_audit_line_are_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no audit")

    async def scenario(site: Site) -> None:
        queued, doubt, failed = await add_fax(site), await add_fax(site, "in_doubt"), await add_fax(site, "failed")
        office = await site.user("office")
        monkeypatch.setattr("mailbridge.store.audit.Audit.note", fail)
        check_page(await post(office, f"/console/faxes/{queued.id}/cancel"), 500)
        check_page(await post(office, f"/console/faxes/{doubt.id}/resolve", **{"as": "resend"}), 500)
        check_page(await post(office, f"/console/faxes/{failed.id}/retry"), 500)
        for fax in (queued, doubt, failed):
            assert (await site.store.run(lambda tx, id=fax.id: tx.faxes.get(id))).state == fax.state  # type: ignore[misc]  # a default has no type
        assert len(await site.store.run(lambda tx: tx.faxes.newest())) == 3

    with_console(tmp_path, scenario)


@pytest.mark.parametrize("name", ["office", "vera", "dana"])
def test_a_document_is_an_attachment_under_a_sandbox_and_its_view_is_in_the_audit(tmp_path: Path, name: str) -> None:
    async def scenario(site: Site) -> None:
        fax = await add_fax(site, user="dana")
        browser = await site.user(name, peer="10.1.2.3")
        answer = await browser.get(f"/console/faxes/{fax.id}/documents/0")
        assert answer.content == CONTENT
        check_download(answer)
        assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%D7%97%D7%95%D7%96%D7%94.pdf"
        answer = await browser.get(f"/console/faxes/{fax.id}/confirmation")
        assert answer.content.startswith(b"%PDF")
        check_download(answer)
        views = [(one["subject"], one["user"], one["client"], one["document"]) for one in await site.audit("document.view")]
        assert views == [(fax.id, name, "10.1.2.3", "חוזה.pdf"), (fax.id, name, "10.1.2.3", "confirmation")]
        for n in ("1", "-1", "x", "99999999", "%D9%A0"):
            assert (await browser.get(f"/console/faxes/{fax.id}/documents/{n}")).status_code == 404

    with_console(tmp_path, scenario)


def check_download(answer: httpx.Response) -> None:
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox; frame-ancestors 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment;")


def test_a_received_fax_has_its_page_note_and_download(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        received = await add_received(site)
        office, vera = await site.user("office"), await site.user("vera")
        [row] = rows(check_page(await vera.get("/console/received")))
        assert row.startswith("clalit-haifa 04-8765432 03-9000000 Sun 04.01.2026")
        assert row.endswith("not handled")
        check_page(await office.get(f"/console/received/{received}"))
        answer = await post(office, f"/console/received/{received}/note", note=" הועבר לדנה\nלטיפול ", handled="1")
        assert "Saved." in text_of(check_page(await office.get(answer.headers["location"])))
        [row] = rows(check_page(await vera.get("/console/received?q=לדנה")))
        assert "office" in row
        assert rows(check_page(await vera.get("/console/received?unhandled=1"))) == []
        page = check_page(await vera.get(f"/console/received/{received}"))
        assert "Handled by office" in text_of(page)
        assert not list(page.iter("textarea"))
        answer = await vera.get(f"/console/received/{received}/documents/0")
        assert answer.content == CONTENT
        check_download(answer)
        assert [one["user"] for one in await site.audit("received.note")] == ["office"]
        await post(office, f"/console/received/{received}/note", note="")
        assert len(rows(check_page(await vera.get("/console/received?unhandled=1")))) == 1

    with_console(tmp_path, scenario)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        *[("q=04-8765432", True), ("q=03-9000000", True), ("q=0000", True), ("q=04-8765433", False), ("q=clalit", True)],
        *[("since=2026-01-04", True), ("since=2026-01-05", False), ("until=2026-01-03", False), ("unhandled=1", True)],
    ],
)
def test_received_faxes_are_searched(tmp_path: Path, search: str, found: bool) -> None:
    async def scenario(site: Site) -> None:
        await add_received(site)
        assert bool(rows(check_page(await (await site.user("vera")).get(f"/console/received?{search}")))) is found

    with_console(tmp_path, scenario)


@pytest.mark.parametrize("language", ["he", "en"])
def test_hostile_text_of_mails_and_receivers_changes_no_page(tmp_path: Path, language: str) -> None:
    async def scenario(site: Site) -> None:
        faxes = [await add_fax(site, state, hostile=True) for state in get_args(FaxState)]
        received = await add_received(site, hostile=True)
        await fail_deliveries(site, HOSTILE)
        await site.store.run(lambda tx: tx.stopped_webhooks.add("crm", HOSTILE, site.now))
        await site.store.run(lambda tx: tx.conditions.set(f"mailbox {HOSTILE} is down", on=True))
        office = await site.user("office", language=language)
        await post(office, f"/console/received/{received}/note", note=HOSTILE, handled="1")
        paths = ["/", "/sent", "/waiting", "/failed", "/faxes", "/received", "/sessions", f"/received/{received}"]
        paths += [f"/faxes/{fax.id}" for fax in faxes] + [f"/faxes/{faxes[3].id}/resolve"]
        for path in [*paths, "/faxes?q=" + HOSTILE.replace("&", "%26").replace("\0", "").replace("#", "%23")]:
            answer = await office.get(f"/console{path}")
            page = check_page(answer)
            assert not [one for one in page.iter("img") if one.get("src") == "x"]
            assert "49" not in answer.text or "{{7*7}}" in answer.text
            assert "\u202e" not in answer.text
            if path in ("/sent", "/waiting", "/failed"):
                check_part(await office.get(f"/console{path}?part=1"))
        answer = await office.get(f"/console/received/{received}/documents/0")
        check_download(answer)
        assert "\n" not in answer.headers["content-disposition"]
        assert answer.headers["content-disposition"].isascii()

    with_console(tmp_path, scenario)


def test_a_hostile_user_name_and_browser_change_no_page(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser = site.browser(**{"accept-language": "en", "user-agent": "<script>alert(1)</script>"})
        page = check_page(await post(browser, "/console/login", name=HOSTILE, password="x"), 403)
        assert page.find(".//input[@id='name']").get("value")
        await post(browser, "/console/login", name="office", password="secret")
        assert "<script>alert" in text_of(check_page(await browser.get("/console/sessions")))

    with_console(tmp_path, scenario)


def test_the_changing_part_of_a_page_has_a_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(site: Site) -> None:
        await add_fax(site)
        office = await site.user("office")
        page = check_page(await office.get("/console/waiting?q=1723&done=cancel"))
        part = page.find(".//*[@data-part]").get("data-part")
        assert part == "/console/waiting?q=1723&part=1"
        answer = await office.get(part)
        check_part(answer)
        same = await office.get(part, headers={"if-none-match": answer.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        await add_fax(site)
        site.console.parts.forget()
        changed = await office.get(part, headers={"if-none-match": answer.headers["etag"]})
        assert changed.status_code == 200
        assert (await site.browser().get(part)).status_code == 401

    with_console(tmp_path, scenario)


def test_what_open_pages_ask_for_is_made_once_for_all_who_may_see_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str | None] = []
    real = fax_lists._find

    async def counted(visit: Visit, *rest: Any) -> Any:
        made.append(visit.user.own)
        return await real(visit, *rest)

    monkeypatch.setattr(fax_lists, "_find", counted)

    async def scenario(site: Site) -> None:
        await add_fax(site, user="dana")
        browsers = [await site.user(name) for name in ("office", "office", "dana", "dana", "erez")]
        answers = await asyncio.gather(*(one.get("/console/waiting?part=1") for one in browsers * 5))
        assert sorted(made, key=str) == [None, "dana", "erez"]
        counts = {len(one.text.split("/console/faxes/fax_")) - 1 for one in answers[:4]}
        assert counts == {1}
        assert "/console/faxes/fax_" not in answers[4].text

    with_console(tmp_path, scenario)


def test_an_error_of_a_part_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(site: Site) -> None:
        office = await site.user("office")

        async def unavailable(*_: object) -> None:
            raise StoreUnavailable("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(fax_lists, "_find", unavailable)
            assert (await office.get("/console/waiting?part=1")).status_code == 503
        assert (await office.get("/console/waiting?part=1")).status_code == 200

    with_console(tmp_path, scenario)


def test_to_do_says_what_waits_for_a_person(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        vera = await site.user("vera")
        assert "Nothing to do." in text_of(check_page(await vera.get("/console/")))
        await add_fax(site, "in_doubt")
        await fail_deliveries(site, "503")

        def trouble(tx: Any) -> None:
            tx.stopped_webhooks.add("erp", "410 Gone", site.now)
            for name in ("mailbox office is down", "account office is paused", "credit of office is low", "relay is down"):
                tx.conditions.set(name, on=True)
            tx.conditions.hold_sending(None, on=True)

        await site.store.run(trouble)
        page = check_page(await vera.get("/console/"))
        assert [text_of(one).removeprefix("! ") for one in page.iter("h2")] == [
            "One fax is in doubt",
            "Sending with account office is paused after several doubts in a row",
            "The credit of account office is low",
            "Sending is held",
            "Mailbox office cannot be watched",
            "Webhook erp is stopped",
            "Deliveries to crm were given up",
            "The mail relay refuses mail or is not reachable",
        ]
        assert not [link for link in links(page) if link.endswith("/resolve")]

    with_console(tmp_path, scenario)


def test_an_account_that_refuses_faxes_and_a_full_disk_are_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Disk:
        f_blocks, f_bavail, f_frsize = 1000, 9, 4096

    async def scenario(site: Site) -> None:
        vera = await site.user("vera")
        monkeypatch.setattr("mailbridge.store.state_dir.os.statvfs", lambda _: Disk)
        assert "The disk is nearly full" in text_of(check_page(await vera.get("/console/")))

    with_console(tmp_path, scenario)


def test_every_form_of_the_pages_leads_to_a_route(tmp_path: Path) -> None:
    """And has no field that changes what is sent on the way, such as a GET that acts."""

    async def scenario(site: Site) -> None:
        doubt, queued, received = await add_fax(site, "in_doubt"), await add_fax(site), await add_received(site)
        office = await site.user("office")
        paths = ["/", "/sent", "/received", "/sessions", f"/received/{received}", f"/faxes/{doubt.id}/resolve"]
        paths += [f"/faxes/{queued.id}/{action}" for action in ("cancel", "retry")]
        posts = [one.path.split("{")[0] for one in ROUTES if one.method == "POST"]
        for path in paths:
            for form in check_page(await office.get(f"/console{path}")).iter("form"):
                action = form.get("action").removeprefix("/console")
                assert form.get("method") in ("post", "get")
                if form.get("method") == "post":
                    assert action.startswith(tuple(posts)), action
                else:
                    assert action == path

    with_console(tmp_path, scenario)


def test_a_first_visit_loads_little_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        for n in range(60):
            await add_fax(site, "delivered", minutes_ago=n)
        office = await site.user("office", language="he")
        for path in ("/console/login", "/console/", "/console/sent", "/console/received"):
            answer = await office.get(path, follow_redirects=True)
            page = check_page(answer)
            size = len(answer.content)
            loaded = [one.get("href") for one in page.iter("link")] + [one.get("src") for one in page.iter("script")]
            loaded += [one.get("src") for one in page.iter("img")]
            for url in set(loaded):
                size += len((await office.get(url)).content)
            assert size <= 40_000, (path, size)
        script = (await office.get(next(url for url in loaded if url.endswith(".js")))).content
        assert len(script) <= 3_000

    with_console(tmp_path, scenario)


def test_what_people_did_is_kept_when_the_fax_is_deleted(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        fax = await add_fax(site, user="dana")
        await post(await site.user("office"), f"/console/faxes/{fax.id}/cancel")
        record = ask(site.state, "SELECT record FROM audit WHERE what = 'fax.cancel'")
        assert json.loads(record[0][0]) == {"user": "office", "client": "127.0.0.1", "via": "console"}

    with_console(tmp_path, scenario)


@pytest.mark.parametrize("action", ["cancel", "retry", "resolve"])
def test_a_received_fax_has_none_of_the_actions_of_a_sent_one(tmp_path: Path, action: str) -> None:
    async def scenario(site: Site) -> None:
        received = await add_received(site)
        office = await site.user("office")
        check_page(await office.get(f"/console/faxes/{received}/{action}"), 404)
        check_page(await post(office, f"/console/faxes/{received}/{action}", **{"as": "failed"}), 404)
        check_page(await office.get(f"/console/faxes/{received}/confirmation"), 404)

    with_console(tmp_path, scenario)


def test_the_end_of_several_ids_is_not_found(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        for letter in "AB":
            await add_fax(site, id=f"fax_01KE3Y00000000000000{letter}XXXXX")
        check_page(await (await site.user("office")).get("/console/faxes/XXXXX"), 404)

    with_console(tmp_path, scenario)


def test_only_what_changes_is_shared_as_a_part(tmp_path: Path) -> None:
    """A download is made, and noted in the audit, for each who asks; one user's sessions are not shown to another."""

    async def scenario(site: Site) -> None:
        fax = await add_fax(site)
        vera, yossi = await site.user("vera"), await site.user("yossi")
        for _ in range(2):
            assert (await vera.get(f"/console/faxes/{fax.id}/documents/0?part=1")).content == CONTENT
            assert (await vera.get("/console/faxes/csv?part=1")).text.count("\n") == 2
        assert len(await site.audit("document.view")) == 2
        for name, browser in (("vera", vera), ("yossi", yossi)):
            page = check_page(await browser.get("/console/sessions?part=1"))
            assert [row.split()[0] for row in rows(page)] == [name]

    with_console(tmp_path, scenario, {**USERS, "yossi": USERS["vera"]})


def test_a_document_that_cannot_be_noted_in_the_audit_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(site: Site) -> None:
        fax, opened = await add_fax(site), list[Any]()
        office, open_document = await site.user("office"), type(site.spool).open_document

        def remember(*arguments: Any) -> Any:
            opened.append(open_document(*arguments))
            return opened[-1]

        async def fail(*_: Any) -> None:
            raise StoreUnavailable("disk I/O error")

        monkeypatch.setattr(type(site.spool), "open_document", remember)
        monkeypatch.setattr(downloads, "note_view", fail)
        check_page(await office.get(f"/console/faxes/{fax.id}/documents/0"), 503)
        with pytest.raises(ValueError, match="closed"):
            opened[0].read(1)

    with_console(tmp_path, scenario)


def test_a_look_that_could_not_be_noted_is_noted_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(site: Site) -> None:
        fax, office = await add_fax(site), await site.user("office")

        async def fail(*_: Any) -> None:
            raise StoreUnavailable("disk I/O error")

        monkeypatch.setattr(page_images, "note_view", fail)
        check_page(await office.get(f"/console/faxes/{fax.id}/documents/0/pages/1/view"), 503)
        monkeypatch.undo()
        for _ in range(2):
            check_page(await office.get(f"/console/faxes/{fax.id}/documents/0/pages/1/view"))
        assert [one["document"] for one in await site.audit("document.view")] == ["pages"]

    with_console(tmp_path, scenario)
