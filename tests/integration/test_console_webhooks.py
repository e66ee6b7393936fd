"""The pages of webhooks: how each is doing, what its receiver answered, and replaying what was given up."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailbridge.config import Config
from mailbridge.console.paging import ROWS
from mailbridge.model import Delivery
from mailbridge.store.webhook_records import DeliveryTry
from tests.factories import NOW
from tests.integration.console_fixtures import Site, a_config, check_page, check_part, post, with_console
from tests.store.factories import a_mail

SECRET = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
HOSTILE = "\"><img src=x onerror=alert(1)><script>alert(1)</script>'"


def config_of(site: Site, *names: str) -> Config:
    hooks = {name: {"url": f"https://hooks.example.co.il/T0/{name}-secret", "secret": SECRET} for name in names}
    return a_config(site.state).model_copy(update={"webhooks": Config.model_validate({**BASE, "webhook": hooks}).webhooks})


BASE: dict[str, Any] = {"account": {"office": {"email": "office@example.co.il", "password": "x"}}}


async def events(site: Site, count: int = 1, **data: Any) -> list[Delivery]:
    """Emit events to crm; return their deliveries."""
    found = []
    for number in range(count):
        event = await site.store.run(lambda tx, n=number: tx.events.emit("ping", {"n": n, **data}, site.now))  # type: ignore[misc]
        found += await site.store.run(lambda tx, id=event.id: tx.deliveries.newest(event_id=id))  # type: ignore[misc]
    return found


async def tried(site: Site, trigger: Any, **changes: Any) -> Delivery:
    """Let the next delivery to crm be tried, with this outcome."""

    def work(tx: Any) -> Delivery:
        ((delivery, _),) = tx.deliveries.claim("crm", site.now, 1)
        answer = {"status": changes.get("status"), "error": changes.get("error"), "answer": changes.pop("answer", None)}
        tx.deliveries.add_tries([DeliveryTry(delivery_id=delivery.id, at=site.now, milliseconds=1234, **answer)])
        done: Delivery = tx.deliveries.transition(delivery.id, trigger, site.now, **changes)
        return done

    return await site.store.run(work)


def words(tree: Any) -> str:
    return " ".join("".join(tree.itertext()).split())


@pytest.mark.parametrize("language", ["he", "en"])
def test_the_page_says_how_each_webhook_is_doing(tmp_path: Path, language: str) -> None:
    async def scenario(site: Site) -> None:
        site.use(config_of(site, "crm", "idle"))
        browser = await site.user("vera", language=language)
        await events(site, 3)
        await tried(site, "deliver", status=204)
        await tried(site, "reject", status=500, error="HTTP 500")
        tree = check_page(await browser.get("/console/webhooks"))
        rows = {
            words(row.find("th")): [words(cell) for cell in row.iter("td")]
            for row in tree.iter("tr")
            if row.find("td") is not None
        }
        assert [rows["crm"][place] for place in (1, 2, 3)] == ["1", "1", "1"]
        assert [rows["idle"][place] for place in (1, 2, 3)] == ["0", "0", "0"]
        check_part(await browser.get("/console/webhooks?part=1"))
        assert "secret" not in (await browser.get("/console/webhooks")).text

    with_console(tmp_path, scenario)


def test_each_condition_of_a_webhook(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        async def health() -> str:
            return words(check_page(await (await site.user("vera")).get("/console/webhooks/crm")))

        site.use(config_of(site, "crm"))
        assert "takes what is sent" in await health()
        await events(site)
        await tried(site, "defer", error="connection refused", due_at=NOW + timedelta(hours=1))
        assert "The last try failed" in await health()
        assert "connection refused" in await health()
        await events(site)
        await tried(site, "exhaust", error="HTTP 503")
        assert "was given up after its last try" in await health()
        assert "failing" in await health()
        await site.store.run(lambda tx: tx.stopped_webhooks.add("crm", "HTTP 410 Gone", NOW))
        assert "answered 410 Gone" in await health()
        await site.store.run(lambda tx: tx.stopped_webhooks.remove("crm"))
        site.use(config_of(site, "other"))
        assert "no longer in the configuration" in await health()
        browser = await site.user("vera")
        tree = check_page(await browser.get("/console/webhooks"))
        assert {words(one) for one in tree.iter("th") if one.get("scope") == "row"} == {"crm", "other"}
        for unknown in ("nothing", "notice", "folder"):
            check_page(await browser.get(f"/console/webhooks/{unknown}"), 404)

    with_console(tmp_path, scenario)


def test_deliveries_are_listed_by_page_and_state(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.use(config_of(site, "crm"))
        browser = await site.user("vera")
        made = await events(site, 60)
        dead = await tried(site, "reject", status=400, error="HTTP 400")
        tree = check_page(await browser.get("/console/webhooks/crm"))
        first = [one.get("href") for one in tree.iter("a") if "/deliveries/" in one.get("href")]
        older = next(one.get("href") for one in tree.iter("a") if "before=" in one.get("href"))
        tree = check_page(await browser.get(f"/console/webhooks/crm{older}"))
        rest = [one.get("href") for one in tree.iter("a") if "/deliveries/" in one.get("href")]
        assert [len(first), len(rest)] == [ROWS, 60 - ROWS]
        assert {path.rpartition("/")[2] for path in first + rest} == {one.id for one in made}
        tree = check_page(await browser.get("/console/webhooks/crm?state=dead"))
        assert [one.get("href") for one in tree.iter("a") if "/deliveries/" in one.get("href")] == [
            f"/console/deliveries/{dead.id}"
        ]
        check_page(await browser.get("/console/webhooks/crm?state=nonsense&before=nonsense"))
        check_part(await browser.get("/console/webhooks/crm?part=1"))

    with_console(tmp_path, scenario)


def test_a_delivery_shows_every_try_and_what_was_answered(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.use(config_of(site, "crm"))
        browser = await site.user("vera")
        await events(site)
        await tried(site, "defer", due_at=NOW, status=502, error="HTTP 502", answer=f"{HOSTILE}\n\x1b[31mred")
        delivery = await tried(site, "defer", due_at=NOW, error="no answer within 20 s")
        answer = await browser.get(f"/console/deliveries/{delivery.id}")
        tree = check_page(answer)
        text = words(tree)
        for known in ("HTTP 502", "1.2 s", "no answer within 20 s", HOSTILE, delivery.id, delivery.event_id):
            assert known in text
        assert "\x1b" not in answer.text
        assert len(list(tree.iter("tr"))) == 3
        for unknown in ("dlv_01KE3Y0000000000000000000", "x", "fax_1"):
            check_page(await browser.get(f"/console/deliveries/{unknown}"), 404)

    with_console(tmp_path, scenario)


def test_the_body_gives_no_document_away(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.use(config_of(site, "crm"))
        browser = await site.user("vera")
        (delivery,) = await events(site)
        document = '{"url": "https://fax.example/documents/TOKEN", "content": "JVBERi0", "filename": "a.pdf"}'
        body = f'{{"type": "fax.received", "data": {{"document": {document}, "documents": [{document}]}}}}'.encode()
        object.__setattr__(site.console.services, "render_event", lambda event: body)
        text = (await browser.get(f"/console/deliveries/{delivery.id}")).text
        assert "a.pdf" in text
        assert "TOKEN" not in text
        assert "JVBERi0" not in text

    with_console(tmp_path, scenario)


def test_the_body_shows_signs_that_cannot_be_seen_as_json_writes_them(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.use(config_of(site, "crm"))
        browser = await site.user("vera")
        (delivery,) = await events(site)
        data = {"tags": {"k": "a\u202eb\u2066c\x1bd\u2028e\U000e0001fשלום"}}
        body = json.dumps({"type": "fax.queued", "data": data}, ensure_ascii=False).encode()
        object.__setattr__(site.console.services, "render_event", lambda event: body)
        tree = check_page(await browser.get(f"/console/deliveries/{delivery.id}"))
        shown = next(one for one in tree.iter("pre") if one.get("aria-labelledby") == "body")
        text = "".join(shown.itertext())
        assert all(sign.isprintable() or sign == "\n" for sign in text)
        assert json.loads(text)["data"] == data
        assert "שלום" in text

    with_console(tmp_path, scenario)


def test_one_dead_delivery_is_replayed_once(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.use(config_of(site, "crm"))
        browser = await site.user("office")
        await events(site)
        dead = await tried(site, "reject", status=400, error="HTTP 400")
        path = f"/console/deliveries/{dead.id}"
        tree = check_page(await browser.get(path))
        assert f"{path}/replay" in [one.get("action") for one in tree.iter("form")]
        answer = await post(browser, f"{path}/replay")
        assert answer.headers["location"] == f"{path}?done=replayed"
        assert "Queued to be delivered again" in (await browser.get(answer.headers["location"])).text
        assert (await site.store.run(lambda tx: tx.deliveries.get(dead.id))).state == "pending"
        assert (await post(browser, f"{path}/replay")).headers["location"] == path
        (line,) = await site.audit("delivery.replay")
        assert (line["subject"], line["user"], line["client"], line["via"]) == (dead.id, "office", "127.0.0.1", "console")

    with_console(tmp_path, scenario)


@pytest.mark.parametrize(("since", "replayed"), [("", 2), ((NOW + timedelta(days=1)).date().isoformat(), 1)])
def test_all_dead_deliveries_of_a_webhook_are_replayed(tmp_path: Path, since: str, replayed: int) -> None:
    async def scenario(site: Site) -> None:
        site.use(config_of(site, "crm"))
        for _ in range(2):
            await events(site)
            await tried(site, "reject", status=400, error="HTTP 400")
            site.now = NOW + timedelta(days=2)
        browser = await site.user("office")
        check_page(await post(browser, "/console/webhooks/crm/replay", since="yesterday"), 400)
        await site.store.run(lambda tx: tx.stopped_webhooks.add("crm", "gone", NOW))
        answer = await post(browser, "/console/webhooks/crm/replay", since=since)
        assert answer.headers["location"] == "/console/webhooks/crm?done=replayed"
        counts = await site.store.run(lambda tx: tx.deliveries.counts())
        assert counts[("crm", "pending")] == replayed
        assert await site.store.run(lambda tx: tx.stopped_webhooks.names()) == []
        (line,) = await site.audit("webhook.replay")
        assert (line["subject"], line["user"]) == ("crm", "office")
        check_page(await post(browser, "/console/webhooks/nothing/replay"), 404)

    with_console(tmp_path, scenario)


def test_a_test_event_is_sent_and_its_answer_is_shown(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.use(config_of(site, "crm"))
        browser = await site.user("office")
        answer = await post(browser, "/console/webhooks/crm/test")
        assert answer.headers["location"] == "/console/webhooks/crm"
        page = await browser.get("/console/webhooks/crm")
        text = words(check_page(page))
        for known in ("HTTP 500", "7 ms", "<b>crm</b> line"):
            assert known in text
        assert [line["subject"] for line in await site.audit("webhook.test")] == ["crm"]
        check_page(await post(browser, "/console/webhooks/nothing/test"), 404)

    with_console(tmp_path, scenario)


def test_only_an_operator_is_offered_what_changes_something(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.use(config_of(site, "crm"))
        await events(site)
        dead = await tried(site, "reject", status=400, error="HTTP 400")
        for path in ("/console/webhooks/crm", f"/console/deliveries/{dead.id}"):
            for user, offered in (("vera", False), ("office", True)):
                tree = check_page(await (await site.user(user)).get(path))
                actions = [one.get("action") for one in tree.iter("form")]
                assert any("/replay" in action for action in actions) is offered, (path, user)

    with_console(tmp_path, scenario)


def test_a_fax_of_a_delivery_is_linked(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        (fax,) = await a_mail(site.store, site.spool, "queued")
        (delivery,) = await site.store.run(lambda tx: tx.deliveries.newest(endpoint="crm"))
        tree = check_page(await (await site.user("vera")).get(f"/console/deliveries/{delivery.id}"))
        assert f"/console/faxes/{fax.id}" in [one.get("href") for one in tree.iter("a")]

    with_console(tmp_path, scenario)
