"""Attacks that failed when they were tried, so that they go on failing: expense at SMTP, and links."""

from __future__ import annotations

import base64
import json
import smtplib
import socket
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailbridge.submission import session
from mailbridge.web.links import Links
from tests.integration import scripted_servers
from tests.integration.smtp_fixtures import MAIL, USERS, connect, gateway, read_reply
from tests.wait_helpers import PATIENCE

LOGIN = b"AUTH PLAIN " + base64.b64encode(b"\0anna\0secret") + b"\r\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    scripted_servers.certificate(folder)
    return folder / "cert.pem", folder / "key.pem"


def ask(connection: socket.socket, command: bytes) -> bytes:
    connection.sendall(command)
    return read_reply(connection)


def test_held_nothing_but_a_login_is_accepted_before_it(tmp_path: Path) -> None:
    with gateway(tmp_path, {"auth": "required"}, user=USERS) as mx:
        connection = connect(mx.port, b"EHLO x")
        assert ask(connection, b"MAIL FROM:<anna@example.co.il>\r\n").startswith(b"530 5.7.0")
        assert ask(connection, b"RCPT TO:<039876543@fax.local>\r\n")[:3] in (b"503", b"530")
        assert ask(connection, b"DATA\r\n")[:3] in (b"503", b"530")
        assert ask(connection, b"AUTH PLAIN " + base64.b64encode(b"\0anna\0wrong") + b"\r\n").startswith(b"535")
        assert ask(connection, b"MAIL FROM:<anna@example.co.il>\r\n").startswith(b"530 5.7.0")
        connection.close()
        assert mx.faxes() == []


def test_held_a_password_in_clear_from_another_machine_is_refused_and_not_asked_for(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = {"certificate": certificate[0], "key": certificate[1]}
    monkeypatch.setattr(session, "is_loopback", lambda _: False)
    with gateway(tmp_path, {"tls": tls, "auth": "required"}, user=USERS) as mx:
        connection = connect(mx.port)
        assert b"AUTH" not in ask(connection, b"EHLO x\r\n")
        assert ask(connection, LOGIN).startswith(b"538 5.7.11")
        assert ask(connection, b"AUTH LOGIN\r\n").startswith(b"538 5.7.11")
        connection.close()


def test_held_a_login_before_starttls_is_forgotten(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    tls = {"certificate": certificate[0], "key": certificate[1]}
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    with gateway(tmp_path, {"tls": tls, "auth": "required"}, user=USERS) as mx:
        connection = connect(mx.port, b"EHLO x")
        assert ask(connection, LOGIN).startswith(b"235")
        assert ask(connection, b"STARTTLS\r\n").startswith(b"220")
        with trust.wrap_socket(connection, server_hostname="127.0.0.1") as inside:
            ask(inside, b"EHLO x\r\n")
            assert ask(inside, b"MAIL FROM:<anna@example.co.il>\r\n").startswith(b"530 5.7.0")


def test_held_many_sessions_at_once_do_not_pass_a_daily_limit(tmp_path: Path) -> None:
    with gateway(tmp_path, user=USERS) as mx:
        ready = threading.Barrier(6)
        replies: list[int] = []

        def send(number: int) -> None:
            with smtplib.SMTP("127.0.0.1", mx.port, timeout=PATIENCE) as client:
                client.login("anna", "secret")
                client.mail("anna@example.co.il")
                assert client.rcpt(f"03987654{number}@fax.local")[0] == 250
                ready.wait(PATIENCE)
                replies.append(client.data(MAIL)[0])

        threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert sorted(replies) == [250, 250, 452, 452, 452, 452]
        assert len(mx.faxes()) == 2


def test_held_an_unknown_account_is_refused(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx, mx.client() as client:
        mx.letter["account"] = "boss"
        client.mail("anna@example.co.il")
        client.rcpt("039876543@fax.local")
        status, words = client.data(MAIL)
        assert (status, b"Unknown account" in words, mx.faxes()) == (554, True, [])


def test_held_a_link_with_another_payload_opens_nothing() -> None:
    links, now = Links(bytes(range(32)), "https://fax.example"), datetime.now(UTC)
    document = {"path": "received/07/fax_1", "filename": "a.pdf", "content_type": "application/pdf"}
    token = links.link(document, now)[0].rpartition("/")[2]
    payload, _, signature = token.partition(".")
    assert links.open(token) is not None
    fields = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    fields[0] = "received/07/fax_2"
    other = base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()
    other_key = Links(bytes(32), "https://fax.example").link(document, now)[0].rpartition("/")[2]
    for forged in (f"{other}.{signature}", f"{payload}.", payload, f"{payload}.{signature[:-1]}", f".{signature}", "", other_key):
        assert links.open(forged) is None, forged
