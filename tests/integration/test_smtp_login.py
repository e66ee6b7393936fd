"""Logins: what a user may send, daily limits, and failed logins."""

from __future__ import annotations

import asyncio
import base64
import socket
from pathlib import Path

import pytest

from tests.integration.smtp_fixtures import MAIL, USERS, Gateway, connect, gateway, read_reply


def test_login_chooses_account_senders_and_allowed_numbers(tmp_path: Path) -> None:
    with gateway(tmp_path, {"auth": "required"}, user=USERS) as mx:
        with mx.client() as client:
            assert client.mail("anna@example.co.il")[0] == 530
            client.login("anna", "secret")
            status, words = client.mail("bob@example.co.il")
            assert (status, words[:5]) == (553, b"5.7.1")
            client.mail("anna@example.co.il")
            client.rcpt("039876543@fax.local")
            client.rcpt("0501234567@fax.local")
            assert client.rcpt("039876544@fax.local")[1][:5] == b"4.7.1"
            assert client.data(MAIL)[0] == 250
            client.mail("anna@example.co.il")
            assert client.rcpt("039876543@fax.local")[1][:5] == b"4.7.1"
        assert {fax.account for fax in mx.faxes()} == {"second"}
        with mx.client() as client:
            word = base64.b64encode(b"\0free\0secret").decode()
            assert client.docmd("AUTH", f"plain {word}")[0] == 235
            client.mail("x@y")
            assert client.rcpt("+12125551234@fax.local")[0] == 250
            assert client.rcpt("039876543@fax.local")[0] == 550


def test_daily_limit_holds_over_sessions_and_restarts(tmp_path: Path) -> None:
    def sent(mx: Gateway, number: str) -> bytes:
        with mx.client() as client:
            client.login("anna", "secret")
            client.mail("anna@example.co.il")
            status, words = client.rcpt(f"{number}@fax.local")
            return (client.data(MAIL) if status == 250 else (status, words))[1][:5]

    with gateway(tmp_path, user=USERS) as mx:
        assert sent(mx, "039876543") == b"2.0.0"
    with gateway(tmp_path, user=USERS) as mx, mx.client() as waiting:
        waiting.login("anna", "secret")
        waiting.mail("anna@example.co.il")
        assert waiting.rcpt("039876544@fax.local")[0] == 250
        assert sent(mx, "039876545") == b"2.0.0"
        # Its recipient was within the limit when it was named; by now another session has used it up.
        status, words = waiting.data(MAIL)
        assert (status, words[:5], b"midnight" in words) == (452, b"4.7.1", True)
        assert sent(mx, "039876546") == b"4.7.1"
        assert len(mx.faxes()) == 2
        assert len(mx.mails()) == 2


def test_from_header_outside_the_users_senders_is_refused(tmp_path: Path) -> None:
    with gateway(tmp_path, user=USERS) as mx, mx.client() as client:
        mx.letter["sender"] = "boss@example.co.il"
        client.login("anna", "secret")
        client.mail("anna@example.co.il")
        client.rcpt("039876543@fax.local")
        status, words = client.data(MAIL)
        assert (status, words[:5]) == (553, b"5.7.1")
        mx.letter.update(sender="anna@example.co.il", authors=("anna@example.co.il", "boss@example.co.il"))
        client.mail("anna@example.co.il")
        client.rcpt("039876543@fax.local")
        status, words = client.data(MAIL)
        assert (status, words[:5]) == (553, b"5.7.1")
        assert mx.files() == []


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_ipv4_loopback_client_of_a_dual_stack_socket_is_local(tmp_path: Path) -> None:
    both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with gateway(tmp_path, sockets=[both], user=USERS) as mx, mx.client() as client:
        assert client.has_extn("auth")
        client.login("anna", "secret")


def test_a_unix_socket_of_systemd_is_served_and_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "smtp"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(path))
        with gateway(tmp_path, sockets=[listener]) as mx:
            assert mx.addresses == [(str(path), 0)]
            client.connect(str(path))
            assert read_reply(client).startswith(b"220 ")


def test_failed_logins_are_delayed_and_the_third_ends_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = asyncio.sleep
    delays: list[float] = []

    async def note_delay(seconds: float) -> None:
        if seconds:
            delays.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note_delay)
    with gateway(tmp_path, user=USERS) as mx:
        connection = connect(mx.port, b"EHLO x")
        for tries, name in enumerate((b"anna", b"nobody", b"anna"), 1):
            connection.sendall(b"AUTH PLAIN " + base64.b64encode(b"\0" + name + b"\0wrong") + b"\r\n")
            assert read_reply(connection).startswith(b"535 5.7.8 " if tries < 3 else b"421 4.7.0 ")
        assert delays == [0.2, 0.4, 0.8]
        connection.close()
