"""Letters: what is faxed, in which order, under which name; and what is refused, in words."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mailbridge.errors import Refused
from mailbridge.store.spool import Spool
from mailbridge.submission.document_types import safe_name
from mailbridge.submission.letter import Letter
from mailbridge.submission.letter_parser import read_letter
from mailbridge.submission.page import render

PDF = render("a document")[0]


def picture(kind: str, width: int = 400, height: int = 400) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 90).save(buffer, kind)
    return buffer.getvalue()


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "application/vnd.oasis.opendocument.text" if name == "mimetype" else "<x/>")
    return buffer.getvalue()


def bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    header = struct.pack("!IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def pdf_of(pages: int, trailer: str = "") -> bytes:
    kids = " ".join("3 0 R" for _ in range(pages))
    body = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {pages}/Kids[{kids}]>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>",
    ]
    out, at = "%PDF-1.4\n", []
    for number, content in enumerate(body, 1):
        at.append(len(out))
        out += f"{number} 0 obj{content}endobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in at)
    end = f"trailer<</Size 4/Root 1 0 R{trailer}>>\nstartxref\n{len(out)}\n%%EOF"
    return f"{out}xref\n0 4\n0000000000 65535 f \n{table}{end}".encode()


LOCK = f"/ID[<{'00' * 16}><{'00' * 16}>]/Encrypt<</Filter/Standard/V 1/R 2/P -4/O<{'11' * 32}>/U<{'22' * 32}>>>"


def mail(text: str = "", *files: tuple[str, str, bytes], **headers: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Office <office@example.co.il>"
    message["Subject"] = "נושא"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    for name, content_type, content in files:
        maintype, _, subtype = content_type.partition("/")
        message.add_attachment(content, maintype=maintype, subtype=subtype, filename=name)
    return message


def read(tmp_path: Path, message: EmailMessage | bytes, mode: str = "auto") -> Letter:
    (tmp_path / "mail").mkdir(exist_ok=True)
    raw = message if isinstance(message, bytes) else message.as_bytes()
    (tmp_path / "mail" / "m.eml").write_bytes(raw)
    return read_letter(tmp_path, "mail/m.eml", mode)


def refused(tmp_path: Path, message: EmailMessage | bytes) -> str:
    with pytest.raises(Refused) as caught:
        read(tmp_path, message)
    return caught.value.reply


KINDS = [
    ("a.pdf", "application/pdf", PDF, 1),
    ("a.tif", "image/tiff", picture("TIFF"), 1),
    ("a.jpg", "image/jpeg", picture("JPEG"), 1),
    ("a.png", "image/png", picture("PNG"), 1),
    ("a.doc", "application/msword", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "WordDocument\0".encode("utf-16-le"), None),
    ("a.xls", "application/vnd.ms-excel", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "Workbook\0".encode("utf-16-le"), None),
    ("a.docx", "application/octet-stream", zipped("word/document.xml"), None),
    ("a.xlsx", "application/octet-stream", zipped("xl/workbook.xml"), None),
    ("a.odt", "application/vnd.oasis.opendocument.text", zipped("mimetype"), None),
    ("a.txt", "text/plain", "שלום".encode(), None),
    ("dos.txt", "text/plain", "סך הכל 1,200".encode("cp862") + b"\r\n\x1a", None),
    ("a.html", "text/html", b"<p>x</p>", None),
]


def test_every_declared_type_is_faxed_in_order_as_the_spool_will_read_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    files = [(name, kind, content) for name, kind, content, _ in KINDS]
    letter = read(tmp_path, mail("see attached", *files))
    assert [(document.name, document.pages) for document in letter.documents] == [(name, pages) for name, _, _, pages in KINDS]
    for document, (_, _, content) in zip(letter.documents, files, strict=True):
        with spool.open_document(document) as file:
            read_back = file.read()
        assert read_back == content
        assert (document.size, document.sha256) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("name", "content_type", "content", "reason"),
    [
        ("a.pdf", "application/pdf", picture("PNG"), "really PNG"),
        ("a.jpg", "image/jpeg", PDF, "really PDF"),
        ("a.pdf", "application/pdf", b"", "empty"),
        ("a.pdf", "application/pdf", b"%PDF-1.4 nothing", "damaged"),
        ("a.pdf", "application/pdf", pdf_of(1, LOCK), "password"),
        ("a.pdf", "application/pdf", pdf_of(1001), "1000 pages"),
        ("a.png", "image/png", bomb(), "too large"),
        ("a.tif", "image/tiff", b"II*\x00\x08\x00\x00\x00\xff\xff", "damaged"),
        (
            "a.docx",
            "application/msword",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage\0".encode("utf-16-le"),
            "password",
        ),
        ("a.exe", "application/octet-stream", b"MZ", "only PDF"),
        ("a.zip", "application/zip", zipped("x"), "only PDF"),
        ("a.mp4", "video/mp4", b"x", "only PDF"),
        ("winmail.dat", "application/ms-tnef", b"x", "Outlook"),
    ],
)
def test_what_cannot_be_faxed_is_refused_by_name_and_reason(
    tmp_path: Path, name: str, content_type: str, content: bytes, reason: str
) -> None:
    reply = refused(tmp_path, mail("text", (name, content_type, content)))
    assert reply.startswith(f"554 5.6.1 The file {name} cannot be faxed: ")
    assert reason in reply


def test_a_thousand_pages_are_faxed(tmp_path: Path) -> None:
    assert read(tmp_path, mail("", ("a.pdf", "application/pdf", pdf_of(1000)))).documents[0].pages == 1000


def test_what_only_travels_with_mail_is_no_page(tmp_path: Path) -> None:
    message = mail(
        "see attached",
        ("smime.p7s", "application/pkcs7-signature", b"x"),
        ("me.vcf", "text/x-vcard", b"x"),
        ("invite.ics", "application/octet-stream", b"x"),
        ("ATT00001.txt", "text/plain", b"\r\n"),
        ("ATT00002.htm", "text/html", b""),
        ("a.pdf", "application/pdf", PDF),
    )
    message.add_attachment(picture("PNG", 60, 40), maintype="image", subtype="png", disposition="inline", cid="<logo>")
    assert [document.name for document in read(tmp_path, message).documents] == ["a.pdf"]


def test_a_picture_that_the_text_shows_is_no_document_and_one_attached_is(tmp_path: Path) -> None:
    message = mail("x")
    message.add_alternative('<img src="cid:big@x">', subtype="html")
    message.add_attachment(picture("PNG"), maintype="image", subtype="png", filename="shown.png", cid="<big@x>")
    message.add_attachment(picture("PNG"), maintype="image", subtype="png", filename="scan.png")
    assert [document.name for document in read(tmp_path, message).documents] == ["scan.png"]


def black_and_white(kind: str, width: int = 1728, height: int = 2200) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height), 1).save(buffer, kind, **({"compression": "group4"} if kind == "TIFF" else {}))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("TIFF", {"disposition": "inline", "filename": "scan"}),
        ("PNG", {"disposition": "inline", "filename": "scan"}),
        ("PNG", {"disposition": "attachment", "filename": "scan", "cid": "<f_1>"}),
    ],
)
def test_a_scan_of_few_bytes_is_a_document_wherever_the_mail_program_puts_it(
    tmp_path: Path, kind: str, how: dict[str, Any]
) -> None:
    message = mail("see attached")
    message.add_attachment(black_and_white(kind), maintype="image", subtype=kind.lower(), **how)
    assert [document.name for document in read(tmp_path, message).documents] == ["scan"]


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_a_picture_that_is_the_whole_mail_is_faxed(tmp_path: Path, kind: str) -> None:
    message = EmailMessage()
    message.set_content(black_and_white(kind, 100, 100), maintype="image", subtype=kind.lower())
    del message["Content-Disposition"]
    assert [document.name for document in read(tmp_path, message).documents] == [f"document-1.{kind.lower()}"]


def test_gmail_names_by_an_id_what_is_attached_and_it_is_a_document(tmp_path: Path) -> None:
    message = mail("see attached")
    message.add_alternative("<p>see attached</p>", subtype="html")
    message.add_attachment(picture("PNG", 100, 100), maintype="image", subtype="png", filename="qr.png", cid="<f_1>")
    assert [document.name for document in read(tmp_path, message).documents] == ["qr.png"]


def test_the_same_text_for_other_readers_is_passed_over(tmp_path: Path) -> None:
    message = mail("hello")
    message.add_alternative("<html amp4email>hello</html>", subtype="x-amp-html")
    message.add_alternative("<p>hello</p>", subtype="html")
    letter = read(tmp_path, message)
    assert (letter.text_page is not None, letter.documents) == (True, ())


def test_a_photograph_is_one_page_whatever_a_phone_keeps_behind_it(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pictures = [Image.new("L", (600, 800), shade) for shade in (1, 2, 3)]
    pictures[0].save(buffer, "MPO", save_all=True, append_images=pictures[1:])
    whole = buffer.getvalue()
    for content in (whole, whole[: len(whole) // 2]):
        (document,) = read(tmp_path, mail("", ("photo.jpg", "image/jpeg", content))).documents
        assert (document.content_type, document.pages) == ("image/jpeg", 1)


LONG = "Dear sirs,\nplease find the contract.\nCall me on Sunday.\n"


@pytest.mark.parametrize(
    ("mode", "text", "becomes_page"),
    [
        ("auto", "see attached", False),
        ("auto", "see attached\n-- \nDana\nLaw office\n03-9876543\n", False),
        ("auto", "see\n> one\n> two\n> three\n", False),
        ("auto", LONG, True),
        ("auto", "word " * 50, True),
        ("never", LONG, False),
        ("always", "see attached", True),
        ("always", "", False),
    ],
)
def test_text_beside_a_document_becomes_a_page_by_mode_and_content(
    tmp_path: Path, mode: str, text: str, becomes_page: bool
) -> None:
    message = mail(text, ("a.pdf", "application/pdf", PDF))
    for _ in range(2):
        letter = read(tmp_path, message, mode)
        assert [document.name for document in letter.documents] == ["a.pdf"]
        assert (letter.text_page is not None) is becomes_page
        message["X-Mailbridge-Page"], mode = mode, "auto"


def test_text_alone_is_a_page_and_nothing_at_all_is_refused(tmp_path: Path) -> None:
    letter = read(tmp_path, mail("שלום"))
    page = letter.text_page
    assert page is not None
    assert (letter.documents, page.pages, page.content[:5]) == ((), 1, b"%PDF-")
    assert (page.size, page.sha256) == (len(page.content), hashlib.sha256(page.content).hexdigest())
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["m.eml"]
    assert refused(tmp_path, mail("  \n")).startswith("554 5.6.0 The mail has nothing to fax")
    reply = refused(tmp_path, mail("hello", **{"X-Mailbridge-Page": "never"}))
    assert reply.endswith("no document is attached and its text is not to be faxed")


def test_every_address_of_every_from_is_an_author(tmp_path: Path) -> None:
    letter = read(tmp_path, b"From: Anna <anna@x.il>, bob@x.il\r\nFrom: eve@y.il\r\n\r\nhello")
    assert (letter.sender, letter.authors) == ("anna@x.il", ("anna@x.il", "bob@x.il", "eve@y.il"))


def test_headers_are_honoured(tmp_path: Path) -> None:
    headers = {"X_Mailbridge_Account": "law", "X_Mailbridge_Send_At": "2026-01-04T09:00:00+02:00", "X_Mailbridge_Tag": "case=1=2"}
    letter = read(tmp_path, mail("x", Message_ID="<1@x>", Received="by y", **headers))
    assert (letter.account, letter.tags, letter.received_count) == ("law", {"case": "1=2"}, 1)
    assert letter.send_at == datetime(2026, 1, 4, 7, tzinfo=UTC)
    assert (letter.message_id, letter.subject, letter.sender) == ("<1@x>", "נושא", "office@example.co.il")


def test_a_tag_that_is_encoded_as_one_word_with_its_key_is_read(tmp_path: Path) -> None:
    message = mail("x")
    message["X-Mailbridge-Tag"] = "תיק=חוזה 7"
    message["X-Mailbridge-Tag"] = "client=דנה"
    assert b"\nX-Mailbridge-Tag: =?utf-8?" in message.as_bytes()
    assert read(tmp_path, message).tags == {"תיק": "חוזה 7", "client": "דנה"}


def test_half_a_character_in_a_subject_or_a_tag_costs_that_character_alone(tmp_path: Path) -> None:
    letter = read(tmp_path, b"Subject: =?utf-7?q?a+2AA-?=\r\nX-Mailbridge-Tag: k==?utf-7?q?b+2AA-?=\r\n\r\nhello\r\n")
    assert (letter.subject, letter.tags) == ("a?", {"k": "b?"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Page", "often"),
        ("Send-At", "soon"),
        ("Send-At", "2026-01-04T09:00:00"),
        ("Send-At", "9999-12-31T23:59:59+00:00"),
        ("Tag", "k"),
    ],
)
def test_a_header_in_disorder_is_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    reply = refused(tmp_path, mail("x", **{f"X-Mailbridge-{name}": value}))
    assert reply.startswith(f"554 5.6.0 The header X-Mailbridge-{name}")


def test_marks_of_machines_and_loops_are_told(tmp_path: Path) -> None:
    assert read(tmp_path, mail("x", Auto_Submitted="auto-replied; x=y")).auto_submitted
    assert not read(tmp_path, mail("x", Auto_Submitted="no")).auto_submitted
    assert read(tmp_path, mail("x", X_Mailbridge_Loop="gw")).mail_loop


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("דוח שנתי.pdf", "דוח שנתי.pdf"),
        ("../../etc/passwd.pdf", "passwd.pdf"),
        ("C:\\temp\\a.pdf", "a.pdf"),
        ("a\x00b\r\n.pdf", "ab.pdf"),
        ("inv\u202efdp.exe", "invfdp.exe"),
        ("x" * 10_000 + ".pdf", "x" * 96 + ".pdf"),
        ("", "fallback"),
        (None, "fallback"),
        ("..", "fallback"),
        ("CON", "_CON"),
        ("con.pdf", "_con.pdf"),
        ('a<b>:"c"?.pdf', "a_b___c__.pdf"),
    ],
)
def test_file_names_are_readable_and_never_paths(raw: str | None, name: str) -> None:
    assert safe_name(raw, "fallback") == name
