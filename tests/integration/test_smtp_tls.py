"""STARTTLS and implicit TLS."""

from __future__ import annotations

import smtplib
import ssl
from pathlib import Path

import pytest

from mailbridge import log
from tests.integration import scripted_servers
from tests.integration.smtp_fixtures import MAIL, USERS, connect, gateway, read_reply, until
from tests.wait_helpers import PATIENCE


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    scripted_servers.certificate(folder)
    return folder / "cert.pem", folder / "key.pem"


def test_mail_by_starttls_and_by_implicit_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    tls = {"certificate": certificate[0], "key": certificate[1], "listen": ["127.0.0.1:0"]}
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    with gateway(tmp_path, {"tls": tls, "auth": "required"}, user=USERS) as mx:
        with smtplib.SMTP("127.0.0.1", mx.port, timeout=PATIENCE) as client:
            client.ehlo()
            assert client.has_extn("starttls")
            client.starttls(context=trust)
            client.ehlo()
            assert not client.has_extn("starttls")
            client.login("anna", "secret")
            client.sendmail("anna@example.co.il", ["039876543@fax.local"], MAIL * 4000)
        with smtplib.SMTP_SSL("127.0.0.1", mx.addresses[1][1], context=trust, timeout=PATIENCE) as client:
            client.ehlo()
            assert not client.has_extn("starttls")
            client.login("anna", "secret")
            client.sendmail("anna@example.co.il", ["0501234567@fax.local"], MAIL)
        assert len(mx.faxes()) == 2
        assert sorted(map(len, mx.mails())) == [len(MAIL), len(MAIL) * 4000]


def test_commands_in_clear_after_starttls_are_dropped(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    tls = {"certificate": certificate[0], "key": certificate[1]}
    with gateway(tmp_path, {"tls": tls}) as mx:
        connection = connect(mx.port, b"EHLO x")
        connection.sendall(b"STARTTLS\r\nMAIL FROM:<injected@x>\r\n")
        assert read_reply(connection).startswith(b"220 ")
        context = ssl.create_default_context(cafile=str(certificate[0]))
        with context.wrap_socket(connection, server_hostname="127.0.0.1") as inside:
            inside.sendall(b"RCPT TO:<039876543@fax.local>\r\n")
            assert read_reply(inside).startswith(b"503 ")


def test_failed_tls_handshake_is_not_logged_as_a_crash(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(log, "session_crashed", lambda *_, error: logged.append(error))
    monkeypatch.setattr(log, "tls_handshake_failed", lambda *_, **__: logged.append("TLS handshake failed"))
    with gateway(tmp_path, {"tls": {"certificate": certificate[0], "key": certificate[1]}}) as mx:
        connect(mx.port, b"EHLO x", b"STARTTLS").close()
        until(lambda: bool(logged))
    assert logged == ["TLS handshake failed"]


def test_every_reply_has_an_enhanced_code(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    with gateway(tmp_path, {"tls": {"certificate": certificate[0], "key": certificate[1]}}) as mx:
        connection = connect(mx.port, b"EHLO x")
        for words in (b"NOOP", b"RSET x", b"RSET", b"EXPN x", b"JUNK", b"EHLO " + b"x" * 5000, b"STARTTLS"):
            connection.sendall(words + b"\r\n")
            reply = read_reply(connection)
            assert reply[4:5] == reply[:1], reply
            assert reply[5:6] == b".", reply
        connection.close()
        connection = connect(mx.port)
        connection.sendall(b"QUIT\r\n")
        assert read_reply(connection).startswith(b"221 2.0.0 ")
        connection.close()
