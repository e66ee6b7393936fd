"""A mail that is sent again, and a fax that is sent again: the first is known, the second only reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailbridge import log
from tests.integration.smtp_fixtures import HASH, MAIL, Gateway, gateway

USERS = {"anna": {"password_hash": HASH}, "boris": {"password_hash": HASH}}


def send_as(mx: Gateway, user: str) -> bytes:
    with mx.client() as client:
        client.login(user, "secret")
        client.mail("anna@example.co.il")
        client.rcpt("03-9876543@fax.local")
        return client.data(MAIL)[1]


def test_05_other_content_under_the_same_message_id_is_another_fax(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        mx.letter |= {"message_id": "<template@x>", "content_digest": "order 101"}
        first = mx.send()
        mx.letter["content_digest"] = "order 102"
        second = mx.send()
        assert first[0] == second[0] == 250
        assert first != second
        assert mx.send() == second
        assert len(mx.faxes()) == 2


def test_same_message_id_of_another_user_is_another_fax(tmp_path: Path) -> None:
    with gateway(tmp_path, user=USERS) as mx:
        mx.letter |= {"message_id": "<fixed@x>", "content_digest": "a"}
        assert send_as(mx, "anna") != send_as(mx, "boris")
        assert len(mx.faxes()) == 2


@pytest.mark.parametrize("message_id", ["<>", "< >", "", None])
def test_mails_without_a_message_id_are_never_the_same_mail(tmp_path: Path, message_id: str | None) -> None:
    with gateway(tmp_path) as mx:
        mx.letter |= {"message_id": message_id, "content_digest": "a"}
        assert mx.send() != mx.send()


def test_repeated_mail_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[str, object]] = []
    monkeypatch.setattr(log, "mail_repeated", lambda id, *, message_id, **_: logged.append((id, message_id)))
    with gateway(tmp_path) as mx:
        mx.letter |= {"message_id": "<1@x>", "content_digest": "a"}
        mx.send()
        mx.send()
        [fax] = mx.faxes()
    assert logged == [(fax.id, "<1@x>")]


def test_same_content_in_another_mail_is_faxed_and_names_the_earlier_fax(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        mx.letter |= {"message_id": "<1@x>", "content_digest": "a"}
        mx.send()
        mx.letter["message_id"] = "<2@x>"
        mx.send()
        mx.send(to="02-1234567@fax.local")
        mx.letter |= {"message_id": "<3@x>", "content_digest": "b"}
        mx.send()
        other_content, other_number, second, first = mx.faxes()
        assert second.repeat_of == first.id
        assert (first.repeat_of, other_number.repeat_of, other_content.repeat_of) == (None, None, None)


def test_same_content_of_another_user_is_no_repeat(tmp_path: Path) -> None:
    with gateway(tmp_path, user=USERS) as mx:
        mx.letter |= {"message_id": None, "content_digest": "a"}
        send_as(mx, "anna")
        send_as(mx, "boris")
        assert [(fax.user, fax.repeat_of) for fax in mx.faxes()] == [("boris", None), ("anna", None)]


def test_same_again_of_zero_reports_no_repeats(tmp_path: Path) -> None:
    with gateway(tmp_path, fax={"same_again": "0s"}) as mx:
        mx.letter |= {"message_id": None, "content_digest": "a"}
        mx.send()
        mx.send()
        assert [fax.repeat_of for fax in mx.faxes()] == [None, None]


def test_user_with_an_account_may_name_no_other(tmp_path: Path) -> None:
    users = {
        "fixed": {"password_hash": HASH, "account": "office"},
        "both": {"password_hash": HASH, "account": "office", "accounts": ["second"]},
        "free": {"password_hash": HASH},
    }
    with gateway(tmp_path, user=users) as mx:
        mx.letter |= {"account": "second"}
        assert send_as(mx, "fixed").startswith(b"5.7.1")
        assert b"2.0.0" in send_as(mx, "both")
        assert b"2.0.0" in send_as(mx, "free")
        assert [fax.account for fax in mx.faxes()] == ["second", "second"]
