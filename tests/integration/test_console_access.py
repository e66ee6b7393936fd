"""Who may do what in the console: logins, sessions, roles, forms of other sites, and the headers that protect a browser."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment
from starlette.requests import Request
from structlog.testing import capture_logs

from mailbridge.console.routes import ROUTES
from mailbridge.console.visit import read_cookie
from mailbridge.submission.password import hash_password
from tests.integration.console_fixtures import (
    PASSWORD,
    ROLES,
    SAME_ORIGIN,
    USERS,
    Site,
    a_config,
    check_page,
    later,
    post,
    with_console,
)
from tests.store.factories import ask
from tests.work_counter import calls

# Every route by method, path and the roles that may use it, written by hand: a change of `routes` must be meant.
EVERYBODY, USERS_ALL, READERS, OPERATORS, SENDERS = "-sov", "sov", "ov", "o", "so"
TABLE: dict[tuple[str, str], str] = {
    ("GET", "/"): USERS_ALL,
    ("GET", "/login"): EVERYBODY,
    ("POST", "/login"): EVERYBODY,
    ("POST", "/logout"): USERS_ALL,
    ("POST", "/language"): EVERYBODY,
    ("GET", "/sent"): USERS_ALL,
    ("GET", "/waiting"): USERS_ALL,
    ("GET", "/failed"): USERS_ALL,
    ("GET", "/faxes"): USERS_ALL,
    ("GET", "/faxes/{id}"): USERS_ALL,
    ("GET", "/faxes/{id}/cancel"): SENDERS,
    ("POST", "/faxes/{id}/cancel"): SENDERS,
    ("GET", "/faxes/{id}/retry"): SENDERS,
    ("POST", "/faxes/{id}/retry"): SENDERS,
    ("GET", "/faxes/{id}/resolve"): OPERATORS,
    ("POST", "/faxes/{id}/resolve"): OPERATORS,
    ("GET", "/faxes/{id}/documents/{n}"): USERS_ALL,
    ("GET", "/faxes/{id}/documents/{n}/pages/{page}"): USERS_ALL,
    ("GET", "/faxes/{id}/documents/{n}/pages/{page}/view"): USERS_ALL,
    ("GET", "/received/{id}/documents/{n}/pages/{page}/view"): READERS,
    ("GET", "/send/{key}/documents/{n}/pages/{page}/view"): SENDERS,
    ("GET", "/received/{id}/documents/{n}/pages/{page}"): READERS,
    ("GET", "/faxes/{id}/confirmation"): USERS_ALL,
    ("GET", "/received"): READERS,
    ("GET", "/received/{id}"): READERS,
    ("POST", "/received/{id}/note"): OPERATORS,
    ("GET", "/received/{id}/documents/{n}"): READERS,
    ("GET", "/sessions"): USERS_ALL,
    ("POST", "/sessions/{id}/end"): USERS_ALL,
    ("GET", "/sent/csv"): USERS_ALL,
    ("GET", "/waiting/csv"): USERS_ALL,
    ("GET", "/failed/csv"): USERS_ALL,
    ("GET", "/faxes/csv"): USERS_ALL,
    ("GET", "/received/csv"): READERS,
    ("GET", "/system"): READERS,
    ("GET", "/system/hold"): OPERATORS,
    ("POST", "/system/hold"): OPERATORS,
    ("GET", "/system/resume"): OPERATORS,
    ("POST", "/system/resume"): OPERATORS,
    ("GET", "/webhooks"): READERS,
    ("GET", "/webhooks/{name}"): READERS,
    ("POST", "/webhooks/{name}/test"): OPERATORS,
    ("POST", "/webhooks/{name}/replay"): OPERATORS,
    ("GET", "/deliveries/{id}"): READERS,
    ("POST", "/deliveries/{id}/replay"): OPERATORS,
    ("GET", "/send"): SENDERS,
    ("POST", "/send"): SENDERS,
    ("GET", "/send/{key}"): SENDERS,
    ("POST", "/send/{key}"): SENDERS,
    ("POST", "/send/{key}/discard"): SENDERS,
    ("GET", "/send/{key}/documents/{n}/pages/{page}"): SENDERS,
}


def test_the_table_has_every_route() -> None:
    assert {(one.method, one.path) for one in ROUTES} == set(TABLE)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_route_by_role_and_method(tmp_path: Path, method: str) -> None:
    """A route is answered for those who may use it, and for nobody else; a path has no other method than those in the table."""

    async def scenario(site: Site) -> None:
        paths = sorted({path for _, path in TABLE})
        for who, path in product(("-", "s", "o", "v"), paths):
            roles = {role[0]: user for role, user in ROLES.items()}
            browser = site.browser() if who == "-" else await site.user(roles[who])
            allowed = TABLE.get((method, path))
            url = "/console" + path.replace("{id}", "fax_01KE3Y0000000000000000000").replace("{n}", "0")
            answer = await browser.request(method, url, headers=SAME_ORIGIN)
            where = answer.headers.get("location", "")
            if allowed is None:
                assert answer.status_code == 404, (who, path, answer.status_code)
            elif who == "-" and who not in allowed:
                assert (answer.status_code, where.startswith("/console/login")) == (303, True), (who, path)
            elif who not in allowed:
                assert answer.status_code == 403, (who, path, answer.status_code)
                assert "role" in answer.text
            else:
                assert answer.status_code in (200, 303, 400, 403, 404, 409), (who, path, answer.status_code)
                assert "Your role does not allow" not in answer.text, (who, path)
                assert who == "-" or not where.startswith("/console/login") or path in ("/logout",), (who, path)

    with_console(tmp_path, scenario)


def test_the_console_is_off_by_default(tmp_path: Path) -> None:
    from mailbridge.config import Http

    assert Http().console is False


def test_a_login_begins_a_session_of_256_random_bits_that_is_stored_as_a_hash(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser = site.browser()
        answer = await post(browser, "/console/login", name="office", password=PASSWORD)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/")
        cookie = answer.headers["set-cookie"]
        token = browser.cookies["mailbridge"]
        assert len(token) == 43  # 32 bytes in base64url
        assert "httponly" in cookie.lower()
        assert "samesite=strict" in cookie.lower()
        assert "max-age=43200" in cookie.lower()
        assert "secure" not in cookie.lower()
        stored = ask(site.state, "SELECT hash, user, client FROM console_session")
        assert stored == [(hashlib.sha256(token.encode()).hexdigest(), "office", "127.0.0.1")]
        assert token not in str(ask(site.state, "SELECT * FROM console_session"))
        assert site.guesses == [("office", b"secret", "127.0.0.1", "console")]
        assert await site.audit("login") == [
            {"what": "login", "subject": "office", "client": "127.0.0.1", "session": (await site.audit("login"))[0]["session"]}
        ]
        check_page(await browser.get("/console/"))

    with_console(tmp_path, scenario)


def test_behind_https_the_cookie_is_for_this_host_over_https_alone(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        answer = await post(site.browser(), "/console/login", name="office", password=PASSWORD)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-mailbridge=")
        assert "; secure" in cookie.lower()
        assert "path=/;" in f"{cookie.lower()};"
        assert "domain" not in cookie.lower()

    with_console(tmp_path, scenario, public_url="https://fax.example.co.il")


def test_a_session_ends_after_12_hours(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("office")
        later(site, hours=11, minutes=59)
        check_page(await browser.get("/console/"))
        later(site, minutes=1)
        assert (await browser.get("/console/")).headers["location"] == "/console/login"
        await site.user("office")
        assert ask(site.state, "SELECT count(*) FROM console_session") == [(1,)]

    with_console(tmp_path, scenario)


def test_a_login_never_continues_a_session(tmp_path: Path) -> None:
    """A token that somebody else has put into the browser is worth nothing after the login."""

    async def scenario(site: Site) -> None:
        browser = site.browser()
        browser.cookies.set("mailbridge", "A" * 43, domain="console.test")
        await post(browser, "/console/login", name="office", password=PASSWORD)
        first = browser.cookies["mailbridge"]
        assert first != "A" * 43
        await post(browser, "/console/login", name="office", password=PASSWORD)
        assert browser.cookies["mailbridge"] != first
        other = site.browser()
        other.cookies.set("mailbridge", first, domain="console.test")
        assert (await other.get("/console/")).status_code == 303

    with_console(tmp_path, scenario)


def test_a_logout_ends_the_session_at_the_server(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("office")
        token = browser.cookies["mailbridge"]
        answer = await post(browser, "/console/logout")
        assert "mailbridge=" in answer.headers["set-cookie"]
        page = check_page(await browser.get(answer.headers["location"]))
        assert "You are logged out." in "".join(page.itertext())
        browser.cookies.set("mailbridge", token, domain="console.test")
        assert (await browser.get("/console/")).status_code == 303

    with_console(tmp_path, scenario)


@pytest.mark.parametrize("change", ["removed", "password", "no password"])
def test_a_session_ends_with_its_user_and_with_the_password(tmp_path: Path, change: str) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("office")
        users = {**USERS, "office": {"password_hash": hash_password("another"), "role": "operator"}}
        if change == "removed":
            del users["office"]
        elif change == "no password":
            users["office"] = {"networks": ["10.0.0.1"], "role": "operator"}
        site.use(a_config(site.state, users))
        again = site.browser()
        again.cookies = browser.cookies
        assert (await again.get("/console/")).status_code == 303

    with_console(tmp_path, scenario)


def test_a_role_is_that_of_the_present_configuration(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("office")
        site.use(a_config(site.state, {**USERS, "office": {**USERS["office"], "role": "viewer"}}))
        again = site.browser()
        again.cookies = browser.cookies
        found = await site.console.runtime.store.run(lambda tx: tx.console_sessions.of_user("office", site.now))
        assert len(found) == 1
        assert (await again.get("/console/sessions")).status_code == 200
        assert site.console.identity("office", None) is not None
        assert site.console.config.users["office"].role == "viewer"

    with_console(tmp_path, scenario)


def test_sessions_are_listed_and_ended(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        office, dana, dana_too = await site.user("office"), await site.user("dana"), await site.user("dana")
        rows = dict(ask(site.state, "SELECT id, user FROM console_session"))
        page = check_page(await dana.get("/console/sessions"))
        assert len(page.find(".//tbody").findall("tr")) == 2
        of_office = next(id for id, user in rows.items() if user == "office")
        assert (await post(dana, f"/console/sessions/{of_office}/end")).status_code == 404
        mine = [id for id, user in rows.items() if user == "dana"]
        assert len(check_page(await office.get("/console/sessions")).find(".//tbody").findall("tr")) == 3
        await post(office, f"/console/sessions/{mine[1]}/end")
        statuses = sorted([(await one.get("/console/sessions")).status_code for one in (dana, dana_too)])
        assert statuses == [200, 303]
        assert [(one["subject"], one["user"]) for one in await site.audit("logout")] == [("dana", "office")]

    with_console(tmp_path, scenario)


def test_a_user_has_so_many_sessions_only(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        for _ in range(25):
            await site.user("dana")
        assert ask(site.state, "SELECT count(*) FROM console_session") == [(20,)]

    with_console(tmp_path, scenario)


@pytest.mark.parametrize("name", ["office", "nobody", "scanner", ""])
def test_a_wrong_password_says_no_more_than_that(tmp_path: Path, name: str) -> None:
    async def scenario(site: Site) -> None:
        browser = site.browser(**{"accept-language": "en"})
        answer = await post(browser, "/console/login", name=name, password="guess" if name == "office" else PASSWORD)
        page = "".join(check_page(answer, 403).itertext())
        assert "The user name or the password is wrong." in page
        assert not browser.cookies
        assert ask(site.state, "SELECT count(*) FROM console_session") == [(0,)]

    with_console(tmp_path, scenario)


def test_a_login_that_comes_too_soon_says_so(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.too_soon = True
        answer = await post(site.browser(**{"accept-language": "en"}), "/console/login", name="office", password=PASSWORD)
        assert "Too many failed logins" in "".join(check_page(answer, 403).itertext())

    with_console(tmp_path, scenario)


def test_a_login_leads_back_to_the_page_that_was_wanted_and_nowhere_else(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser = site.browser()
        answer = await browser.get("/console/sessions?x=1&y=%22")
        assert answer.headers["location"] == "/console/login?next=/console/sessions%3Fx%3D1%26y%3D%2522"
        page = check_page(await browser.get(answer.headers["location"]))
        target = page.find(".//input[@name='next']").get("value")
        assert target == "/console/sessions?x=1&y=%22"
        for wanted, leads_to in (
            (target, target),
            ("https://evil.example/", "/console/"),
            ("//evil.example/console/", "/console/"),
            ("/\\evil.example", "/console/"),
            ("/console/\\evil.example", "/console/"),
            ("/console//evil.example", "/console/"),
            ("/console/\r\nset-cookie: x=y", "/console/"),
            ("javascript:alert(1)", "/console/"),
            ("/healthz", "/console/"),
        ):
            form = {"name": "office", "password": PASSWORD, "next": wanted}
            answer = await site.browser().post("/console/login", data=form, headers=SAME_ORIGIN)
            assert answer.headers["location"] == leads_to, wanted

    with_console(tmp_path, scenario)


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "http://console.test"}, False),
        ({"origin": "http://console.test"}, True),
        ({"origin": "https://fax.example.co.il"}, True),
        ({"origin": "http://console.test.evil.example"}, False),
        ({"origin": "http://fax.example.co.il"}, False),
        ({"origin": "null"}, False),
        ({}, False),
    ],
)
@pytest.mark.parametrize("path", ["/console/login", "/console/logout", "/console/nothing"])
def test_a_form_of_another_site_changes_nothing(tmp_path: Path, headers: Mapping[str, str], accepted: bool, path: str) -> None:
    async def scenario(site: Site) -> None:
        browser = site.browser(**{"accept-language": "en"})
        answer = await browser.post(path, data={"name": "office", "password": PASSWORD}, headers=headers)
        assert ("did not come from this page" in answer.text) is not accepted
        assert bool(site.guesses) is (accepted and path.endswith("login"))
        if not accepted:
            check_page(answer, 403)

    with_console(tmp_path, scenario, public_url="https://fax.example.co.il")


def test_every_answer_has_the_headers_that_protect_a_browser(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        office = await site.user("office")
        version = site.console.templates.version
        for path in ("/", "/nothing", "/login", f"/static/{version}/style.css", f"/static/{version}/refresh.js", "/sessions"):
            headers = (await office.get(f"/console{path}")).headers
            policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
            assert policy.pop("default-src") == "'none'"
            assert policy.pop("frame-ancestors") == "'none'"
            assert policy.pop("base-uri") == "'none'"
            assert set(policy.values()) == {"'self'"}
            assert set(policy) >= {"script-src", "style-src", "img-src", "connect-src", "form-action"}
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
        assert (await office.get("/console/")).headers["cache-control"] == "no-store"
        assert "immutable" in (await office.get(f"/console/static/{version}/style.css")).headers["cache-control"]

    with_console(tmp_path, scenario)


def test_the_root_leads_to_the_console(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        for path in ("/", "/console"):
            answer = await site.browser().get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/console/")

    with_console(tmp_path, scenario)


def test_the_language_is_the_users_or_the_browsers_or_the_configured_one(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        def language(answer: object) -> str:
            return str(check_page(answer).get("lang"))  # type: ignore[arg-type]  # httpx's answer

        assert language(await site.browser().get("/console/login")) == "he"
        assert language(await site.browser(**{"accept-language": "fr, en-GB;q=0.8"}).get("/console/login")) == "en"
        erez, office = await site.user("erez", language="en"), await site.user("office", language="iw")
        assert language(await erez.get("/console/sessions")) == "he"
        assert language(await office.get("/console/sessions")) == "he"
        answer = await post(office, "/console/language", language="en", back="/console/sessions")
        assert answer.headers["location"] == "/console/sessions"
        assert language(await office.get("/console/sessions")) == "en"
        await post(office, "/console/language", language="xx", back="//evil.example")
        assert language(await office.get("/console/sessions")) == "en"

    with_console(tmp_path, scenario)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
        ("10.0.0.1", "x", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.9.1", "1.2.3.4", "10.0.9.1"),
    ],
)
def test_a_listed_proxy_names_the_client_of_a_login(tmp_path: Path, peer: str, forwarded: str, client: str) -> None:
    async def scenario(site: Site) -> None:
        browser = site.browser(peer, **({"x-forwarded-for": forwarded} if forwarded else {}))
        await post(browser, "/console/login", name="office", password=PASSWORD)
        assert site.guesses[0][2] == client

    with_console(tmp_path, scenario, proxies=["10.0.0.0/29"])


def test_what_a_client_wrote_into_a_proxys_header_is_not_believed(tmp_path: Path) -> None:
    """A proxy that adds its line behind the client's, as HAProxy does, leaves both."""

    async def scenario(site: Site) -> None:
        lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4"), *SAME_ORIGIN.items()]
        form = {"name": "office", "password": PASSWORD}
        await site.browser("10.0.0.1").post("/console/login", data=form, headers=lines)
        assert site.guesses[0][2] == "1.2.3.4"
        named = [("x-remote-user", "office"), ("x-remote-user", "dana")]
        answer = await site.browser("10.0.0.1").get("/console/sessions", headers=named)
        assert answer.headers["location"].startswith("/console/login")

    with_console(tmp_path, scenario, proxies=["10.0.0.0/29"], proxy_user="X-Remote-User")


def test_a_listed_proxy_and_nobody_else_names_a_user(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        named = {"x-remote-user": "dana", "accept-language": "en"}
        page = check_page(await site.browser("10.0.0.1", **named).get("/console/sessions"))
        assert "dana" in "".join(page.itertext())
        assert not [form for form in page.iter("form") if form.get("action") == "/console/logout"]
        assert (await site.browser("10.0.9.1", **named).get("/console/sessions")).status_code == 303
        assert (await site.browser("10.0.0.1", **{"x-remote-user": "nobody"}).get("/console/sessions")).status_code == 303
        assert (await site.browser("10.0.0.1").get("/console/sessions")).status_code == 303

    with_console(tmp_path, scenario, proxies=["10.0.0.0/29"], proxy_user="X-Remote-User")


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a=" + b"x" * 70_000, b"&".join(b"a%d=1" % n for n in range(200)), b"a=%FF"])
def test_a_form_that_cannot_be_read_is_refused(tmp_path: Path, body: bytes) -> None:
    async def scenario(site: Site) -> None:
        check_page(await site.browser().post("/console/login", content=body, headers=SAME_ORIGIN), 400)
        assert not site.guesses

    with_console(tmp_path, scenario)


def test_a_reload_compiles_no_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold the event loop, and with it everybody's mail, for a third of a second and more."""

    async def scenario(site: Site) -> None:
        monkeypatch.setattr(Environment, "compile", None)
        site.use(site.config)
        assert (await site.browser().get("/console/login")).status_code == 200

    with_console(tmp_path, scenario)


@pytest.mark.parametrize(
    "cookie",
    ['mailbridge="' + "\\\\1" * 8_000 + '"', 'mailbridge="' + '\\"' * 8_000, "a=b;" * 4_000, "mailbridge" * 1_600, ";" * 16_000],
    ids=["escapes", "quotes", "many", "one name", "none"],
)
def test_attack_1_cookies_are_read_with_little_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cookie: str) -> None:
    async def scenario(site: Site) -> None:
        request = Request({"type": "http", "headers": [(b"cookie", cookie.encode()), (b"cookie", b"mailbridge=token")]})
        assert read_cookie(request, "mailbridge") == "token"
        assert calls(lambda: read_cookie(request, "mailbridge")) < 100_000
        # And nothing else reads them.
        with monkeypatch.context() as patched:
            patched.setattr("http.cookies._unquote", None)
            assert (await site.browser(cookie=cookie).get("/console/")).status_code == 303

    with_console(tmp_path, scenario)


def test_attack_1_an_address_with_too_many_parameters_is_refused(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        browser = await site.user("office")
        for path in ("/console/login", "/console/faxes", "/console/nowhere"):
            assert (await browser.get(f"{path}?{'a=b&' * 100}")).status_code == 400
        assert (await browser.get(f"/console/faxes?{'a=b&' * 99}")).status_code == 200

    with_console(tmp_path, scenario)


@pytest.mark.parametrize("origin", ["http://[", "http://[x]", "http://]:1", "["])
def test_an_origin_that_is_no_url_is_another_origin(tmp_path: Path, origin: str) -> None:
    async def scenario(site: Site) -> None:
        answer = await site.browser(origin=origin).post("/console/login", data={"name": "office", "password": "secret"})
        check_page(answer, 403)

    with_console(tmp_path, scenario)


def test_a_browser_that_leaves_while_it_sends_a_form_is_no_fault(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        async def receive() -> dict[str, object]:
            return {"type": "http.disconnect"}

        async def send(message: dict[str, object]) -> None:
            pass

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/console/login",
            "query_string": b"",
            "headers": [(b"sec-fetch-site", b"same-origin")],
        }
        app: Any = site.app
        with capture_logs() as logged:
            await app({**scope, "client": ("127.0.0.1", 1)}, receive, send)
        assert logged == []

    with_console(tmp_path, scenario)
