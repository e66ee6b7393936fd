"""Which events reach an endpoint: patterns of types, and the filters."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailbridge.config import Webhook, problems
from mailbridge.model import Event
from mailbridge.webhook.routing import Routes

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OUTBOUND = {
    "account": "office",
    "user": "dana",
    "to": "+97239876543",
    "from": None,
    "tags": {"case": "1723", "branch": "haifa"},
}
INBOUND = {"account": "boss", "mailbox": "inbox", "to": "+97231111111", "from": "+97226543210"}
ANONYMOUS = {**INBOUND, "from": None, "mailbox": None}
SYSTEM = {"mailbox": "inbox", "account": "boss", "error": None}


def reached(data: dict[str, Any], type_: str = "fax.queued", **options: Any) -> bool:
    hook = Webhook.model_validate({"url": "https://crm.example/hook", "secret": SECRET, **options})
    event = Event(id="evt_1", type=type_, at=datetime(2026, 1, 4, tzinfo=UTC), fax_id=None, seq=0, data=data)
    return Routes({"crm": hook}).endpoints(event) == ["crm"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [True, True, True, True]),
        ({"accounts": ["office"]}, [True, False, False, False]),
        ({"accounts": ["office", "boss"]}, [True, True, True, True]),
        ({"users": ["dana"]}, [True, False, False, False]),
        ({"users": ["scanner"]}, [False, False, False, False]),
        ({"mailboxes": ["inbox"]}, [False, True, False, True]),
        ({"numbers": ["03-9876543"]}, [True, False, False, False]),
        ({"numbers": ["+97239876543"]}, [True, False, False, False]),
        ({"numbers": ["+972 3-987-6543"]}, [True, False, False, False]),
        ({"numbers": ["+9723"]}, [True, True, True, False]),
        ({"numbers": ["+9723*"]}, [True, True, True, False]),
        ({"numbers": ["02-6543210"]}, [False, True, False, False]),
        ({"numbers": ["+44"]}, [False, False, False, False]),
        ({"tags": ["case=1723"]}, [True, False, False, False]),
        ({"tags": ["case"]}, [True, False, False, False]),
        ({"tags": ["case=17*"]}, [True, False, False, False]),
        ({"tags": ["case=9", "branch=haifa"]}, [True, False, False, False]),
        ({"tags": ["case=9"]}, [False, False, False, False]),
        ({"tags": {"case": "1723", "branch": "haifa"}}, [True, False, False, False]),
        ({"tags": {"case": "1723", "branch": "eilat"}}, [False, False, False, False]),
        ({"tags": {"case": "*"}}, [True, False, False, False]),
        ({"accounts": ["office"], "users": ["dana"], "numbers": ["+9723"], "tags": ["case"]}, [True, False, False, False]),
        ({"accounts": ["boss"], "users": ["dana"]}, [False, False, False, False]),
        ({"events": ["fax.received"]}, [False, False, False, False]),
        ({"events": ["fax.*"], "accounts": ["boss"]}, [False, True, True, True]),
    ],
)
def test_an_event_is_delivered_when_every_given_filter_fits(options: dict[str, Any], expected: list[bool]) -> None:
    assert [reached(data, **options) for data in (OUTBOUND, INBOUND, ANONYMOUS, SYSTEM)] == expected


def config(tmp_path: Path, lines: str) -> list[str]:
    (tmp_path / "config.toml").write_text(f"""
[account.office]
email = "office@example.co.il"
password = "x"
[user.dana]
networks = ["10.0.0.7"]
[mailbox.inbox]
host = "imap.example.co.il"
username = "office"
password = "x"
[webhook.crm]
url = "https://crm.example.co.il/hook"
secret = "{SECRET}"
{lines}
""")
    return [str(error) for error in problems(tmp_path / "config.toml", {"TOKEN": "Bearer t0ken", "BAD": "a\nb"})]


@pytest.mark.parametrize(
    "lines",
    [
        'accounts = ["office"]\nusers = ["dana"]\nmailboxes = ["inbox"]',
        'numbers = ["03-9876543", "+9723", "+9723*"]\ntags = ["case=1"]',
        'tags = { case = "1723" }',
        'headers = { Authorization = { env = "TOKEN" }, X-Tenant = "7" }',
    ],
)
def test_the_filters_of_the_contract_are_accepted(tmp_path: Path, lines: str) -> None:
    assert config(tmp_path, lines) == []


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ('accounts = ["ofice"]', "webhook.crm.accounts: unknown account 'ofice'; write one of office"),
        ('users = ["dan"]', "webhook.crm.users: unknown user 'dan'; write one of dana"),
        ('mailboxes = ["INBOX"]', "webhook.crm.mailboxes: unknown mailbox 'INBOX'; write one of inbox"),
        ('numbers = ["9876543"]', "webhook.crm.numbers: '9876543'"),
        ('numbers = ["dana"]', "webhook.crm.numbers"),
        ('tags = "case"', "webhook.crm.tags"),
        ('tags = [""]', "webhook.crm.tags"),
        ('headers = { "a b" = "x" }', "webhook.crm.headers: 'a b' is not the name of a header"),
        ('headers = { Content-Type = "x" }', "webhook.crm.headers: the header Content-Type is set by mailbridge"),
        ('headers = { Webhook-Id = "x" }', "webhook.crm.headers: the header Webhook-Id is set by mailbridge"),
        ('headers = { X = "שלום" }', "webhook.crm.headers: the value of X has characters that a header cannot have"),
        ('headers = { X = { env = "BAD" } }', "webhook.crm.headers: the value of X has characters that a header cannot have"),
        ('headers = { X = { env = "NONE" } }', "webhook.crm.headers.X: environment variable NONE is not set"),
        ('headers = { X = "" }', "webhook.crm.headers.X: is empty"),
    ],
)
def test_a_filter_or_header_that_cannot_be_meant_is_an_error(tmp_path: Path, lines: str, error: str) -> None:
    [found] = config(tmp_path, lines)
    assert found.startswith(error)


def test_a_user_in_the_url_and_an_authorization_header_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="url has a user"):
        Webhook.model_validate({"url": "https://a:b@crm.example/", "secret": SECRET, "headers": {"authorization": "x"}})


@pytest.mark.parametrize(
    ("around", "words"),
    [
        ("{} ", "around the secret"),
        (" {}", "around the secret"),
        ("'{}'", "around the secret"),
        ("Bearer {}", "around the secret"),
        ("whsec_{}", "around the secret"),
        ("secret={}", "around the secret"),
        ("whpk_{}", "asymmetric"),
    ],
)
def test_W3_what_is_around_a_secret_is_explained(tmp_path: Path, around: str, words: str) -> None:
    path = tmp_path / "config.toml"
    config(tmp_path, "")
    path.write_text(path.read_text().replace(SECRET, around.format(SECRET)))
    [error] = problems(path, {})
    assert words in str(error)
    assert SECRET not in str(error)


def test_W3_a_secret_with_the_prefix_of_a_signature_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    config(tmp_path, "")
    path.write_text(path.read_text().replace(SECRET, f"v1,{SECRET}"))
    [error] = problems(path, {})
    assert "leave off `v1,`" in str(error)
    assert SECRET not in str(error)
