"""Attachments: which parts of a mail are documents, under which name and in which order, and which files are refused."""

from __future__ import annotations

import hashlib
import io
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mailbridge.store.local_spool import LocalSpool
from tests.unit.submission.letter.letter_fixtures import (
    LOCK,
    PDF,
    black_and_white,
    bomb,
    mail,
    ole,
    pdf_of,
    picture,
    read,
    refused,
    zipped,
)

KINDS = [
    ("a.pdf", "application/pdf", PDF, 1),
    ("a.tif", "image/tiff", picture("TIFF"), 1),
    ("a.jpg", "image/jpeg", picture("JPEG"), 1),
    ("a.png", "image/png", picture("PNG"), 1),
    ("a.doc", "application/msword", ole("WordDocument"), None),
    ("a.xls", "application/vnd.ms-excel", ole("Workbook"), None),
    ("a.docx", "application/octet-stream", zipped("word/document.xml"), None),
    ("a.xlsx", "application/octet-stream", zipped("xl/workbook.xml"), None),
    ("a.odt", "application/vnd.oasis.opendocument.text", zipped("mimetype"), None),
    ("a.txt", "text/plain", "שלום".encode(), None),
    ("dos.txt", "text/plain", "סך הכל 1,200".encode("cp862") + b"\r\n\x1a", None),
    ("a.html", "text/html", b"<p>x</p>", None),
]


def test_documents_of_every_type_keep_their_order_and_are_read_back_by_the_spool(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path)
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
        ("a.pdf", "application/pdf", b"<html>not found", "content is HTML, not PDF; save it as PDF"),
        ("a.xls", "application/vnd.ms-excel", "שם\tסך".encode(), "content is TXT, not XLS"),
        ("a.jpg", "image/jpeg", b"\x00\x01\x02", "content is not JPEG"),
        ("a.pdf", "application/pdf", b"", "empty"),
        ("a.pdf", "application/pdf", b"%PDF-1.4 nothing", "damaged"),
        ("a.pdf", "application/pdf", pdf_of(1, LOCK), "password"),
        ("a.pdf", "application/pdf", pdf_of(1001), "1000 pages"),
        ("a.png", "image/png", bomb(), "too large"),
        ("a.tif", "image/tiff", b"II*\x00\x08\x00\x00\x00\xff\xff", "damaged"),
        (
            "a.docx",
            "application/msword",
            ole("EncryptedPackage"),
            "password",
        ),
        ("a.exe", "application/octet-stream", b"MZ", "only PDF"),
        ("a.zip", "application/zip", zipped("x"), "archive"),
        ("a.rar", "application/octet-stream", b"Rar!\x1a\x07\x00", "archive"),
        ("a.rtf", "application/rtf", b"{\\rtf1 x}", "Rich Text (RTF); save it as PDF"),
        ("a.doc", "application/msword", b"{\\rtf1 x}", "Rich Text (RTF); save it as PDF"),
        ("a.pptx", "application/octet-stream", zipped("ppt/presentation.xml"), "PowerPoint"),
        ("a.ppt", "application/octet-stream", ole("PowerPoint Document"), "PowerPoint"),
        ("a.msg", "application/octet-stream", ole("__nameid_version1.0", "WordDocument"), "mail that Outlook saved"),
        ("a.eps", "application/postscript", b"%!PS-Adobe-3.0", "PostScript"),
        ("a.hqx", "application/mac-binhex40", b"(This file must be converted with BinHex 4.0)\n:x", "BinHex"),
        ("a.pdf", "application/applefile", b"\x00\x05\x16\x00\x00\x02", "AppleSingle"),
        ("a.pdf.asc", "application/octet-stream", b"-----BEGIN PGP MESSAGE-----\n", "encrypted"),
        ("a.csv", "text/csv", b"a,b", "only PDF"),
        ("a.bat", "application/octet-stream", b"echo hello", "only PDF"),
        ("a.txt", "text/plain", b"Content-Transfer-Encoding: base64\n\nJVBERi0xLjQK", "source of a mail"),
        ("a.mp4", "video/mp4", b"x", "only PDF"),
        ("winmail.dat", "application/ms-tnef", b"x", "Rich Text"),
    ],
)
def test_file_that_cannot_be_faxed_is_refused_with_its_name_and_the_reason(
    tmp_path: Path, name: str, content_type: str, content: bytes, reason: str
) -> None:
    reply = refused(tmp_path, mail("text", (name, content_type, content)))
    assert reply.startswith(f"554 5.6.1 The file {name} cannot be faxed: ")
    assert reason in reply


def test_document_of_a_thousand_pages_is_faxed(tmp_path: Path) -> None:
    assert read(tmp_path, mail("", ("a.pdf", "application/pdf", pdf_of(1000)))).documents[0].pages == 1000


def test_companions_of_mail_are_not_documents(tmp_path: Path) -> None:
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


def test_picture_in_the_text_is_not_a_document_but_an_attached_one_is(tmp_path: Path) -> None:
    message = mail("x")
    message.add_alternative('<img src="cid:big@x">', subtype="html")
    message.add_attachment(picture("PNG"), maintype="image", subtype="png", filename="shown.png", cid="<big@x>")
    message.add_attachment(picture("PNG"), maintype="image", subtype="png", filename="scan.png")
    assert [document.name for document in read(tmp_path, message).documents] == ["scan.png"]


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("TIFF", {"disposition": "inline", "filename": "scan"}),
        ("PNG", {"disposition": "inline", "filename": "scan"}),
        ("PNG", {"disposition": "attachment", "filename": "scan", "cid": "<f_1>"}),
    ],
)
def test_scan_of_few_bytes_is_a_document_wherever_the_mail_program_puts_it(
    tmp_path: Path, kind: str, how: dict[str, Any]
) -> None:
    message = mail("see attached")
    message.add_attachment(black_and_white(kind), maintype="image", subtype=kind.lower(), **how)
    assert [document.name for document in read(tmp_path, message).documents] == [f"scan.{kind.lower()}"]


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_picture_that_is_the_whole_mail_is_a_document(tmp_path: Path, kind: str) -> None:
    message = EmailMessage()
    message.set_content(black_and_white(kind, 100, 100), maintype="image", subtype=kind.lower())
    del message["Content-Disposition"]
    assert [document.name for document in read(tmp_path, message).documents] == [f"document-1.{kind.lower()}"]


def test_attachment_with_a_content_id_of_gmail_is_a_document(tmp_path: Path) -> None:
    message = mail("see attached")
    message.add_alternative("<p>see attached</p>", subtype="html")
    message.add_attachment(picture("PNG", 100, 100), maintype="image", subtype="png", filename="qr.png", cid="<f_1>")
    assert [document.name for document in read(tmp_path, message).documents] == ["qr.png"]


def test_alternative_text_for_other_readers_is_not_a_document(tmp_path: Path) -> None:
    message = mail("hello")
    message.add_alternative("<html amp4email>hello</html>", subtype="x-amp-html")
    message.add_alternative("<p>hello</p>", subtype="html")
    letter = read(tmp_path, message)
    assert [document.name for document in letter.documents] == ["page.pdf"]


def test_photograph_with_more_pictures_in_its_file_is_one_page(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pictures = [Image.new("L", (600, 800), shade) for shade in (1, 2, 3)]
    pictures[0].save(buffer, "MPO", save_all=True, append_images=pictures[1:])
    whole = buffer.getvalue()
    for content in (whole, whole[: len(whole) // 2]):
        (document,) = read(tmp_path, mail("", ("photo.jpg", "image/jpeg", content))).documents
        assert (document.content_type, document.pages) == ("image/jpeg", 1)
