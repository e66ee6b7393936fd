"""What a mail's headers and parts yield."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from email.message import EmailMessage
from zoneinfo import ZoneInfo

import pytest

from mailbridge.demo.mailbox import incoming_mail, report_mail
from mailbridge.report.imap_responses import FetchedMail
from mailbridge.report.mail_body import MAX_TEXT
from mailbridge.report.parser import ParsedMail, digest, parse


def fetched(content: bytes, size: int | None = None, fault: str | None = None) -> FetchedMail:
    return FetchedMail(1, len(content) if size is None else size, content, fault)


def read(content: bytes) -> ParsedMail:
    return parse(fetched(content))


def test_a_report_as_myfax_sends_it_is_read() -> None:
    mail = read(
        report_mail("Fail", 3, "invoice MB-7K3QXA2M.pdf", text="03-9876543 was busy", date=datetime(2026, 1, 4, 9, tzinfo=UTC))
    )
    report = mail.report
    assert (report.kind, report.status, report.status_code) == ("report", "Fail", 3)
    assert report.subject == "invoice MB-7K3QXA2M.pdf"
    assert report.date == datetime(2026, 1, 4, 9, tzinfo=UTC)
    assert "03-9876543 was busy" in report.text
    assert report.defects == ()
    assert not report.trusted


@pytest.mark.parametrize("content", [b"Subject: X-Fax-Status: Success\r\n\r\nX-Fax-Status: Success\r\n", b""])
def test_a_mail_without_x_fax_headers_has_no_digest_and_parses_to_a_defect(content: bytes) -> None:
    assert digest(fetched(content)) is None
    parsed = read(content)
    assert "the mail lost its X-Fax headers" in parsed.report.defects
    assert parsed.digest == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("header", "defect"),
    [
        (b"X-Fax-Status: Success\nX-Fax-Status: Fail\nX-Fax-Status-Code: 9\n", "x-fax-status occurs 2 times"),
        (b"X-Fax-Status: Success\nX-Fax-Status-Code: 9\nx-fax-status-code: 9\n", "x-fax-status-code occurs 2 times"),
        (b"X-Fax-Status: Success\nX-Fax-Status-Code: nine\n", "X-Fax-Status-Code is not a number"),
        ("X-Fax-Status: Success\nX-Fax-Status-Code: ٩\n".encode(), "X-Fax-Status-Code is not a number"),
        (b"X-Fax-Status: Success\n", "X-Fax-Status-Code is missing"),
        (b"X-Fax-Status: Maybe\nX-Fax-Status-Code: 9\n", "X-Fax-Status is neither Success nor Fail"),
        (b"X-Fax-Status-Code: 9\n", "X-Fax-Status is neither Success nor Fail"),
        (b"X-Fax-Status: Fail\nX-Fax-Status-Code: 7\nX-Fax-Sender: 1\n", "a report must not have X-Fax-Sender"),
        (b"From: a@b.c\nFrom: d@e.f\nX-Fax-Status: Fail\nX-Fax-Status-Code: 7\n", "from occurs 2 times"),
    ],
)
def test_each_defect_of_a_report_is_named(header: bytes, defect: str) -> None:
    assert defect in read(header + b"\nbody\n").report.defects


def test_an_incoming_fax_brings_its_document() -> None:
    mail = read(incoming_mail(b"%PDF-1.4 content", "08-9999999", did="+97239876543", filename="../../etc/פקס.pdf"))
    assert (mail.report.kind, mail.report.sender, mail.report.to) == ("incoming", "08-9999999", "+97239876543")
    [attachment] = mail.attachments
    assert (attachment.filename, attachment.content_type) == ("פקס.pdf", "application/pdf")
    assert attachment.content == b"%PDF-1.4 content"


@pytest.mark.parametrize("lengths", [(1, 40), (40, 41, 42), (45, 45, 1)])
def test_13b_base64_goes_on_behind_padding(lengths: tuple[int, ...]) -> None:
    """Source: cpython 137687. A form that was filled in was received as the empty form."""
    content = b"%PDF-1.4 " + bytes(range(256))
    segments, rest = [], content
    for length in (*lengths, len(content)):
        segments.append(base64.encodebytes(rest[:length]))
        rest = rest[length:]
    whole = base64.encodebytes(content)
    raw = incoming_mail(content, "1").replace(b"\r\n", b"\n").replace(whole.rstrip(b"\n"), b"".join(segments).rstrip(b"\n"))
    assert whole not in raw
    [document] = read(raw).attachments
    assert document.content == content


def test_an_anonymous_caller_is_an_empty_sender() -> None:
    assert read(incoming_mail(b"%PDF-1.4", "")).report.sender == ""


def test_a_tiff_sent_as_octet_stream_is_recognised_by_its_name() -> None:
    mail = read(incoming_mail(b"II*\0", "1", filename="fax.TIF", content_type="application/octet-stream"))
    assert [one.content_type for one in mail.attachments] == ["image/tiff"]


@pytest.mark.parametrize("odd", [b"image/\xff", b"image/a\x00b", b"image/"])
def test_an_image_without_a_valid_type_is_recognised_by_its_content(odd: bytes) -> None:
    mail = incoming_mail(b"\x89PNG\r\n", "1", filename="fax", content_type="image/odd").replace(b"image/odd", odd)
    [document] = read(mail).attachments
    assert document.content_type == "image/png"


def test_the_called_number_is_read_from_to() -> None:
    assert read(incoming_mail(b"%PDF", "1", to="0398765432@myfax.co.il")).report.to == "0398765432"


@pytest.mark.parametrize(
    ("printed", "hour"),
    [("11:00:00", 9), ("11:00", 9), ("11:00:00 -0000", 11), ("11:00:00 +0000", 11), ("11:00:00 GMT", 11), ("11:00:00 +0200", 9)],
)
def test_a_date_without_a_zone_is_in_the_configured_one(printed: str, hour: int) -> None:
    """`-0000`, as Python's formatdate writes it, is UTC."""
    mail = parse(fetched(f"X-Fax-Sender: 1\nDate: Sun, 04 Jan 2026 {printed}\n\n".encode()), ZoneInfo("Asia/Jerusalem"))
    assert mail.report.date == datetime(2026, 1, 4, hour, tzinfo=UTC)


def test_the_digest_survives_folding_and_differs_between_mails() -> None:
    one = b"Message-ID: <1@x>\r\nX-Fax-Status: Fail\r\nX-Fax-Subject: a b\r\n\r\n"
    folded = one.replace(b"a b", b"a\r\n b")
    assert digest(fetched(one, 100)) == digest(fetched(folded, 100)) != digest(fetched(one, 101))
    assert digest(fetched(one.replace(b"<1@", b"<2@"), 100)) != digest(fetched(one, 100))
    assert digest(fetched(b"Subject: x\r\n\r\n", 9)) is None


def test_html_becomes_text_and_the_text_is_cut() -> None:
    head = b"X-Fax-Status: Fail\nX-Fax-Status-Code: 7\nContent-Type: text/html; charset=utf-8\n\n"
    mail = read(head + b"<style>b{}</style><p>to <b>MB-7K3QXA2M</b> &amp; more" + b"x" * 90_000)
    assert "MB-7K3QXA2M" in mail.report.text
    assert "& more" in mail.report.text
    assert "style" not in mail.report.text
    assert len(mail.report.text) <= MAX_TEXT


@pytest.mark.parametrize(
    "many",
    [
        b"\n--b\n\nx" * 3000,
        b"".join(b"\n--b%d\nContent-Type: Multipart/Mixed; boundary=b%d\n" % (n, n + 1) for n in range(21)),
        b"".join(b"\n--b%d\nContent-Type: multipart/mixed; boundary=b%d\n" % (n, n + 1) for n in range(3000)),
    ],
)
def test_a_body_that_cannot_be_read_is_a_defect(many: bytes) -> None:
    head = b"X-Fax-Status: Fail\nX-Fax-Status-Code: 7\nContent-Type: multipart/mixed; boundary=b\n"
    assert any("cannot be read" in defect for defect in read(head + many).report.defects)


def test_a_mail_whose_rest_is_missing_is_parsed_by_its_header_with_the_fault_as_a_defect() -> None:
    head = fetched(b"X-Fax-Status: Fail\nX-Fax-Status-Code: 7\n\ntext", 10**9, "the mail is too large")
    mail = parse(head)
    assert mail.digest == digest(head)
    assert (mail.report.status_code, mail.report.text) == (7, "")
    assert mail.report.defects == ("the mail is too large",)


def test_an_incoming_fax_whose_rest_is_missing_has_no_document() -> None:
    mail = parse(fetched(incoming_mail(b"%PDF-1.4 content", "08-9999999"), fault="the mail is too large"))
    assert (mail.report.kind, mail.report.sender, mail.attachments) == ("incoming", "08-9999999", ())


@pytest.mark.parametrize("word", ["=?utf-7?Q?+2AA-?=", "=?unicode_escape?Q?=5Cud800?=", "=?raw_unicode_escape?Q?=5Cud800?="])
def test_half_of_a_surrogate_pair_becomes_text_that_can_be_stored(word: str) -> None:
    mail = read(f"X-Fax-Status: Success\r\nX-Fax-Status-Code: 9\r\nX-Fax-Subject: {word}\r\nMessage-ID: {word}\r\n\r\n".encode())
    assert mail.report.subject.encode() == b"?"
    assert str(mail.report.message_id).encode() == b"?"


def test_style_and_script_are_not_part_of_the_text() -> None:
    body = "<STYLE>MB-AAAAAAA1</style >fax <b>03-9876543</b><script>1</script> a < b <i>sent</i><script>MB-AAAAAAA2"
    mail = read(f"X-Fax-Status: Success\r\nContent-Type: text/html\r\n\r\n{body}".encode())
    assert mail.report.text.split() == ["fax", "03-9876543", "a", "sent"]


@pytest.mark.parametrize("header", ["X-Fax-Code", "X-Fax-Job-ID", "x-fax-id"])
def test_every_other_x_fax_header_is_part_of_the_text(header: str) -> None:
    """A FAX_CODE counts anywhere in what a signature must cover."""
    mail = read(f"X-Fax-Status: Success\r\nX-Fax-Status-Code: 9\r\n{header}: 3cf6c2ae-0000\r\n\r\nsent\r\n".encode())
    assert mail.report.text.split() == ["3cf6c2ae-0000", "sent"]


def test_the_markup_of_a_template_takes_no_space_from_its_text() -> None:
    rows = ("<tr>\n" + " " * 90 + "<td style='" + "x" * 200 + "'>a</td>\n</tr>\n") * 400
    head = "X-Fax-Status: Success\r\nX-Fax-Status-Code: 9\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    assert read(f"{head}<table>{rows}<td>MB-7K3QXA2M</td>".encode()).report.text.endswith("MB-7K3QXA2M")


PDF, LOGO = ("application", "pdf", b"%PDF-1.4"), ("image", "png", b"\x89PNG\r\n")


@pytest.mark.parametrize(
    ("parts", "content_type"),
    [
        ([(*LOGO, "logo.png", "<logo>"), (*PDF, "fax.pdf", None)], "application/pdf"),
        ([(*LOGO, "logo.png", None), ("image", "tiff", b"II*\0", "fax.tif", None)], "image/tiff"),
        ([(*LOGO, "logo.png", "<logo>"), ("image", "jpeg", b"\xff\xd8\xff", "fax.jpg", None)], "image/jpeg"),
        ([("image", "jpeg", b"\xff\xd8\xff", "fax.jpg", "<page>")], "image/jpeg"),
        ([("application", "octet-stream", b"%PDF-1.4", "fax", None)], "application/pdf"),
        ([("application", "x-pdf", b"%PDF-1.4", "fax.pdf", None)], "application/pdf"),
        ([("application", "octet-stream", b"MM\0*", "fax.dat", None)], "image/tiff"),
        ([("application", "octet-stream", b"hello", "fax.dat", None)], None),
        ([("application", "octet-stream", b"hello", "a.dat", None), (*PDF, "fax.pdf", None)], "application/pdf"),
    ],
)
def test_the_document_is_the_fax_and_not_the_logo(
    parts: list[tuple[str, str, bytes, str, str | None]], content_type: str | None
) -> None:
    mail = EmailMessage()
    mail["X-Fax-Sender"] = "08-9999999"
    mail.set_content("see the fax")
    for maintype, subtype, content, name, cid in parts:
        mail.add_attachment(content, maintype=maintype, subtype=subtype, filename=name, cid=cid)
    found = [one.content_type for one in read(mail.as_bytes()).attachments]
    assert found[:1] == ([content_type] if content_type else [])
