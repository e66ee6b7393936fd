"""Mails and dialogues from other people's bug reports, by SMTP. A test's name begins with the number of its case."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from mailbridge.submission import server
from mailbridge.submission.letter.parser import read_letter
from mailbridge.submission.password import hash_password
from tests.integration import scripted_servers
from tests.integration.smtp_fixtures import MAIL, Gateway, connect, gateway, greeting_of, read_reply, until

HELLO = bytes.fromhex("16030100050100000100")
TLS_LINE = "client speaks TLS on a plain SMTP port; use smtp.tls.listen or STARTTLS"
ERP = {"erp": {"password_hash": hash_password("secret"), "senders": ["erp@office.example"]}}


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """The log lines of a test, warnings and errors only."""
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    scripted_servers.certificate(folder)
    return folder / "cert.pem", folder / "key.pem"


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    got = b""
    try:
        while chunk := connection.recv(65536):
            got += chunk
    except ConnectionResetError:  # the server closed with input unread
        pass
    connection.close()
    return got


def hurried(mx: Gateway, data: bytes, listener: int = 0) -> socket.socket:
    """Connect and send in the thread of the service: the input is there before it accepts the connection."""

    async def send() -> socket.socket:
        connection = socket.create_connection(mx.addresses[listener], timeout=20)
        connection.sendall(data)
        return connection

    return asyncio.run_coroutine_threadsafe(send(), mx.loop).result(10)


@pytest.mark.parametrize("start", [HELLO, b"\x16", b"\x16\x03\x01\x02\n\n\n\n\n", bytes.fromhex("802e010301001500000010")])
def test_s1_tls_on_the_plain_port(tmp_path: Path, lines: list[Any], start: bytes) -> None:
    """Sources: postal 2005 and 2404. The last one is the hello of SSL 2.0."""
    with gateway(tmp_path) as mx:
        reply = read_all(hurried(mx, start))
        assert reply.startswith(b"554 5.5.0 ")
        for commands in ([], [b"EHLO scanner"], [b"EHLO scanner", b"MAIL FROM:<a@office.example>"]):
            connection = connect(mx.port, *commands)
            connection.sendall(start)
            reply = read_all(connection)
            assert reply.startswith(b"421 4.7.0 ")
            assert b"STARTTLS" in reply
            assert reply.count(b"\r\n") == 1
    assert [(line["event"], line["client"]) for line in lines] == [(TLS_LINE, "127.0.0.1")] * 4


def test_s1_a_whole_tls_client_on_the_plain_port(tmp_path: Path, lines: list[Any]) -> None:
    with gateway(tmp_path) as mx:
        connection = connect(mx.port)
        with pytest.raises(ssl.SSLError):
            ssl.create_default_context().wrap_socket(connection, server_hostname="fax.local")
        assert greeting_of(mx.port).startswith(b"220 ")
    assert [line["event"] for line in lines] == [TLS_LINE]


@pytest.mark.parametrize(
    ("start", "seen"),
    [
        (b"GET / HTTP/1.1\r\nHost: fax.local\r\nAccept: */*\r\n\r\n", "GET"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI"),
        (b"OPTIONS sip:nm SIP/2.0\r\nVia: SIP/2.0/TCP nm\r\n\r\n", "OPTIONS"),
        (b"\x03\x00\x00\x13\x0e\xe0\x00\x00", "03 00 00 13 0e e0 00 00"),
        (b"\xff\xfd\x03", "ff fd 03"),
        (b"\x00", "00"),
    ],
)
def test_s1_another_protocol_ends_the_session_at_once(tmp_path: Path, lines: list[Any], start: bytes, seen: str) -> None:
    with gateway(tmp_path) as mx:
        connection = connect(mx.port)
        connection.sendall(start)
        reply = read_all(connection)
        assert reply.startswith(b"421 4.7.0 ")
        assert reply.count(b"\r\n") == 1
        assert [(line["event"], line["seen"]) for line in lines] == [("client does not speak SMTP", seen)]


@pytest.mark.parametrize(
    ("start", "code", "seen"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", b"500 5.5.2 ", ["SSH-2.0-OPENSSH_"]),
        (b"a1 CAPABILITY\r\n", b"500 5.5.2 ", ["A1"]),
        (b"\xef\xbb\xbfEHLO script\r\n", b"500 5.5.2 ", []),
        (b"\r\n", b"500 5.5.2 ", []),
    ],
)
def test_s1_text_that_is_not_smtp_is_answered_line_by_line(
    tmp_path: Path, lines: list[Any], start: bytes, code: bytes, seen: list[str]
) -> None:
    with gateway(tmp_path) as mx:
        connection = connect(mx.port)
        for said, reply in ((start, code), (b"HELO script\r\n", b"250 "), (b"XYZZY\r\n", b"500 5.5.2 ")):
            connection.sendall(said)
            assert read_reply(connection).startswith(reply)
        connection.close()
        assert [line["seen"] for line in lines] == seen


def test_s1_ten_bad_commands_leave_one_line(tmp_path: Path, lines: list[Any]) -> None:
    with gateway(tmp_path) as mx:
        for commands, event in (([b"EHLO x"], "too many bad commands, connection closed"), ([], "client does not speak SMTP")):
            connection = connect(mx.port, *commands)
            connection.sendall(b"Dear Sir,\r\nplease find\r\n" * 10)
            assert read_all(connection).count(b"500 ") == 10
            assert [line["event"] for line in lines] == [event]
            lines.clear()


def client_context(cipher: str = "DEFAULT", newest: str = "TLSv1_3", trusted: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion[newest]
    context.check_hostname = trusted is not None
    context.verify_mode = ssl.CERT_NONE if trusted is None else ssl.CERT_REQUIRED
    if trusted is not None and trusted.exists():
        context.load_verify_locations(trusted)
    return context


def shake_hands(connection: socket.socket, name: str = "127.0.0.1", **options: Any) -> None:
    with connection, pytest.raises((ssl.SSLError, ConnectionError)):
        client_context(**options).wrap_socket(connection, server_hostname=name)


def send_and_close(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.close()


def send_raw(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    read_all(connection)


NO_TLS = Path("none.pem")
FAILURES: dict[str, tuple[Callable[[socket.socket, Path], None], str]] = {
    "old version": (lambda line, _: shake_hands(line, newest="TLSv1"), "offers only TLS 1.0; smtp.tls.minimum is 1.2"),
    "less old version": (lambda line, _: shake_hands(line, newest="TLSv1_1"), "offers only TLS 1.1; smtp.tls.minimum is 1.2"),
    "SSL 2.0 hello": (
        lambda line, _: send_raw(line, bytes.fromhex("802e0103010015000000100000350000050000040000000000") + bytes(30)),
        "offers only TLS 1.0; smtp.tls.minimum is 1.2",
    ),
    "unknown authority": (lambda line, _: shake_hands(line, trusted=NO_TLS), "does not trust our certificate"),
    "other name": (lambda line, cert: shake_hands(line, "fax.example", trusted=cert), "does not trust our certificate"),
    "no common cipher": (
        lambda line, _: shake_hands(line, cipher="AES128-SHA", newest="TLSv1_2"),
        "has no cipher in common with us",
    ),
    "plain SMTP": (lambda line, _: send_raw(line, b"EHLO x\r\n"), "does not speak TLS"),
    "HTTP": (lambda line, _: send_raw(line, b"GET / HTTP/1.1\r\n\r\n"), "speaks HTTP, not TLS"),
    "junk": (lambda line, _: send_raw(line, bytes(range(200, 250))), "does not speak TLS"),
    "broken hello": (lambda line, _: send_raw(line, HELLO), "sent an invalid handshake"),
    "half a hello": (
        lambda line, _: send_and_close(line, HELLO[:5]),
        "closed the connection during the handshake; perhaps it does not trust our certificate",
    ),
}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("failure", FAILURES)
def test_s2_a_failed_handshake_is_logged_with_its_reason(
    tmp_path: Path, certificate: tuple[Path, Path], lines: list[Any], failure: str
) -> None:
    """Sources: smtp-oauth-relay 70, mox 355, mailrise 162."""
    fail, reason = FAILURES[failure]
    tls = {"certificate": certificate[0], "key": certificate[1], "listen": ["127.0.0.1:0"]}
    with gateway(tmp_path, {"tls": tls}) as mx:
        fail(connect(mx.port, b"EHLO x", b"STARTTLS"), certificate[0])
        until(lambda: len(lines) == 1)
        fail(socket.create_connection(mx.addresses[1], timeout=20), certificate[0])
        until(lambda: len(lines) == 2)
    expected = ("TLS handshake failed", "127.0.0.1", f"the client {reason}")
    assert [(line["event"], line["client"], line["reason"]) for line in lines] == [expected] * 2
    assert all(("openssl" in line) == (failure != "half a hello") for line in lines)


def test_s2_a_client_that_waits_for_a_greeting_on_the_tls_port(
    tmp_path: Path, certificate: tuple[Path, Path], lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_HANDSHAKE_TIMEOUT", 0.1)
    tls = {"certificate": certificate[0], "key": certificate[1], "listen": ["127.0.0.1:0"]}
    with gateway(tmp_path, {"tls": tls}) as mx:
        # A monitor that only looks whether the port is open leaves no line.
        socket.create_connection(mx.addresses[1], timeout=20).close()
        for start, reason in (
            (b"", "sent nothing; perhaps it does not speak TLS"),
            (b"\x16\x03", "did not finish the handshake in time"),
        ):
            assert read_all(hurried(mx, start, listener=1)) == b""
            until(lambda: len(lines) > 0)
            assert [line["reason"] for line in lines] == [f"the client {reason}"]
            lines.clear()


def test_s2_a_client_that_begins_no_tls_after_starttls_is_no_longer_counted(
    tmp_path: Path, certificate: tuple[Path, Path], lines: list[Any]
) -> None:
    tls = {"certificate": certificate[0], "key": certificate[1]}
    with gateway(tmp_path, {"tls": tls, "timeout": "500ms", "max_connections_per_client": 1}) as mx:
        assert read_all(connect(mx.port, b"EHLO x", b"STARTTLS")) == b""
        until(lambda: greeting_of(mx.port).startswith(b"220 "))
    assert lines[0]["reason"] == "the client sent nothing; perhaps it does not speak TLS"


@pytest.mark.parametrize(
    ("end", "seen"),
    [
        (b"\n.\n", "the data ended in LF . LF; the end of data is CR LF . CR LF"),
        (b"\n.\nQUIT\r\n", "the data ended in LF . LF; the end of data is CR LF . CR LF"),
        (b"\r\n.\n", "the data ended in CR LF . LF; the end of data is CR LF . CR LF"),
        (b"\n.\r\n", "the data ended in LF . CR LF; the end of data is CR LF . CR LF"),
        (b"\r.\r", "the data ended in CR . CR; the end of data is CR LF . CR LF"),
        (b"\r\n.", "the data ended in CR LF .; the end of data is CR LF . CR LF"),
        (b"\r\n", "no end of data after 18 bytes; the end of data is CR LF . CR LF"),
    ],
)
def test_s3_data_that_does_not_end(tmp_path: Path, lines: list[Any], end: bytes, seen: str) -> None:
    """Sources: go-smtp 247 and 243. The mail must not end there: a second one could be smuggled in behind it."""
    mail = b"From: a@b\n\nhello" + end
    with gateway(tmp_path, {"timeout": "500ms"}) as mx:
        for waits in (True, False):
            connection = connect(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
            connection.sendall(mail)
            if waits:
                reply = read_all(connection).decode()
                assert reply == f"421 4.4.2 Timeout waiting for the end of data: {seen}; closing connection\r\n"
            connection.close()
            until(lambda: len(lines) == 1)
            [line] = lines
            assert (line["event"], line["client"]) == ("mail incomplete, connection ended during DATA", "127.0.0.1")
            assert line["seen"] == seen
            assert line["bytes"] > 0
            lines.clear()
        assert mx.faxes() == []
        assert mx.files() == []


@pytest.mark.parametrize(
    "path",
    [
        b"<Scanner 2 <scan@office.example>>",
        b'"Scanner" <scan@office.example>',
        b"Scanner 2 <scan@office.example> SIZE=100",
        "<סורק <scan@office.example>> SMTPUTF8".encode(),
    ],
)
def test_s4_a_display_name_in_mail_from(tmp_path: Path, path: bytes) -> None:
    """Sources: vlang PR 27072, go-smtp 11, Papercut 183, mox 101."""
    with gateway(tmp_path) as mx:
        line = connect(mx.port, b"EHLO scanner")
        for said in (b"MAIL FROM:" + path, b"RCPT TO:<03-9876543@fax.local>"):
            line.sendall(said + b"\r\n")
            assert read_reply(line).startswith(b"250 ")
        line.sendall(b"DATA\r\n")
        assert read_reply(line).startswith(b"354 ")
        line.sendall(MAIL + b".\r\n")
        assert read_reply(line).startswith(b"250 ")
        line.close()
        [fax] = mx.faxes()
        assert fax.email is not None
        assert fax.email.sender == "scan@office.example"


def test_s4_an_address_that_cannot_be_read_is_refused_with_what_to_write(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        line = connect(mx.port, b"EHLO scanner")
        line.sendall(b"MAIL FROM:<Scanner <scan@office.example>\r\n")
        reply = read_reply(line)
        assert reply.startswith(b"553 5.1.3 ")
        assert b"bare address" in reply
        line.close()


@pytest.mark.parametrize(
    "path",
    [
        b"<IMCEAFAX-+2B972-3-9876543@fax.local>",
        b"<IMCEAFAX-Dana+40+2B972+20+283+29+209876543@fax.local>",
        b'"Clalit Haifa" <IMCEAFAX-Clalit+20Haifa+40+2B97239876543@fax.local>',
        b'"Clalit Haifa" <03-9876543@fax.local> NOTIFY=NEVER',
        b'<"Clalit Haifa" <03-9876543@fax.local>>',
    ],
)
def test_s5_a_fax_contact_of_outlook_and_a_display_name_in_rcpt_to(tmp_path: Path, path: bytes) -> None:
    """Sources: Microsoft KB 323351, MS-OXCMAIL 2.1.3.1.8, MAPI's address type FAX."""
    with gateway(tmp_path) as mx:
        line = connect(mx.port, b"EHLO outlook", b"MAIL FROM:<dana@office.example>")
        line.sendall(b"RCPT TO:" + path + b"\r\n")
        assert read_reply(line).startswith(b"250 ")
        line.sendall(b"DATA\r\n")
        read_reply(line)
        line.sendall(MAIL + b".\r\n")
        read_reply(line)
        line.close()
        assert [fax.number for fax in mx.faxes()] == ["+97239876543"]


@pytest.mark.parametrize("header", [b"", b"From: root (Cron Daemon)\r\n", b"From: Ledger <>\r\n"])
def test_37_without_an_author_the_envelopes_sender_counts(tmp_path: Path, header: bytes) -> None:
    """Sources: MailHog-UI PR 31, cyberpanel PR 503, dma 75 and 136."""
    mail = header + b"Subject: Nightly report\r\n\r\nReport of the night.\r\n"
    (tmp_path / "report.eml").write_bytes(mail)
    letter = read_letter(tmp_path / "report.eml", "report.eml", "always")
    with gateway(tmp_path / "state", user=ERP) as mx, mx.client() as client:
        mx.letter.update(sender=letter.sender, authors=letter.authors)
        client.login("erp", "secret")
        assert client.mail("root@office.example")[0] == 553
        assert client.mail("erp@office.example")[0] == 250
        client.rcpt("03-9876543@fax.local")
        assert client.data(mail)[0] == 250
        assert [fax.number for fax in mx.faxes()] == ["+97239876543"]


@pytest.mark.parametrize(
    ("data", "changed"),
    [
        (b"From: a@b\r\n\r\nbody\r\n", False),
        (b"From: a@b\r\n\r\n%PDF-1.4\n\x00\xff\r\n", True),
        (b"From: a@b\r\n\r\n%PDF-1.4\r\x00\xff\r\n", True),
        (b"From: a@b\r\r\n\r\r\nbody\r\r\n", True),
    ],
)
def test_34_changed_line_ends_are_noted(tmp_path: Path, data: bytes, changed: bool) -> None:
    """Sources: MailKit 821, MimeKit 598, email2pdf 79."""
    with gateway(tmp_path) as mx:
        connection = connect(mx.port, b"EHLO x", b"MAIL FROM:<a@office.example>", b"RCPT TO:<03-9876543@fax.local>", b"DATA")
        connection.sendall(data + b".\r\n")
        assert read_reply(connection).startswith(b"250 ")
        connection.close()
        assert mx.line_ends_changed is changed
        [spooled] = mx.mails()
        assert b"\n" not in spooled.replace(b"\r\n", b"")


def test_09_cr_cr_lf_is_one_line_end(tmp_path: Path) -> None:
    """Source: PHP on Windows, stackoverflow 4415786."""
    with gateway(tmp_path) as mx:
        connection = connect(mx.port, b"EHLO x", b"MAIL FROM:<a@office.example>", b"RCPT TO:<03-9876543@fax.local>", b"DATA")
        for byte in b"From: a@b\r\r\n\r\r\nbody\r\r\n.\r\n":
            connection.sendall(bytes([byte]))
        assert read_reply(connection).startswith(b"250 ")
        connection.close()
        [spooled] = mx.mails()
        assert spooled == b"From: a@b\r\n\r\nbody\r\n"
