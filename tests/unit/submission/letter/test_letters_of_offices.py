"""Mails as offices send them, of kinds that nobody reported yet: what each yields, its page, or its refusal."""

from __future__ import annotations

import base64
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.submission.letter.letter_fixtures import PDF, picture, read, read_with_text, refused
from tests.unit.submission.letter.mail_writer import HEAD, ORDER, attached, html, mixed, multipart, part, shown, text

SEE = text("see attached")
A = attached("a.pdf", PDF, "application/pdf")
PNG, JPEG = picture("PNG", 1240, 1754), picture("JPEG", 1240, 1754)
LOGO, SCREEN = picture("PNG", 120, 60), picture("PNG", 480, 700)


def stored(*names: str) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name in names:
            archive.writestr(name, PDF)
    return written.getvalue()


def tar(*names: str) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(PDF)
            archive.addfile(entry, io.BytesIO(PDF))
    return written.getvalue()


def photograph(width: int, height: int) -> bytes:
    written, exif = io.BytesIO(), Image.Exif()
    exif[271] = "Apple"
    Image.effect_noise((width, height), 90).save(written, "JPEG", exif=exif)
    return written.getvalue()


def tiff_with_its_directory_first() -> bytes:
    written = io.BytesIO()
    Image.effect_noise((800, 1100), 90).save(written, "TIFF")
    return written.getvalue()


def related(content: str, *pictures: bytes) -> bytes:
    return multipart("related", html(content), *pictures, head=HEAD)


DOCUMENTS: dict[str, tuple[bytes, list[str]]] = {
    "an empty text in base64": (mixed(part("Content-Type: text/plain; charset=utf-8", "\r\n"), A), ["a.pdf"]),
    "a text that mentions the signature of PDF": (
        mixed(SEE, attached("note.txt", b"Such a file begins with %PDF-1.4, as you know.\n", "text/plain")),
        ["note.txt"],
    ),
    "a PDF behind the commands of a printer": (
        mixed(SEE, attached("j.pdf", b"\x1b%-12345X@PJL\r\n@PJL ENTER LANGUAGE=PDF\r\n" + PDF)),
        ["j.pdf"],
    ),
    "a photograph with a film behind it": (
        mixed(SEE, attached("IMG_1.jpg", JPEG + b"mdat\xff\xda" * 9, "image/jpeg")),
        ["IMG_1.jpg"],
    ),
    "a PNG with something behind its end": (mixed(SEE, attached("s.png", PNG + b"x" * 200, "image/png")), ["s.png"]),
    "a small photograph of a phone without a word": (
        multipart(
            "alternative",
            text("[image0.jpeg]\n\nSent from my iPhone"),
            multipart(
                "related",
                html('<img src="cid:ii"><div>Sent from my iPhone</div>'),
                shown(picture("JPEG", 320, 427), "image/jpeg", "ii", "image0.jpeg"),
                boundary="r",
            ),
            head=HEAD,
        ),
        ["image0.jpeg"],
    ),
    "a small photograph of a phone in a letter with a document": (
        mixed(
            multipart(
                "related",
                html(f"<img src='cid:p'><p>{ORDER}</p>"),
                shown(photograph(320, 427), "image/jpeg", "p", "1.jpg"),
                boundary="r",
            ),
            A,
        ),
        ["page.pdf", "1.jpg", "a.pdf"],
    ),
    "a part of a screen between the sentences": (
        related(f"<p>{ORDER}</p><img src=cid:s><p>as shown</p>", shown(SCREEN, "image/png", "s", "s.png")),
        ["page.pdf", "s.png"],
    ),
    "a part of a screen below the only sentence": (
        related("<p>as in the picture</p><img src=cid:s>", shown(SCREEN, "image/png", "s", "s.png")),
        ["page.pdf", "s.png"],
    ),
    "a wide part of a screen": (
        related("<p>as in the picture</p><img src=cid:s>", shown(picture("PNG", 1000, 200), "image/png", "s", "s.png")),
        ["page.pdf", "s.png"],
    ),
    "a part of a screen in a forwarded letter": (
        related(
            f"FYI<p>From: a<br>Sent: b<br>To: c<br>Subject: d</p><p>{ORDER}</p><img src=cid:s>",
            shown(SCREEN, "image/png", "s", "s.png"),
        ),
        ["page.pdf", "s.png"],
    ),
    "a part of a screen in what a covering text quotes": (
        mixed(
            multipart(
                "related",
                html(f"see attached<p>From: a<br>Sent: b<br>To: c<br>Subject: d</p><p>{ORDER}</p><img src=cid:s>"),
                shown(SCREEN, "image/png", "s", "s.png"),
                boundary="r",
            ),
            A,
        ),
        ["a.pdf"],
    ),
    "a large logo in a signature": (
        related(
            f"<p>{ORDER}</p><p>Best regards,<br>Dana Levi<br>Tel: 03-1234567</p><img src=cid:s>",
            shown(SCREEN, "image/png", "s", "s.png"),
        ),
        ["page.pdf"],
    ),
    "a portrait in a signature": (
        related(
            f"<p>{ORDER}</p><p>Regards,<br>Dana</p><img src=cid:s>", shown(photograph(200, 200), "image/jpeg", "s", "me.jpg")
        ),
        ["page.pdf"],
    ),
    "a large logo below a name": (
        related(f"<p>{ORDER}</p><p>Dana Levi<br></p><img src=cid:s>", shown(SCREEN, "image/png", "s", "s.png")),
        ["page.pdf"],
    ),
    "a small logo between the sentences": (
        related(f"<p>{ORDER}</p><img src=cid:s><p>as shown</p>", shown(LOGO, "image/png", "s", "s.png")),
        ["page.pdf"],
    ),
    "a banner above the text beside a document": (
        mixed(
            multipart(
                "related",
                html("<img src=cid:s><p>see attached</p>"),
                shown(picture("PNG", 600, 200), "image/png", "s", "s.png"),
                boundary="r",
            ),
            A,
        ),
        ["a.pdf"],
    ),
    "a line that a relay marked, beside a document": (
        mixed(text("See attached.\n>From Sunday on deliver only to Herzl 7\n"), A),
        ["page.pdf", "a.pdf"],
    ),
    "what phones write in other languages": (
        mixed(text("see attached\n\nОтправлено с iPhone\n"), A, text("أرسلت من الـ iPhone\n")),
        ["a.pdf"],
    ),
    "how a parcel was sent, beside a document": (
        mixed(text("Sent by courier to your branch in Haifa, sign on the third page\n"), A),
        ["page.pdf", "a.pdf"],
    ),
}
DOCUMENTS |= {
    "a PDF in HTML itself": (
        HEAD + html(f'<p>See <a href="data:application/pdf;base64,{base64.b64encode(PDF).decode()}">the order</a></p>'),
        ["document-1.pdf"],
    ),
    "a link to a further file beside a document": (
        mixed(text("see attached\nplan.pdf <https://drive.google.com/file/d/x/view>\n"), A),
        ["page.pdf", "a.pdf"],
    ),
}
PAGES: dict[str, tuple[bytes, str, str]] = {
    "HTML with a table that the plain text lacks": (
        multipart(
            "alternative",
            text("Order\nPaper 20\n"),
            html(
                "<p>Order</p><table><tr><td>Paper</td><td>20</td></tr>"
                "<tr><td>Toner black</td><td>3</td></tr><tr><td>Deliver to</td><td>Herzl 7, Haifa, on Thursday</td></tr></table>"
            ),
            head=HEAD,
        ),
        "Deliver to\tHerzl 7",
        "<td>",
    ),
    "a plain text with the addresses of links": (
        multipart(
            "alternative",
            text("Please *deliver* 20 boxes <https://www.example.co.il/a/b/c/d>, see plan below"),
            html("<p>Please <b>deliver</b> 20 boxes, see plan below</p>"),
            head=HEAD,
        ),
        "<https://www.example.co.il/a/b/c/d>",
        "</b>",
    ),
    "text/enriched": (
        HEAD
        + part(
            "Content-Type: text/enriched", "<bold>Send</bold> <color><param>red</param>20</color> & <<7>\n\nto Herzl\n7", "7bit"
        ),
        "Send 20 & <7>\nto Herzl 7",
        "red",
    ),
    "a link with more than covering words": (
        HEAD + text(f"{ORDER}The plan: https://drive.google.com/file/d/x\n"),
        "20 boxes",
        "\ufffd",
    ),
    "soft line breaks with blanks behind them": (
        HEAD + b"Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n=D7=A9=  \n=D7=9C=\t\n=D7=95\n",
        "שלו",
        "=",
    ),
    "a line that a relay marked": (HEAD + text(">From Sunday on we deliver.\n"), "From Sunday", ">"),
    "marks of pictures and files": (HEAD + text(f"{ORDER}[image0.jpeg]\n<scan 7.pdf>\n"), "20 boxes", "scan"),
}
REFUSED: dict[str, tuple[bytes, str]] = {
    "a zip of PDFs that are not compressed": (
        mixed(SEE, attached("docs.zip", stored("a.pdf", "b.pdf"), "application/zip")),
        "docs.zip cannot be faxed: it is an archive",
    ),
    "a zip named .pdf": (
        mixed(SEE, attached("docs.pdf", stored("a.pdf"), "application/pdf")),
        "docs.pdf cannot be faxed: it is an archive",
    ),
    "a zip without an extension": (mixed(SEE, attached("docs", stored("a.pdf"))), "docs cannot be faxed: it is an archive"),
    "a tar of PDFs": (mixed(SEE, attached("docs", tar("a.pdf", "b.pdf"))), "docs cannot be faxed: it is an archive"),
    "a language that the font lacks": (HEAD + text("注文書 20 箱をお送りください\n"), "letters that cannot be printed, such as"),
    "a text whose letters a program lost": (
        HEAD + text("\ufffd\ufffd\ufffd\ufffd \ufffd\ufffd 4471 \ufffd\ufffd ok\n"),
        "damaged letters",
    ),
    "a text whose letters a program made question marks": (
        HEAD + text("???? ??, ??? ???? 20 ?????: Herzl 7\n"),
        "damaged letters",
    ),
    "a contact and no text": (
        mixed(text("\n"), attached("dana.vcf", b"BEGIN:VCARD\nEND:VCARD\n", "text/vcard")),
        "it has no text (dana.vcf cannot be faxed); attach a document",
    ),
    "half a JPEG": (mixed(SEE, attached("j.jpg", JPEG[: len(JPEG) // 2], "image/jpeg")), "j.jpg cannot be faxed: it is cut off"),
    "half a PNG": (mixed(SEE, attached("p.png", PNG[: len(PNG) // 2], "image/png")), "p.png cannot be faxed: it is cut off"),
    "half a photograph with a small one in its header": (
        mixed(SEE, attached("j.jpg", JPEG[:2] + b"\xff\xe1\x00\x08Ex\xff\xd9.." + JPEG[2:9000], "image/jpeg")),
        "cut off",
    ),
    "a file of Gmail that is only linked": (
        multipart(
            "alternative",
            text("see attached\n order.pdf\n<https://drive.google.com/file/d/x/view?usp=drive_web>\n"),
            html("<p>see attached</p><a href='https://drive.google.com/file/d/x/view?usp=drive_web'>order.pdf</a>"),
            head=HEAD,
        ),
        "only a link to a file",
    ),
    "a file of Outlook that is only linked": (
        HEAD + html("<a href='https://firm-my.sharepoint.com/:b:/g/personal/x'>order 17.pdf</a><p>שלום,<br>מצורפת ההזמנה</p>"),
        "only a link to a file",
    ),
    "a file of Apple Mail that is only linked": (
        HEAD
        + html("<p>See attached</p><a href='https://www.icloud.com/attachment/?u=x'>Click to Download</a><br>a.pdf<br>50 MB"),
        "only a link to a file",
    ),
    "nothing but what a phone adds": (HEAD + text("\n\nSent from my iPhone\n"), "has nothing to fax"),
    "nothing but what a scanner adds": (
        HEAD + text('This E-mail was sent from "RNP583879B1234" (MP C3004).\n\nScan Date: 24.11.2026 10:12:31 (+0200)\n'),
        "has nothing to fax",
    ),
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_documents(kind: str, tmp_path: Path) -> None:
    raw, expected = DOCUMENTS[kind]
    assert [document.name for document in read(tmp_path, raw).documents] == expected


@pytest.mark.parametrize("kind", PAGES)
def test_page(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, has, lacks = PAGES[kind]
    names, content = read_with_text(tmp_path, raw, monkeypatch)
    assert names == ["page.pdf"]
    assert has in content
    assert lacks not in content


def test_letters_that_the_page_lacks_are_named(tmp_path: Path) -> None:
    letter = read(tmp_path, HEAD + text(f"{ORDER} 小米\n"))
    assert letter.passed_over == ("letters that cannot be printed: 小米",)


def test_reply_that_names_files_fits_a_line_of_smtp(tmp_path: Path) -> None:
    contacts = [attached(f"{number}{'x' * 90}.vcf", b"BEGIN:VCARD\nEND:VCARD\n", "text/vcard") for number in range(9)]
    assert len(refused(tmp_path, mixed(text("\n"), *contacts))) < 500


@pytest.mark.parametrize("kind", REFUSED)
def test_refusal(kind: str, tmp_path: Path) -> None:
    raw, words = REFUSED[kind]
    assert words in refused(tmp_path, raw)


def test_tiff_whose_picture_is_cut_off(tmp_path: Path) -> None:
    whole = tiff_with_its_directory_first()
    directory = int.from_bytes(whole[4:8], "little")
    assert directory < 100  # the directory comes first, so that only the picture is cut
    assert "cut off" in refused(tmp_path, mixed(SEE, attached("t.tif", whole[: len(whole) // 2], "image/tiff")))
