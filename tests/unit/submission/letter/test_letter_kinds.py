"""Further mails of each kind of tests/corpus/cases. A test's parameter begins with the number of its kind."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import pytest

from tests.unit.submission.letter.letter_fixtures import PDF, black_and_white, ole, picture, read, read_with_text, refused, zipped
from tests.unit.submission.letter.mail_writer import HEAD, ORDER, attached, html, mixed, multipart, part, shown, text, uuencoded

SCAN = picture("JPEG", 1240, 1754)
PHOTO = picture("JPEG", 600, 800)
LOGO = picture("PNG", 120, 60)
DOCX, XLSX = zipped("word/document.xml"), zipped("xl/workbook.xml")


SEE = text("see attached")
A = attached("a.pdf", PDF, "application/pdf")
INNER = multipart("mixed", SEE, A, boundary="inner", head=HEAD)
PLAIN_BASE64 = base64.encodebytes(PDF)
DOCUMENTS: dict[str, tuple[bytes, list[str]]] = {
    "12 base64 that the header does not declare": (
        mixed(SEE, part("Content-Type: application/pdf", PLAIN_BASE64, "7bit")),
        ["document-2.pdf"],
    ),
    "26 parts behind the end": (mixed(SEE, A) + b"--b1\n" + attached("b.pdf", PDF) + b"\n--b1--\n", ["a.pdf", "b.pdf"]),
    "26 one boundary for two multiparts": (mixed(multipart("alternative", SEE, html("see attached")), A), ["a.pdf"]),
    "02 a logo that the text shows by its place": (
        mixed(
            multipart(
                "related", html("<img src=l.png>see attached"), part("Content-Type: image/png; name=l.png", LOGO), boundary="b2"
            ),
            A,
        ),
        ["a.pdf"],
    ),
    "01 a Hebrew name without an extension": (mixed(SEE, attached("חשבונית", PDF)), ["חשבונית.pdf"]),
    "01 a type for downloads": (mixed(SEE, attached("scan", PDF, "application/force-download")), ["scan.pdf"]),
    "01 an extension that nobody knows": (mixed(SEE, attached("scan.dat", PDF)), ["scan.dat.pdf"]),
    "01 a JPEG with a date as extension": (mixed(SEE, attached("Scan 04.01.2026", SCAN)), ["Scan 04.01.2026.jpeg"]),
    "01 Word without an extension": (mixed(SEE, attached("order", DOCX)), ["order.docx"]),
    "01 a text without an extension": (mixed(SEE, attached("README", ORDER.encode())), ["README.txt"]),
    "01 a PDF as the body, with no type at all": (
        HEAD + b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(PDF),
        ["document-1.pdf"],
    ),
    "01 a PDF declared as text": (mixed(SEE, part("Content-Type: text/plain", PDF)), ["document-2.pdf"]),
    "02 two photographs in HTML alone": (
        multipart(
            "related",
            html("<img src='cid:1'><img src='cid:2'>"),
            shown(SCAN, "image/jpeg", "1", "1.jpg"),
            shown(PHOTO, "image/jpeg", "2", "2.jpg"),
            head=HEAD,
        ),
        ["1.jpg", "2.jpg"],
    ),
    "02 a black and white scan that the text shows": (
        multipart("related", html("<img src=cid:x>"), shown(black_and_white("PNG"), "image/png", "x", "scan.png"), head=HEAD),
        ["scan.png"],
    ),
    "02 a photograph in the HTML itself": (
        HEAD + html(f'<p><img src="data:image/jpeg;base64,{base64.b64encode(SCAN).decode()}"></p>'),
        ["document-1.jpeg"],
    ),
    "02 a TIFF that the text shows": (
        multipart(
            "related", html("<img src=cid:x>"), shown(black_and_white("TIFF", 400, 300), "image/tiff", "x", "s.tif"), head=HEAD
        ),
        ["s.tif"],
    ),
    "03 a Word file to which the text links": (
        multipart("related", html("<a href='cid:d'>order</a>"), shown(DOCX, "application/msword", "d", "order.docx"), head=HEAD),
        ["order.docx"],
    ),
    "03 a PDF shown as a picture": (
        multipart("related", html("<img src='cid:d'>"), shown(PDF, "application/pdf", "d", "order.pdf"), head=HEAD),
        ["order.pdf"],
    ),
    "10 two files in one text": (
        HEAD + text(f"See attached\n{uuencoded('a.pdf', PDF)}and\n{uuencoded('b.pdf', PDF)}"),
        ["a.pdf", "b.pdf"],
    ),
    "10 a file beside another one": (mixed(text(uuencoded("my scan.pdf", PDF)), A), ["my scan.pdf", "a.pdf"]),
    "10 a file by uuencode in base64": (
        HEAD + text(f"begin-base64 644 a.pdf\n{base64.encodebytes(PDF).decode()}====\n"),
        ["a.pdf"],
    ),
    "11 a forwarded mail in quoted-printable": (
        mixed(SEE, part("Content-Type: message/rfc822", INNER, "quoted-printable")),
        ["a.pdf"],
    ),
    "11 a forwarded mail as a file": (mixed(SEE, attached("order.eml", mixed(SEE, A))), ["a.pdf"]),
    "11 a forwarded mail in a forwarded mail": (
        mixed(SEE, part("Content-Type: message/rfc822", mixed(SEE, part("Content-Type: message/global", mixed(SEE, A))))),
        ["a.pdf"],
    ),
    "21 RTF and a calendar beside the text": (
        mixed(
            multipart(
                "alternative",
                SEE,
                part("Content-Type: text/rtf", r"{\rtf1 see}"),
                part("Content-Type: text/calendar", "BEGIN:VCALENDAR"),
                boundary="b2",
            ),
            A,
        ),
        ["a.pdf"],
    ),
    "21 the same document in both renderings": (
        multipart(
            "alternative",
            multipart("mixed", SEE, A, boundary="b2"),
            multipart("mixed", html("see attached"), A, boundary="b3"),
            head=HEAD,
        ),
        ["a.pdf"],
    ),
    "21 a PDF as a rendering of the text": (multipart("alternative", SEE, html("see attached"), A, head=HEAD), ["a.pdf"]),
    "22 a resource fork by its name": (
        mixed(SEE, attached("._a.pdf", b"\x00\x05\x16\x07\x00\x02\x00\x00" + bytes(40)), A),
        ["a.pdf"],
    ),
    "22 a resource fork behind its file": (
        mixed(
            SEE,
            multipart("appledouble", A, attached("a.pdf", b"\x00\x05\x16\x07\x00\x02", "application/applefile"), boundary="b2"),
        ),
        ["a.pdf"],
    ),
    "23 HTML without text": (
        mixed(SEE, A, attached("ATT00002.htm", b"<html><body>&nbsp;<br></body></html>", "text/html")),
        ["a.pdf"],
    ),
    "23 an empty file without a type": (mixed(SEE, A, attached("noname", b"")), ["a.pdf"]),
    "23 a legal notice as a file": (
        mixed(
            SEE, A, attached("ATT00001.txt", b"This message is confidential and intended only for the addressee.\n", "text/plain")
        ),
        ["a.pdf"],
    ),
    "23 what a phone added, under another name": (
        mixed(SEE, A, attached("text-1.txt", b"Sent from my Galaxy\n", "text/plain")),
        ["a.pdf"],
    ),
    "23 a text behind the document that says something": (
        mixed(SEE, A, attached("ATT00001.txt", ORDER.encode(), "text/plain")),
        ["a.pdf", "ATT00001.txt"],
    ),
    "24 an HTML body with a name": (
        mixed(html("<p>see attached</p>", '; name="mail.html"\nContent-Disposition: inline'), A),
        ["a.pdf"],
    ),
    "24 renderings with names": (
        mixed(
            multipart("alternative", text("see attached", "; name=a.txt"), html("see attached", "; name=a.html"), boundary="b2"),
            A,
        ),
        ["a.pdf"],
    ),
    "24 a text file in front of the document": (
        mixed(attached("order.txt", ORDER.encode(), "text/plain"), A),
        ["order.txt", "a.pdf"],
    ),
    "30 a JPEG named .pdf": (mixed(SEE, attached("scan.pdf", SCAN, "application/pdf")), ["scan.jpeg"]),
    "30 a PDF named .doc": (mixed(SEE, attached("order.doc", PDF, "application/msword")), ["order.pdf"]),
    "30 Word 2007 named .doc": (mixed(SEE, attached("order.doc", DOCX, "application/msword")), ["order.docx"]),
    "30 Excel 2007 named .xls, with macros": (
        mixed(SEE, attached("1.xls", XLSX), attached("2.xlsm", XLSX)),
        ["1.xlsx", "2.xlsx"],
    ),
    "30 a PNG named .txt": (mixed(SEE, attached("scan.txt", black_and_white("PNG"), "text/plain")), ["scan.png"]),
    "30 Excel with a Word file in it": (mixed(SEE, attached("stock.xls", ole("Workbook", "WordDocument"))), ["stock.xls"]),
    "31 HTML named .txt": (mixed(SEE, attached("order.txt", b"<!DOCTYPE html><p>order", "text/plain")), ["order.html"]),
    "35 a PDF behind a blank line": (mixed(SEE, attached("a.pdf", b"\r\n" + PDF)), ["a.pdf"]),
    "35 a PDF behind a header of MacBinary": (mixed(SEE, attached("a.pdf", b"\x00\x05a.pdf" + bytes(121) + PDF)), ["a.pdf"]),
    "36 a photograph with an id beside a text": (mixed(SEE, shown(PHOTO, "image/jpeg", "x", "photo.jpg")), ["photo.jpg"]),
    "36 a small picture that was attached": (mixed(SEE, attached("stamp.png", LOGO, "image/png")), ["stamp.png"]),
    "36 a small picture that is all there is": (mixed(text("\n"), shown(LOGO, "image/png", "x", "stamp.png")), ["stamp.png"]),
}
PAGES: dict[str, tuple[bytes, str, str]] = {
    "12 plain text declared as base64": (HEAD + b"Content-Transfer-Encoding: base64\n\n" + ORDER.encode(), "20 boxes", "\ufffd"),
    "15 a charset that only the HTML names": (
        HEAD + part("Content-Type: text/html", b'<meta charset="koi8-r"><p>' + "заказ".encode("koi8-r"), "8bit"),
        "заказ",
        "\ufffd",
    ),
    "10 the text around a file": (HEAD + text(f"{ORDER}{uuencoded('a.pdf', PDF)}Bye bye\n"), "Bye bye", "begin"),
    "11 the text of a forwarded mail": (
        mixed(SEE, part("Content-Type: message/rfc822", HEAD + text(ORDER), "8bit"), A),
        "From: Dana <dana@office.example>\nSubject: s\n\nPlease send 20 boxes",
        "\ufffd",
    ),
    "16 a Hebrew letter cut by a tab": (
        HEAD + part("Content-Type: text/plain", "הזמ".encode() + b"\xd7\n\t\xa0\xd7\x94", "8bit"),
        "הזמנה",
        "\ufffd",
    ),
    "20 a note in Hebrew": (
        multipart(
            "alternative",
            text("הודעה זו כתובה ב-HTML, ותוכנת הדואר אינה מציגה אותה (email client)"),
            html(f"<p>{ORDER}"),
            head=HEAD,
        ),
        "20 boxes",
        "תוכנת",
    ),
    "20 a plain text that says much less": (
        multipart("alternative", text("Order 17"), html(f"<p>Order 17</p><p>{ORDER * 5}"), head=HEAD),
        "20 boxes",
        "\ufffd",
    ),
    "20 an empty plain text": (multipart("alternative", text("\n"), html(f"<p>{ORDER}"), head=HEAD), "20 boxes", "\ufffd"),
    "20 a plain text beside the same HTML": (
        multipart("alternative", text(f"plain: {ORDER}"), html(f"<p>{ORDER}"), head=HEAD),
        "plain:",
        "<p>",
    ),
    "20 HTML behind a plain text that is no rendering of it": (
        mixed(text("first"), html("<b>second</b>")),
        "first\nsecond",
        "<b>",
    ),
    "31 HTML declared as plain text": (HEAD + text(f"<html><body><p>{ORDER}</body></html>"), "20 boxes", "<p>"),
    "33 a text that PGP signed": (
        HEAD
        + text(
            f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{ORDER}- -- \nDana\n-----BEGIN PGP SIGNATURE-----\n\n"
            f"{'iQEzBAEBCgAdFiEE' * 4}\n-----END PGP SIGNATURE-----\n"
        ),
        "20 boxes",
        "PGP",
    ),
    "36 marks of pictures": (HEAD + text(f"{ORDER}[cid:image001.png@01D] [image: logo.png]\n"), "20 boxes", "image"),
}
REFUSED: dict[str, tuple[bytes, str]] = {
    "10 a file that is cut off": (HEAD + text(uuencoded("a.pdf", PDF)[:-40]), "uuencode) is cut off"),
    "10 BinHex": (
        HEAD + text('(This file must be converted with BinHex 4.0)\n:$f*TEQKPH#jbAh3ZR0"dC3!3!*!%!3!!*!i!!\n'),
        "BinHex",
    ),
    "10 yEnc": (HEAD + text("=ybegin line=128 size=584 name=a.pdf\nxxxx\n"), "yEnc"),
    "10 a file in base64": (HEAD + text(f"see\n\n{base64.encodebytes(PDF).decode()}"), "base64"),
    "10 a file in base64 beside a document": (mixed(text(f"see\n{base64.encodebytes(PDF).decode()}"), A), "base64"),
    "10 the lines of a file without its beginning": (HEAD + text(uuencoded("a.pdf", SCAN).split("\n", 1)[1]), "uuencode"),
    "08 the source of a mail": (
        HEAD + text("see attached\n--x\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\nJVBERi0x"),
        "source of a mail",
    ),
    "14 quoted-printable that nobody declared": (
        HEAD + text(binascii.b2a_qp((ORDER + "שלום רב, מצורפת הזמנה " * 9).encode()).decode()),
        "quoted-printable",
    ),
    "21 RTF without a text": (
        multipart("alternative", part("Content-Type: text/rtf; name=a.rtf", r"{\rtf1 see}"), head=HEAD),
        "Rich Text",
    ),
    "23 an empty document": (mixed(SEE, A, attached("b.pdf", b"")), "b.pdf cannot be faxed: it is empty"),
    "31 HTML named .doc": (mixed(SEE, attached("order.doc", b"<html><p>order")), "its content is HTML, not DOC"),
    "31 a table with tabs named .xlsx": (mixed(SEE, attached("order.xlsx", b"a\tb\n1\t2\n")), "its content is TXT, not XLSX"),
    "32 a piece in a multipart": (
        mixed(SEE, part("Content-Type: message/partial; id=x; number=2; total=3", "x", "7bit")),
        "divided mail",
    ),
    "32 a document that is elsewhere": (
        mixed(SEE, part("Content-Type: message/external-body; access-type=ftp; name=x", "\n", "7bit")),
        "message/external-body",
    ),
    "33 opaque S/MIME as octet-stream": (HEAD + attached("smime.p7m", b"0\x80\x06\x09"), "signed or encrypted as a whole"),
    "33 opaque S/MIME with the older type": (
        HEAD + part("Content-Type: application/x-pkcs7-mime; smime-type=enveloped-data", b"0\x80"),
        "encrypted",
    ),
    "33 PGP/MIME": (
        multipart(
            "encrypted",
            part("Content-Type: application/pgp-encrypted", "Version: 1", "7bit"),
            attached("encrypted.asc", b"x"),
            head=HEAD,
        ),
        "encrypted (PGP)",
    ),
    "33 PGP in the text": (
        HEAD + text("-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----\n"),
        "encrypted message (PGP)",
    ),
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_documents_of_each_kind_of_mail(kind: str, tmp_path: Path) -> None:
    raw, names = DOCUMENTS[kind]
    assert [document.name for document in read(tmp_path, raw).documents] == names


@pytest.mark.parametrize("kind", PAGES)
def test_page_of_each_kind_of_mail(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, has, lacks = PAGES[kind]
    names, content = read_with_text(tmp_path, raw, monkeypatch)
    assert names[0] == "page.pdf"
    assert has in content
    assert lacks not in content


@pytest.mark.parametrize("kind", REFUSED)
def test_refusal_of_each_kind_of_mail(kind: str, tmp_path: Path) -> None:
    raw, words = REFUSED[kind]
    reply = refused(tmp_path, raw)
    assert reply.startswith("554 5.6.")
    assert words in reply
