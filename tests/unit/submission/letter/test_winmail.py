"""winmail.dat in a mail: its files are documents, logos or refused by name, and its text counts where there is no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.submission.letter import tnef_writer as writer
from tests.unit.submission.letter.letter_fixtures import PDF, black_and_white, picture, read, read_with_text, refused
from tests.unit.submission.letter.mail_writer import ORDER, attached, mixed, part, text

SCAN, LOGO = picture("JPEG", 1240, 1754), picture("PNG", 120, 60)
SEE, A = text("see attached"), attached("a.pdf", PDF, "application/pdf")


def winmail(*attributes: bytes) -> bytes:
    return attached("winmail.dat", writer.stream(*attributes), "application/ms-tnef")


PACKED = writer.attachment("CONTRA~1.PDF", PDF, writer.long_name("contract 17.pdf"))
HIDDEN_LOGO = writer.attachment("image001.png", LOGO, writer.HIDDEN)
RICH = writer.message(writer.variable(0x1009, writer.BINARY, writer.rtf("{\\rtf1\\ansi " + ORDER + "\\par}")))
# A `+` and a blank, which a URL in HTML may write as %2B and %20.
SHOWN_LOGO = (
    writer.message(writer.variable(0x1013, writer.BINARY, b'<p>see attached<img src="cid:a%2Bb%20c@x"></p>')),
    writer.attachment("image001.png", LOGO, writer.variable(0x3712, writer.UNICODE, "<a+b c@x>\0".encode("utf-16-le"))),
)
INNER_MESSAGE = writer.embedded(writer.stream(writer.text(ORDER), writer.attachment("b.pdf", PDF)))
DOCUMENTS: dict[str, tuple[bytes, list[str]]] = {
    "winmail.dat with a document and a logo": (mixed(SEE, winmail(PACKED, HIDDEN_LOGO)), ["contract 17.pdf"]),
    "winmail.dat with a photograph in the text": (
        mixed(SEE, winmail(writer.attachment("p.jpg", SCAN, writer.HIDDEN))),
        ["p.jpg"],
    ),
    "winmail.dat with a logo that its HTML names": (mixed(SEE, winmail(*SHOWN_LOGO, PACKED)), ["contract 17.pdf"]),
    "winmail.dat by its content": (mixed(SEE, attached("ATT00001.dat", writer.stream(PACKED))), ["contract 17.pdf"]),
    "winmail.dat beside a document": (mixed(SEE, A, winmail(writer.text("see attached"))), ["a.pdf"]),
    "winmail.dat in a forwarded mail": (
        mixed(SEE, part("Content-Type: message/rfc822", mixed(SEE, winmail(PACKED)))),
        ["contract 17.pdf"],
    ),
    "winmail.dat with a message in it": (
        mixed(SEE, winmail(PACKED, writer.attachment("m", None, INNER_MESSAGE))),
        ["page.pdf", "contract 17.pdf", "b.pdf"],
    ),
    "winmail.dat with a PNG named .pdf": (
        mixed(SEE, winmail(writer.attachment("scan.pdf", black_and_white("PNG")))),
        ["scan.png"],
    ),
}
PAGES: dict[str, tuple[bytes, str, str]] = {
    "winmail.dat with the only text": (mixed(text("\n"), winmail(writer.text(ORDER), PACKED)), "20 boxes", "\ufffd"),
    "winmail.dat with Rich Text alone": (mixed(winmail(RICH)), "20 boxes", "rtf"),
    "winmail.dat beside a text": (mixed(text("the text"), winmail(writer.text(ORDER))), "the text", "20 boxes"),
}
REFUSED: dict[str, tuple[bytes, str]] = {
    "winmail.dat that is cut off": (mixed(SEE, attached("winmail.dat", writer.stream(PACKED)[:-30])), "Rich Text"),
    "winmail.dat with an object of another program": (
        mixed(SEE, winmail(writer.attachment("Chart", None, writer.ole_object(b"\xd0\xcf\x11\xe0")))),
        "Chart cannot be faxed: Outlook embedded it",
    ),
    "winmail.dat with a link": (mixed(SEE, winmail(writer.attachment("web.pdf", None))), "web.pdf cannot be faxed"),
    "winmail.dat with a program": (
        mixed(SEE, winmail(writer.attachment("a.exe", b"MZ\x00"))),
        "a.exe cannot be faxed: only",
    ),
    "winmail.dat in winmail.dat": (
        mixed(SEE, winmail(writer.attachment("winmail.dat", writer.stream(PACKED)))),
        "several times",
    ),
    "winmail.dat with Rich Text that cannot be read": (
        mixed(winmail(writer.message(writer.variable(0x1009, writer.BINARY, b"xyz")))),
        "Rich Text cannot be read",
    ),
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_documents_of_winmail_dat(kind: str, tmp_path: Path) -> None:
    raw, names = DOCUMENTS[kind]
    letter = read(tmp_path, raw)
    assert [document.name for document in letter.documents] == names
    for document in letter.documents:
        if document.path.endswith(".derived") and document.name.endswith("17.pdf"):
            assert letter.derived[document.offset : document.offset + document.length] == PDF


@pytest.mark.parametrize("kind", PAGES)
def test_text_of_winmail_dat(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, has, lacks = PAGES[kind]
    names, content = read_with_text(tmp_path, raw, monkeypatch)
    assert names[0] == "page.pdf"
    assert has in content
    assert lacks not in content


@pytest.mark.parametrize("kind", REFUSED)
def test_refusal_of_winmail_dat(kind: str, tmp_path: Path) -> None:
    raw, words = REFUSED[kind]
    reply = refused(tmp_path, raw)
    assert reply.startswith("554 5.6.")
    assert words in reply


def test_what_is_passed_over_in_winmail_dat_is_named(tmp_path: Path) -> None:
    assert read(tmp_path, mixed(SEE, winmail(PACKED, HIDDEN_LOGO))).passed_over == ("image001.png",)
    assert read(tmp_path, mixed(SEE, A, winmail(writer.text("x")))).passed_over == ("winmail.dat",)
