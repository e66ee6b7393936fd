"""Mails and dialogues from other people's bug reports, by SMTP. A test's name begins with the number of its case."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailbridge.submission.letter_parser import read_letter
from mailbridge.submission.password import hash_password
from tests.integration.smtp_fixtures import MAIL, connect, gateway, read_reply

ERP = {"erp": {"password_hash": hash_password("secret"), "senders": ["erp@office.example"]}}


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
    letter = read_letter(tmp_path, "report.eml", "always")
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
        [spooled] = mx.files()
        assert b"\n" not in spooled.read_bytes().replace(b"\r\n", b"")


def test_09_cr_cr_lf_is_one_line_end(tmp_path: Path) -> None:
    """Source: PHP on Windows, stackoverflow 4415786."""
    with gateway(tmp_path) as mx:
        connection = connect(mx.port, b"EHLO x", b"MAIL FROM:<a@office.example>", b"RCPT TO:<03-9876543@fax.local>", b"DATA")
        for byte in b"From: a@b\r\r\n\r\r\nbody\r\r\n.\r\n":
            connection.sendall(bytes([byte]))
        assert read_reply(connection).startswith(b"250 ")
        connection.close()
        [spooled] = mx.files()
        assert spooled.read_bytes() == b"From: a@b\r\n\r\nbody\r\n"
