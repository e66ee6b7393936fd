"""The SMTP dialogue, by real clients on loopback: replies, limits, and where a mail ends."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from mailbridge.store.buffered_mail import MEMORY
from tests.integration.smtp_fixtures import MAIL, connect, gateway, greeting_of, read_reply, until
from tests.wait_helpers import PATIENCE


def test_mail_becomes_one_fax_for_each_number(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        with mx.client() as client:
            offered = set(client.esmtp_features)
            assert offered == {"size", "8bitmime", "smtputf8", "pipelining", "enhancedstatuscodes", "dsn", "auth"}
            assert client.mail("anna@example.co.il", ["RET=HDRS", "ENVID=Qq+2B1"])[0] == 250
            assert client.rcpt("03-9876543@fax.local", ["NOTIFY=SUCCESS,failure", "ORCPT=rfc822;Anna@X"])[0] == 250
            assert client.docmd("RCPT", "TO:<+97239876543@fax.local>")[0] == 250
            assert client.docmd("RCPT", "TO:<0501234567@fax.local>")[0] == 250
            code, reply = client.data(b".dot\r\n..two\r\n")
        faxes = {fax.number: fax for fax in mx.faxes()}
        assert set(faxes) == {"+97239876543", "+972501234567"}
        assert (code, reply) == (250, f"2.0.0 queued as {faxes['+97239876543'].id} and 1 more".encode())
        assert all(fax.state == "queued" and fax.account == "office" for fax in faxes.values())
        assert mx.mails()[0] == b".dot\r\n..two\r\n"
        assert faxes["+97239876543"].email.envelope_id == "Qq+2B1"


def test_rcpt_is_answered_by_what_the_address_is(tmp_path: Path) -> None:
    with gateway(tmp_path, {"max_recipients": 2}) as mx, mx.client() as client:
        assert client.docmd("RCPT", "TO:<039876543@fax.local>")[0] == 503
        client.mail("anna@example.co.il")
        for address, code in (
            ("x@gmail.com", b"5.1.2"),
            ("100@fax.local", b"5.1.3"),
            ("*1234@fax.local", b"5.1.3"),
            ("+12125551234@fax.local", b"5.7.1"),
            ("1-900-123456@fax.local", b"5.7.1"),
        ):
            status, words = client.rcpt(address)
            assert (status, words[:5]) == (550, code)
        assert client.docmd("RCPT", "TO:<>")[0] == 550
        assert client.docmd("RCPT", "TO:<039876543@fax.local> XYZ=1")[0] == 555
        assert client.docmd("DATA")[0] == 503
        assert client.rcpt("039876543@fax.local")[0] == 250
        assert client.rcpt("039876544@fax.local")[0] == 250
        assert client.rcpt("039876545@fax.local")[1][:5] == b"4.5.3"


def test_null_sender_is_refused_at_rcpt(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx, mx.client() as client:
        assert client.docmd("MAIL", "FROM:<>")[0] == 250
        status, words = client.rcpt("039876543@fax.local")
        assert (status, words[:5]) == (550, b"5.7.1")


def test_mail_over_the_size_limit_is_refused_and_far_over_it_ends_the_session(tmp_path: Path) -> None:
    with gateway(tmp_path, {"max_size": "100KB"}) as mx:
        with mx.client() as client:
            status, words = client.docmd("MAIL", "FROM:<a@b> SIZE=100001")
            assert (status, words[:5]) == (552, b"5.3.4")
            client.mail("anna@example.co.il")
            client.rcpt("039876543@fax.local")
            status, words = client.data(b"x" * 76 + b"\r\n" + (b"x" * 76 + b"\r\n") * 2000)
            assert (status, words[:5]) == (552, b"5.3.4")
            assert mx.files() == []
            client.mail("anna@example.co.il")
            client.rcpt("039876543@fax.local")
            assert client.data(MAIL)[0] == 250
        connection = connect(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        block = (b"x" * 76 + b"\r\n") * 1000
        answer = b""
        try:
            for _ in range(60):
                connection.sendall(block)
            answer = read_reply(connection)
        except OSError:
            answer = b"421 cut"
        assert answer.startswith(b"421")
        connection.close()
        until(lambda: mx.spool.memory == MEMORY)
        assert len(mx.mails()) == 1


@pytest.mark.parametrize(
    "fake", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n\n.\r\n", b"\r\n\x00.\r\n"]
)
def test_smuggling_variants_make_one_mail(tmp_path: Path, fake: bytes) -> None:
    with gateway(tmp_path) as mx:
        connection = connect(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        smuggled = b"MAIL FROM:<evil@x>\r\nRCPT TO:<0501234567@fax.local>\r\nDATA\r\nevil"
        connection.sendall(MAIL + fake + smuggled + b"\r\n.\r\nQUIT\r\n")
        answer = read_reply(connection)
        assert answer.startswith(b"250 2.0.0 queued as fax_")
        answer += read_reply(connection)
        assert answer.count(b"\r\n") == 2
        assert b"\n221" in answer
        connection.close()
        assert [fax.number for fax in mx.faxes()] == ["+97239876543"]
        [content] = mx.mails()
        assert b"\n" not in content.replace(b"\r\n", b"")


def test_pipelined_mails_are_accepted_and_ten_bad_commands_end_the_session(tmp_path: Path) -> None:
    one = b"MAIL FROM:<a@b>\r\nRCPT TO:<039876543@fax.local>\r\nDATA\r\n" + MAIL + b".\r\n"
    with gateway(tmp_path) as mx:
        connection = connect(mx.port, b"EHLO x")
        connection.sendall(one * 3 + b"QUIT\r\n")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        assert answer.count(b"250 2.0.0 queued") == 3
        connection.close()
        connection = connect(mx.port, b"EHLO x")
        connection.sendall(b"WHAT\r\n" * 30)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        assert answer.count(b"500 ") == 10
        assert answer.splitlines()[-1].startswith(b"421 ")
        connection.close()


def test_client_that_sends_before_the_greeting_is_refused(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:

        def rush() -> socket.socket:
            # In the thread of the service: the input is there before it can greet.
            connection = socket.create_connection(("127.0.0.1", mx.port), timeout=PATIENCE)
            connection.sendall(b"EHLO x\r\nMAIL FROM:<a@b>\r\n")
            return connection

        async def hurried() -> socket.socket:
            return rush()

        connection = asyncio.run_coroutine_threadsafe(hurried(), mx.loop).result(PATIENCE)
        assert connection.recv(65536).startswith(b"554 ")
        assert connection.recv(65536) == b""
        connection.close()


def test_connections_of_one_client_are_limited(tmp_path: Path) -> None:
    with gateway(tmp_path, {"max_connections_per_client": 2}) as mx:
        # A connection in the middle of a mail does not give way to another.
        to = (b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        first, second = connect(mx.port, *to), connect(mx.port, *to)
        third = socket.create_connection(("127.0.0.1", mx.port), timeout=PATIENCE)
        assert read_reply(third).startswith(b"421 4.7.0 ")
        first.close()
        until(lambda: greeting_of(mx.port).startswith(b"220"))
        second.close()
        third.close()


def test_client_that_hangs_up_before_the_greeting_is_no_longer_counted(tmp_path: Path) -> None:
    with gateway(tmp_path, {"max_connections_per_client": 1}) as mx:
        for _ in range(3):
            socket.create_connection(("127.0.0.1", mx.port), timeout=PATIENCE).close()
            until(lambda: greeting_of(mx.port).startswith(b"220"))


def test_idle_and_too_slow_clients_end_with_421(tmp_path: Path) -> None:
    with gateway(tmp_path, {"timeout": "300s"}) as mx:
        connection = connect(mx.port, b"EHLO x")
        mx.skip(301)
        assert read_reply(connection).startswith(b"421 4.4.2 ")
        connection.close()
        connection = connect(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        connection.settimeout(0.1)
        answer = b""
        for _ in range(60):
            try:
                connection.sendall(b"x")
                mx.skip(100)
                answer += connection.recv(4096)
                break
            except TimeoutError:
                continue
        assert answer.startswith(b"421 4.4.2 ")
        connection.close()
        until(lambda: mx.files() == [])
