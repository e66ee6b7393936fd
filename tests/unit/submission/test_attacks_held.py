"""Attacks that failed when they were tried, so that they go on failing: what a recipient or an author may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailbridge.errors import Refused
from mailbridge.submission import policy
from mailbridge.submission.address import parse_recipient
from mailbridge.submission.letter.parser import read_letter
from tests.work_counter import calls

DOMAINS = ("fax.local", "myfax.co.il")
ALLOW, DENY = ("IL",), ("premium", "short")


@pytest.mark.parametrize(
    "address",
    [
        "039876543@fax.local.",
        "039876543@fax.local.evil.example",
        "039876543@evil.example",
        "039876543@[127.0.0.1]",
        "039876543%evil.example@fax.local",
        "evil.example!039876543@fax.local",
        "039876543@evil.example@fax.local",
        "@evil.example:039876543@fax.local",
        "@fax.local,@evil.example:039876543@evil.example",
        "039876543@ﬁax.local",
        "039876543@fax．local",
        "039876543@ｆax.evil",
        "039876543@fax.local ",
        "039876543@myfax.co.il\x00.evil",
        "039876543@FAX.LOCAL.",
        "039876543@fax.local:25",
        "039876543@fax.local@",
        "039876543@fax\u3002local",
    ],
)
def test_held_no_spelling_of_a_domain_leads_elsewhere(address: str) -> None:
    with pytest.raises(Refused, match=r"^550 5\.1\.[23] "):
        parse_recipient(address, DOMAINS, "IL")


COSTLY = (
    # Premium, with blanks, dashes and digits behind.
    *("1-900-123456", "1900123456", "1 900 123 456", "1.900.123456", "1/900/123456", "(1900)123456", "1(900)123456"),
    *("1-900-1234567890", "19001234567", "1919123456", "+972-1-900-123456-00000", "1901-123456"),
    # With the country, and ways out of it.
    *("+9721900123456", "9721900123456", "00972-1-900-123456", "+972 0 1900123456", "+97201900123456", "009720-1-900-123456"),
    *("++9721900123456", "+00972-1900123456", "000972-1900123456", "0001900123456"),
    # By a carrier of choice.
    *("0121900123456", "0181900123456", "012-1-900-123456", "018+9721900123456", "0181212555123", "0129721900123456"),
    # Other digits.
    *("١٩٠٠١٢٣٤٥٦", "１９００１２３４５６", "۱۹۰۰۱۲۳۴۵۶", "१९००१२३४५६", "＋9721900123456", "1\u200b900123456", "𝟏𝟗𝟎𝟎𝟏𝟐𝟑𝟒𝟓𝟔"),
    # Quoted, escaped, with comments and parameters.
    *('"1900123456"', '"1-900-123456"', '"1\\900123456"', '"\\1\\9\\0\\0123456"', "1900(comment)123456", "(03)1900123456(x)"),
    *("FAX=+9721900123456", "fax=1900123456", "FAX=+9721900123456/T33S=1", "tel:1900123456", "tel:+9721900123456"),
    *("IMCEAFAX-1900123456", "IMCEAFAX-03-9876543|1900123456", "IMCEAFAX-x+40+2B9721900123456"),
    # More than one number, and what a modem dials behind it.
    *("03-9876543,1900123456", "03-9876543,,1900123456", "03-9876543;ext=1900", "03-9876543;1900123456", "03-9876543*1900"),
    *("03-9876543w1900123456", "03-9876543p1900", "03-9876543#1900", "03-9876543 x1900", "03-9876543/1900123456"),
    *("*1900", "*100", "*03-9876543", "#31#039876543", "*67 039876543"),
    # Short numbers, satellites, and other countries.
    *("100", "1455", "*2700", "144", "+8816123456789", "+8821234567890", "+87077391234", "+88213123456", "+9791234567"),
    *("+12125551234", "0012125551234", "01112125551234", "+44 20 7946 0958", "+970599123456", "+1-900-5551234", "+80012345678"),
)


@pytest.mark.parametrize("local", COSTLY)
def test_held_no_spelling_of_a_costly_or_foreign_number_is_faxed(local: str) -> None:
    def check() -> None:
        policy.check_number(parse_recipient(f"{local}@fax.local", DOMAINS, "IL"), ALLOW, DENY)

    with pytest.raises(Refused, match=r"^550 5\.[17]\."):
        check()


@pytest.mark.parametrize(
    "header",
    [
        b"From: boss@corp.il",
        b"From: scanner@example.co.il, boss@corp.il",
        b"From: everyone: scanner@example.co.il, boss@corp.il;",
        b"From: scanner@example.co.il\r\n , boss@corp.il",
        b"From:\r\n boss@corp.il",
        b"From: scanner@example.co.il\rFrom: boss@corp.il",
        b"From: scanner@example.co.il\r\nFROM: boss@corp.il",
        b"From : boss@corp.il",
        b'From: "scanner@example.co.il" <boss@corp.il>',
        b"From: scanner@example.co.il <boss@corp.il>",
        b"From: boss@corp.il (scanner@example.co.il)",
        b"From: <scanner@example.co.il> <boss@corp.il>",
        b"From: scanner@example.co.il.corp.il",
        b"From: boss@corp.il\x00@example.co.il",
        b"From: =?utf-8?q?boss=40corp.il?=",
        b"From: boss@corp.il\r\nSender: scanner@example.co.il\r\nReply-To: scanner@example.co.il",
        b"From: boss@corp.il\r\nResent-From: scanner@example.co.il\r\nResent-Sender: scanner@example.co.il",
    ],
)
def test_held_no_form_of_from_shows_another_author(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "mail"
    path.write_bytes(header + b"\r\nTo: 039876543@fax.local\r\nSubject: pay\r\n\r\nplease pay\r\n")

    def check() -> None:
        letter = read_letter(path, "mail/00/env_1.eml", "always")
        for author in letter.authors or (letter.sender or "boss@corp.il",):
            policy.check_sender(author, ("scanner@example.co.il",))

    with pytest.raises(Refused, match=r"^55[34] 5\."):
        check()


def mails_in_mails(levels: int) -> bytes:
    return b"Content-Type: message/rfc822\r\n\r\n" * levels + b"From: a@b.il\r\n\r\nhello\r\n"


def parts_in_parts(levels: int) -> bytes:
    heads = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(levels))
    return heads + b"Content-Type: text/plain\r\n\r\nhello\r\n"


def parts(count: int) -> bytes:
    return b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * count


def pdf_with_kids(count: int) -> bytes:
    kids = b" ".join(b"3 0 R" for _ in range(count))
    pages = b"2 0 obj<</Type/Pages/Count %d/Kids[%b]>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R>>endobj\n" % (count, kids)
    content = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n" + pages + b"trailer<</Root 1 0 R>>\n%%EOF\n"
    return b"Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: binary\r\n\r\n" + content


@pytest.mark.parametrize(
    "content",
    [
        mails_in_mails(500),
        parts_in_parts(200),
        parts(10_000),
        b"X: y\r\n" * 100_000,
        b"X: " + b"y" * 5_000_000 + b"\r\n\r\nx",
        pdf_with_kids(500_000),
    ],
    ids=[
        "500 mails in each other",
        "200 parts in each other",
        "10,000 parts",
        "100,000 headers",
        "5 MB of header",
        "500,000 kids",
    ],
)
def test_held_a_mail_beyond_every_measure_is_refused_with_little_work(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mail"
    path.write_bytes(b"From: anna@example.co.il\r\nSubject: x\r\n" + content)

    def read() -> None:
        with pytest.raises(Refused, match=r"^554 5\.6\."):
            read_letter(path, "mail/00/env_1.eml", "always")

    assert calls(read) < 400_000
