"""The client against the tables of MyFax's document (12.2022): every parameter is sent and documented, and no other."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from mailbridge.http_connections import HostConnections
from mailbridge.myfax import InvalidArgument, MyFax, transport

# Copied from the document, parameter by parameter in its order.
TABLES = {
    "register": "distEmail distPassword email fullName password companyName companyAddress type requestedNumber resultType",
    "send": "email password faxNumber theFile fileURL resultType",
    "status": "email password faxCode",
    "incoming": "email password p startDate endDate listType",
    "release": "distEmail distPassword action faxLineDID userEmail resultType",
}
PATHS = {
    "register": "myFaxAllocateDistributer.do",
    "send": "faxUpload.do",
    "status": "faxStatus.do?v=1",
    "incoming": "incoming.do",
    "release": "releaseFaxLine.do",
}
ANSWER = b"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><FAX_CODE>c</FAX_CODE></RESPONSE>"
FILE = Path(__file__).parents[3] / "pyproject.toml"
NOW = datetime(2026, 1, 4, 7, tzinfo=UTC)

Action = Callable[[MyFax], Awaitable[Any]]


async def all_of(myfax: MyFax, **options: Any) -> list[Any]:
    return [item async for item in myfax.incoming(**options)]


def sent_by(action: Action, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    """Return the path and the form of each request of an action; a file appears as its content."""
    sent: list[tuple[str, dict[str, str]]] = []

    def taken(request: httpx.Request) -> httpx.Response:
        if "boundary=" not in request.headers["Content-Type"]:
            form = {name: values[0] for name, values in parse_qs(request.content.decode(), keep_blank_values=True).items()}
            assert all(form.values()), "an empty parameter"
        else:
            form = dict(re.findall(r'name="(\w+)".*?\r\n\r\n(.*?)\r\n--', request.content.decode(), re.DOTALL))
        sent.append((request.url.raw_path.decode().removeprefix("/action/"), form))
        return httpx.Response(200, stream=httpx.ByteStream(ANSWER))

    class Recorder(HostConnections):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await request.aread()
            return taken(request)

    monkeypatch.setattr(transport, "HostConnections", Recorder)

    async def main() -> None:
        async with MyFax("office@example.co.il", "pw") as myfax:
            await action(myfax)

    asyncio.run(main())
    return sent


WHOLE: dict[str, list[Action]] = {
    "register": [
        lambda myfax: myfax.register(
            "new@example.co.il",
            full_name="ישראל ישראלי",
            password="theirs",
            company_name="Israel LTD",
            company_address="1 Main Road",
            type=17,
            requested_number="+972-3-9876543",
        )
    ],
    "send": [
        lambda myfax: myfax.send("03-9876543", FILE),
        lambda myfax: myfax.send("03-9876543", url="https://example.co.il/a.pdf"),
    ],
    "status": [lambda myfax: myfax.status("c-1")],
    "incoming": [lambda myfax: all_of(myfax, kind="voice", start=NOW, end=NOW)],
    "release": [
        lambda myfax: myfax.release(line="+97239876543", action="blockUser"),
        lambda myfax: myfax.release(user_email="new@example.co.il", action="noRenew"),
    ],
}


@pytest.mark.parametrize("action", TABLES)
def test_every_documented_parameter_is_sent_and_no_other(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [one for call in WHOLE[action] for one in sent_by(call, monkeypatch)]
    assert {path for path, _ in sent} == {PATHS[action]}
    assert {name for _, form in sent for name in form} == set(TABLES[action].split())
    assert all(form.get("resultType", "XML") == "XML" for _, form in sent)


@pytest.mark.parametrize("action", TABLES)
def test_every_documented_parameter_is_in_the_docstring(action: str) -> None:
    text = inspect.getdoc(getattr(MyFax, action)) or ""
    assert f"`{PATHS[action].removesuffix('?v=1')}" in text
    listed = text[text.index("Sent by their documented names:") :]
    assert set(TABLES[action].split()) <= set(re.findall(r"\w+", listed))


def test_values_are_sent_as_the_document_prints_them(monkeypatch: pytest.MonkeyPatch) -> None:
    [(_, form)] = sent_by(WHOLE["register"][0], monkeypatch)
    assert (form["fullName"], form["type"], form["requestedNumber"]) == ("ישראל ישראלי", "17", "+97239876543")
    assert (form["distEmail"], form["distPassword"], form["password"]) == ("office@example.co.il", "pw", "theirs")
    [(_, form)] = sent_by(WHOLE["incoming"][0], monkeypatch)
    assert (form["p"], form["startDate"], form["listType"]) == ("0", "2026-01-04 09:00:00", "voice")
    [(_, form)] = sent_by(WHOLE["send"][0], monkeypatch)
    assert form["theFile"] == FILE.read_text()
    [(_, form)] = sent_by(lambda myfax: myfax.register("new@example.co.il"), monkeypatch)
    assert set(form) == {"distEmail", "distPassword", "email", "resultType"}


BAD: list[tuple[str, Action]] = [
    ("email", lambda myfax: myfax.register("nobody")),
    ("email", lambda myfax: myfax.register("")),
    ("email", lambda myfax: myfax.register("a@b.c\r\nx")),
    ("email", lambda myfax: myfax.register(f"a@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 20}.il")),
    ("fullName", lambda myfax: myfax.register("a@b.co", full_name="א" * 201)),
    ("fullName", lambda myfax: myfax.register("a@b.co", full_name="\ud800")),
    ("password", lambda myfax: myfax.register("a@b.co", password="\ud800")),
    ("companyName", lambda myfax: myfax.register("a@b.co", company_name="x" * 101)),
    ("companyAddress", lambda myfax: myfax.register("a@b.co", company_address="\udcff")),
    ("type", lambda myfax: myfax.register("a@b.co", type=2)),  # type: ignore[arg-type]
    ("type", lambda myfax: myfax.register("a@b.co", type=True)),  # type: ignore[arg-type]
    ("requestedNumber", lambda myfax: myfax.register("a@b.co", requested_number="03-9876543")),
    ("requestedNumber", lambda myfax: myfax.register("a@b.co", requested_number="+9723")),
    ("requestedNumber", lambda myfax: myfax.register("a@b.co", requested_number="")),
    ("faxNumber", lambda myfax: myfax.send("", FILE)),
    ("faxNumber", lambda myfax: myfax.send("*2700", FILE)),
    ("faxNumber", lambda myfax: myfax.send("03-9876543;5", FILE)),
    ("theFile", lambda myfax: myfax.send("03-9876543")),
    ("theFile", lambda myfax: myfax.send("03-9876543", [])),
    ("theFile", lambda myfax: myfax.send("03-9876543", FILE, url="https://example.co.il/a.pdf")),
    ("theFile", lambda myfax: myfax.send("03-9876543", FILE.parent / "nothing.pdf")),
    ("theFile", lambda myfax: myfax.send("03-9876543", [FILE, FILE.parent])),
    ("theFile", lambda myfax: myfax.send("03-9876543", "a\0b")),
    ("fileURL", lambda myfax: myfax.send("03-9876543", url="file:///etc/passwd")),
    ("fileURL", lambda myfax: myfax.send("03-9876543", url="https:// example.co.il/a.pdf")),
    ("fileURL", lambda myfax: myfax.send("03-9876543", url="http://[x/a.pdf")),
    ("fileURL", lambda myfax: myfax.send("03-9876543", url="http://x:port/a.pdf")),
    ("faxCode", lambda myfax: myfax.status(" ")),
    ("listType", lambda myfax: all_of(myfax, kind="sent")),
    ("startDate", lambda myfax: all_of(myfax, start=NOW.replace(tzinfo=None))),
    ("endDate", lambda myfax: all_of(myfax, end=NOW.replace(tzinfo=None))),
    ("endDate", lambda myfax: all_of(myfax, end=datetime.max.replace(tzinfo=UTC))),
    ("endDate", lambda myfax: all_of(myfax, start=NOW, end=NOW.replace(year=2025))),
    ("faxLineDID", lambda myfax: myfax.release()),
    ("faxLineDID", lambda myfax: myfax.release(line="+97239876543", user_email="a@b.co")),
    ("faxLineDID", lambda myfax: myfax.release(line="03-9876543")),
    ("userEmail", lambda myfax: myfax.release(user_email="nobody")),
    ("action", lambda myfax: myfax.release(line="+97239876543", action="delete")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("field", "action"), BAD, ids=[f"{field} {number}" for number, (field, _) in enumerate(BAD)])
def test_an_invalid_argument_is_never_sent_and_the_error_names_its_field(
    field: str, action: Action, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[InvalidArgument] = []

    async def refused(myfax: MyFax) -> None:
        with pytest.raises(InvalidArgument) as caught:
            await action(myfax)
        errors.append(caught.value)

    assert sent_by(refused, monkeypatch) == []
    assert errors[0].field == field
    assert str(errors[0]).startswith(f"{field}: ")
    str(errors[0]).encode()


def test_arguments_at_their_limits_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    long = f"a@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 12}.il"
    assert len(long) == 200
    call: Action = lambda myfax: myfax.register(long, full_name="א" * 200, company_name="x" * 100, type=1)  # noqa: E731
    [(_, form)] = sent_by(call, monkeypatch)
    assert (form["email"], len(form["fullName"]), len(form["companyName"]), form["type"]) == (long, 200, 100, "1")


@pytest.mark.parametrize(
    "url",
    ["http://www.myfax.co.il/action/", "http://192.0.2.1/", "ftp://127.0.0.1/", "http://127.0.0.1:x/", "www.myfax.co.il", ""],
)
def test_a_password_is_never_sent_in_clear_text(url: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^url: "):
        MyFax("office@example.co.il", "pw", url)


def test_a_login_that_is_not_valid_text_is_refused_at_once() -> None:
    for field, login in (("email", ("\udcff", "pw")), ("password", ("office@example.co.il", "\udcff"))):
        with pytest.raises(InvalidArgument) as caught:
            MyFax(*login)
        assert caught.value.field == field
