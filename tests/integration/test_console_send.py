"""The page that sends a fax: judged as a mail by SMTP, shown before it goes, and sent once."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from PIL import Image

from mailbridge.config import Config
from mailbridge.console import upload
from mailbridge.console.texts import Texts
from mailbridge.errors import Refused
from mailbridge.model import Fax
from mailbridge.page.text_page import render
from tests.integration.console_fixtures import HASH, SAME_ORIGIN, USERS, Site, a_config, check_page, later, post, with_console

PDF = render("the contract " * 600)[0]
Files = list[tuple[str, tuple[str, bytes, str]]]


async def write(
    browser: httpx.AsyncClient, to: str = "03-9876543", *files: tuple[str, bytes, str], **fields: str
) -> httpx.Response:
    """Send the form; without files as a browser does where none was chosen."""
    chosen: Files = [("files", one) for one in files] or [("files", ("", b"", "application/octet-stream"))]
    return await browser.post("/console/send", data={"to": to, **fields}, files=chosen, headers=SAME_ORIGIN)


async def draft(browser: httpx.AsyncClient, *args: Any, **fields: str) -> str:
    """Return the path of the draft that the form makes."""
    answer = await write(browser, *args, **fields)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def faxes(site: Site) -> list[Fax]:
    return await site.store.run(lambda tx: tx.faxes.newest(None))


def pdf(name: str = "חוזה.pdf") -> tuple[str, bytes, str]:
    return name, PDF, "application/pdf"


@pytest.mark.parametrize("language", ["he", "en"])
def test_a_fax_is_written_looked_at_and_sent(tmp_path: Path, language: str) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("dana", language=language)
        tree = check_page(await browser.get("/console/send?to=03-9876543"))
        assert next(one for one in tree.iter("input") if one.get("id") == "to").get("value") == "03-9876543"
        assert not [one for one in tree.iter() if one.get("id") == "sender-hint"], "no mail goes anywhere without notice.relay"
        assert "clalit-haifa" in [one.get("value") for one in tree.iter("option")]
        path = await draft(browser, "03-9876543; clalit-haifa", pdf(), subject="חוזה", text="שלום רב")
        tree = check_page(await browser.get(path))
        shown = "".join(tree.itertext())
        assert "חוזה.pdf" in shown
        assert "04-8765432" in shown
        images = [one.get("src") for one in tree.iter("img") if "/pages/" in one.get("src")]
        assert len(images) > 2
        for image in images:
            answer = await browser.get(image)
            assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("image/png", "private, no-store")
            assert Image.open(io.BytesIO(answer.content)).width == 360
        assert Image.open(io.BytesIO((await browser.get(f"{images[1]}?size=large")).content)).width == 1000
        check_page(await browser.get(f"{images[1]}/view"))
        assert await faxes(site) == []
        answer = await post(browser, path)
        sent = await faxes(site)
        assert answer.status_code == 303
        assert answer.headers["location"].partition("?")[0] in [f"/console/faxes/{fax.id}" for fax in sent]
        assert [(fax.user, fax.email.subject, fax.client) for fax in sent] == [("dana", "חוזה", "127.0.0.1")] * 2
        (line,) = await site.audit("fax.send")
        assert (line["subject"] in [fax.id for fax in sent], line["user"], line["via"]) == (True, "dana", "console")
        assert {fax.number for fax in sent} == {"+97239876543", "+97248765432"}
        assert [one.name for one in sent[0].documents][1:] == ["חוזה.pdf"]

    with_console(tmp_path, scenario)


def test_no_browser_sends_a_fax_twice(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("dana")
        path = await draft(browser, "03-9876543", pdf())
        first = await post(browser, path)
        again = await post(browser, path)
        assert first.headers["location"] == again.headers["location"]
        # Also who goes back to the draft only sees its fax.
        back = await browser.get(path)
        assert (back.status_code, back.headers["location"]) == (303, first.headers["location"].partition("?")[0])
        assert len(await faxes(site)) == 1

    with_console(tmp_path, scenario)


def test_a_draft_is_nobody_elses_and_can_be_discarded(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser, other = await site.user("dana"), await site.user("office")
        path = await draft(browser, "03-9876543", pdf())
        for answer in (await other.get(path), await post(other, path), await other.get(f"{path}/documents/0/pages/1")):
            check_page(answer, 404)
        assert (await post(browser, f"{path}/discard")).status_code == 303
        page = await browser.get("/console/send?done=discarded")
        assert "Nothing was sent" in page.text
        for answer in (await browser.get(path), await post(browser, path)):
            assert "gone" in check_page(answer, 404).findtext(".//h1")
        assert await faxes(site) == []

    with_console(tmp_path, scenario)


@pytest.mark.parametrize(
    ("to", "fields", "files", "field", "says"),
    [
        ("", {}, [pdf()], "to", "Write a fax number"),
        ("12", {}, [pdf()], "to", "not a fax number"),
        ("03-9876543;nobody", {}, [pdf()], "to", "No contact has this name"),
        ("+12125550100", {}, [pdf()], "to", "not allowed"),
        ("03-9876543@example.com", {}, [pdf()], "to", "number alone"),
        ("03-9876543", {}, [], "files", "nothing"),
        ("03-9876543", {}, [("a.exe", b"MZ\x90\x00" + bytes(99), "application/pdf")], "files", "cannot be faxed"),
        ("03-9876543", {}, [("a.pdf", PDF[:2000], "application/pdf")], "files", "cannot be faxed"),
        ("03-9876543", {"sender": "nobody"}, [pdf()], "sender", "not a mail address"),
        ("03-9876543", {"sender": "a@b.co\r\nBcc: x@y.z"}, [pdf()], "sender", "not a mail address"),
        ("03-9876543", {"sender": "avi@example.co.il"}, [pdf()], "sender", "not allowed"),
    ],
)
def test_what_smtp_refuses_is_said_beside_its_field(
    tmp_path: Path, to: str, fields: dict[str, str], files: list[tuple[str, bytes, str]], field: str, says: str
) -> None:
    users = {**USERS, "dana": {"password_hash": HASH, "senders": ["dana@example.co.il"]}}

    async def scenario(site: Site) -> None:
        browser = await site.user("dana")
        answer = await write(browser, to, *files, subject="my subject", text="" if field == "files" else "my text", **fields)
        tree = check_page(answer, 422)
        faulty = [one for one in tree.iter() if one.get("aria-invalid") == "true"]
        assert [one.get("id") for one in faulty] == [field]
        described = next(one for one in tree.iter() if one.get("id") == f"{field}-fault")
        assert f"{field}-fault" in faulty[0].get("aria-describedby")
        assert says in "".join(described.itertext())
        # What was written is not lost.
        assert next(one for one in tree.iter("input") if one.get("id") == "subject").get("value") == "my subject"
        assert await faxes(site) == []
        assert [path for path in (site.spool.root / "mail").rglob("*") if path.is_file()] == []

    with_console(tmp_path, scenario, users)


def test_a_user_sends_as_an_address_that_is_allowed(tmp_path: Path) -> None:
    users = {
        "dana": {"password_hash": HASH, "senders": ["@example.co.il"]},
        "אבי": {"password_hash": HASH},
        "erez": {"password_hash": HASH, "senders": ["@a.co.il", "boss@b.co.il"]},
    }

    async def scenario(site: Site) -> None:
        found = {}
        for name in users:
            browser = await site.user(name)
            await post(browser, await draft(browser, "03-9876543", pdf()))
            found[name] = (await faxes(site))[0].email.sender
        host = site.config.smtp.hostname
        assert found == {"dana": "dana@example.co.il", "אבי": f"console@{host}", "erez": "boss@b.co.il"}

    with_console(tmp_path, scenario, users)


def test_a_daily_limit_that_is_reached_meanwhile_is_said(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("dana")
        first, second = await draft(browser, "03-9876543", pdf()), await draft(browser, "03-9876544", pdf())
        await post(browser, first)
        tree = check_page(await post(browser, second), 422)
        assert "daily limit" in "".join(tree.itertext())
        tree = check_page(await write(browser, "03-9876543", pdf()), 422)
        assert "daily limit" in "".join(tree.itertext())
        assert len(await faxes(site)) == 1

    with_console(tmp_path, scenario, {"dana": {"password_hash": HASH, "daily_limit": 1}})


def test_a_form_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("dana")
        most = site.config.smtp.max_size
        tree = check_page(await write(browser, "03-9876543", ("a.pdf", PDF + bytes(most), "application/pdf")), 422)
        assert "too large" in "".join(tree.itertext())
        # Base64 makes a mail of it that is larger than the limit.
        tree = check_page(await write(browser, "03-9876543", ("a.pdf", PDF + bytes(most * 4 // 5), "application/pdf")), 422)
        assert "too large" in "".join(tree.itertext())
        monkeypatch.setattr(upload, "_MOST_DRAINED", most)
        check_page(await write(browser, "03-9876543", ("a.pdf", PDF + bytes(most), "application/pdf")), 422)
        assert [path for path in (site.spool.root / "mail").rglob("*") if path.is_file()] == []

    with_console(tmp_path, scenario)


def test_attack_1_a_large_piece_of_a_form_is_read_in_many_turns() -> None:
    async def main() -> None:
        turns = 0

        async def stream() -> AsyncIterator[bytes]:
            yield b"x" * (10 * upload.PIECE)

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        visit: Any = SimpleNamespace(request=SimpleNamespace(stream=stream))
        pieces = [piece async for piece in upload._limited(visit, 1_000_000)]
        assert (b"".join(pieces), max(map(len, pieces))) == (b"x" * (10 * upload.PIECE), upload.PIECE)
        assert turns >= 10
        beside.cancel()

    asyncio.run(main())


FIELD = b'--x\r\nContent-Disposition: form-data; name="to"\r\n\r\n'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b"to=1"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=x", b"not a form"),
        (
            "multipart/form-data; boundary=x",
            FIELD + b"9" * 300_000 + b"\r\n--x--",
        ),
        ("multipart/form-data; boundary=x", (FIELD + b"1\r\n") * 50 + b"--x--"),
        ("application/x-www-form-urlencoded", b"to=03-9876543"),
        ("", b""),
    ],
)
def test_what_is_no_form_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, body: bytes) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("dana")
        headers = {**SAME_ORIGIN, "content-type": kind}
        answer = await browser.post("/console/send", content=body, headers=headers)
        check_page(answer, 400)
        assert [record for record in caplog.records if record.name.startswith("python_multipart")] == []

    with_console(tmp_path, scenario)


@pytest.mark.parametrize("path", ["documents/9/pages/1", "documents/-1/pages/1", "documents/0/pages/x", "documents/٣/pages/1"])
def test_a_page_that_does_not_exist_is_not_found(tmp_path: Path, path: str) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("dana")
        check_page(await browser.get(f"{await draft(browser, '03-9876543', pdf())}/{path}"), 404)

    with_console(tmp_path, scenario)


def test_a_page_beyond_the_last_is_a_sheet_with_a_cross(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("dana")
        answer = await browser.get(f"{await draft(browser, '03-9876543', pdf())}/documents/0/pages/999")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
        assert "script-src 'self'" in answer.headers["content-security-policy"]

    with_console(tmp_path, scenario)


def test_a_document_without_pictures_says_why(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("dana")
        path = await draft(browser, "03-9876543", ("a.txt", "שלום".encode(), "text/plain"))
        tree = check_page(await browser.get(path))
        assert "cannot be shown as pictures" in "".join(tree.itertext())

    with_console(tmp_path, scenario)


def with_accounts(scenario: Any, **of_dana: Any) -> Any:
    """Return the scenario with a console of three accounts."""

    async def changed(site: Site) -> None:
        names = {name: {"email": f"{name}@b.co", "password": "x"} for name in ("office", "second", "סניף")}
        users = {**USERS, "dana": {**USERS["dana"], **of_dana}}
        more = Config.model_validate({"account": names})
        site.use(a_config(site.state, users).model_copy(update={"accounts": more.accounts}))
        await scenario(site)

    return changed


@pytest.mark.parametrize(
    ("of_dana", "offered"),
    [
        ({}, ["office", "second", "סניף"]),
        ({"account": "second"}, []),
        ({"account": "second", "accounts": ["סניף"]}, ["second", "סניף"]),
        ({"accounts": ["סניף"]}, ["office", "סניף"]),
    ],
)
def test_a_user_chooses_among_the_accounts_that_smtp_allows(tmp_path: Path, of_dana: dict[str, Any], offered: list[str]) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("dana")
        tree = check_page(await browser.get("/console/send"))
        [*choices] = [one for one in tree.iter("select") if one.get("id") == "account"]
        assert ["".join(one.itertext()) for choice in choices for one in choice.iter("option")] == offered
        for name in offered:
            tree = check_page(await browser.get(path := await draft(browser, "03-9876543", pdf(), account=name)))
            assert name in "".join(tree.itertext())
            await post(browser, path)
            assert (await faxes(site))[0].account == name
        for name in {"office", "second", "סניף", "nobody"} - set(offered) - {of_dana.get("account")}:
            tree = check_page(await write(browser, "03-9876543", pdf(), account=name), 422)
            if offered:
                assert [one.get("id") for one in tree.iter() if one.get("aria-invalid") == "true"] == ["account"]
        assert len(await faxes(site)) == len(offered)

    with_console(tmp_path, with_accounts(scenario, **of_dana))


@pytest.mark.parametrize("language", ["he", "en"])
def test_a_fax_is_sent_at_a_time_of_the_office(tmp_path: Path, language: str) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("dana", language=language)
        path = await draft(browser, "03-9876543", pdf(), send_at="2026-01-05T08:30")
        tree = check_page(await browser.get(path))
        assert "05.01.2026 08:30" in "".join(tree.itertext())
        answer = await post(browser, path)
        assert answer.headers["location"].endswith("?done=scheduled")
        (fax,) = await faxes(site)
        assert fax.due_at == datetime(2026, 1, 5, 6, 30, tzinfo=UTC)
        scheduled = {"he": "מתוזמן", "en": "scheduled"}[language]
        for page in (f"/console/faxes/{fax.id}", "/console/waiting"):
            shown = "".join(check_page(await browser.get(page)).itertext())
            assert "05.01.2026 08:30" in shown
            assert scheduled in shown
        later(site, hours=24)
        browser = await site.user("dana", language=language)
        assert scheduled not in "".join(check_page(await browser.get(f"/console/faxes/{fax.id}")).itertext())

    with_console(tmp_path, scenario)


@pytest.mark.parametrize(
    ("send_at", "says"),
    [
        ("2026-01-04T10:00", "has passed"),
        ("2027-03-01T10:00", "more than a year"),
        ("9999-12-31T23:59", "more than a year"),
        ("0001-01-01T00:00", "has passed"),
        ("tomorrow", "a day and a time"),
        ("2026-01-05", "a day and a time"),
        ("2026-01-05T08:30+02:00", "a day and a time"),
        ("2026-01-05T08:30\r\nX-Mailbridge-Account: x", "a day and a time"),
    ],
)
def test_a_time_at_which_nothing_is_sent_is_said_beside_its_field(tmp_path: Path, send_at: str, says: str) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("dana")
        tree = check_page(await write(browser, "03-9876543", pdf(), send_at=send_at, subject="my subject"), 422)
        assert [one.get("id") for one in tree.iter() if one.get("aria-invalid") == "true"] == ["send_at"]
        assert says in "".join(next(one for one in tree.iter() if one.get("id") == "send_at-fault").itertext())
        assert await faxes(site) == []

    with_console(tmp_path, scenario)


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """A browser forgets the files that were chosen, so that each correction costs a person a choice."""

    async def scenario(site: Site) -> None:
        browser = await site.user("dana")
        for wrong in ({"sender": "nobody"}, {}):
            tree = check_page(await write(browser, "12", pdf(), send_at="2026-01-04T10:00", account="nobody", **wrong), 422)
            faulty = {one.get("id") for one in tree.iter() if one.get("aria-invalid") == "true"}
            assert faulty >= {"send_at", *wrong, *(() if wrong else ("to",))}

    with_console(tmp_path, scenario)


HOSTILE = "\"><img src=x onerror=alert(1)><script>alert(1)</script>'"


def test_hostile_names_are_text(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("dana")
        text = f"{HOSTILE}\r\nX-Mailbridge-Account: other"
        path = await draft(browser, "03-9876543", (f"{HOSTILE}.pdf", PDF, HOSTILE), subject=text, text=text)
        tree = check_page(await browser.get(path))
        assert HOSTILE in "".join(tree.itertext())
        tree = check_page(await write(browser, HOSTILE, pdf(), subject=HOSTILE, text=HOSTILE, sender=HOSTILE), 422)
        assert next(one for one in tree.iter("input") if one.get("id") == "to").get("value") == HOSTILE
        await post(browser, path)
        (fax,) = await faxes(site)
        assert (fax.account, fax.email.subject) == ("office", f"{HOSTILE} X-Mailbridge-Account: other")

    with_console(tmp_path, scenario)


def test_every_refusal_of_smtp_that_a_field_can_get_has_its_words() -> None:
    for language in ("he", "en"):
        entries = Texts("he" if language == "he" else "en").entries
        for code in ("5.1.1", "5.1.2", "5.1.3", "5.7.1", "4.5.3", "4.7.1", "5.3.4", "5.6.0", "5.6.1"):
            assert f"send.fault.{code}" in entries


def test_a_failed_store_does_not_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("dana")

        async def refuse(*_: Any) -> None:
            raise Refused("554 5.6.0 gone wrong")

        path = await draft(browser, "03-9876543", pdf())
        monkeypatch.setattr(site.console.services.drafts, "send", refuse)
        assert "gone wrong" in "".join(check_page(await post(browser, path), 422).itertext())

    with_console(tmp_path, scenario)


def test_a_form_in_a_charset_with_halves_of_letters_is_a_fax_all_the_same(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("dana")
        fields = {"to": b"03-9876543", "subject": b"+2AA-", "text": b"hello +2AA-"}
        parts = [
            f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value for name, value in fields.items()
        ]
        headers = {**SAME_ORIGIN, "content-type": "multipart/form-data; boundary=x; charset=utf-7"}
        answer = await browser.post("/console/send", content=b"\r\n".join(parts) + b"\r\n--x--\r\n", headers=headers)
        assert answer.status_code == 303, answer.text
        check_page(await browser.get(answer.headers["location"]))

    with_console(tmp_path, scenario)
