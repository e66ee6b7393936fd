"""Pages as pictures: small, in the right proportions, and a document that cannot be shown says why."""

from __future__ import annotations

import io
import random
from typing import Any

import pypdfium2
import pytest
from PIL import Image

from mailbridge.page import page_picture
from mailbridge.page.page_picture import CannotShow, render_page
from mailbridge.page.text_page import render


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def picture(kind: str, image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pdf(width: float, height: float, pages: int = 1) -> bytes:
    document: Any = pypdfium2.PdfDocument.new()
    for _ in range(pages):
        document.new_page(width, height)
    file = io.BytesIO()
    document.save(file)
    document.close()
    return file.getvalue()


def why_not(document: bytes, number: int = 1) -> str:
    with pytest.raises(CannotShow) as raised:
        render_page(document, number, 300)
    return raised.value.reason


def test_a_page_of_text_is_readable_and_small() -> None:
    document = render("שלום, this is a letter. " * 400)[0]
    shown = render_page(document, 1, 900)
    image = opened(shown.png)
    assert (image.format, image.width, shown.pages) == ("PNG", 900, 3)
    assert len(shown.png) < 60_000
    assert image.convert("L").getextrema() == (0, 255)
    assert render_page(document, 3, 900).png != shown.png
    assert opened(render_page(document, 1, 220).png).width == 220


def test_even_noise_makes_a_small_picture() -> None:
    noise = Image.frombytes("L", (1700, 2200), random.Random(1).randbytes(1700 * 2200))
    assert len(render_page(picture("PNG", noise), 1, 900).png) < 60_000


def test_what_was_filled_into_a_form_is_shown() -> None:
    field = b"/Type/Annot/Subtype/Widget/FT/Tx/T(name)/V(X)/Rect[20 20 180 180]/MK<</BG[0 0 0]>>/F 4"
    form = (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[4 0 R]/NeedAppearances true>>>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Annots[4 0 R]>>endobj\n"
        b"4 0 obj<<" + field + b">>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    )
    assert opened(render_page(form, 1, 200).png).convert("L").getextrema()[0] == 0


@pytest.mark.parametrize(
    ("dots", "size"), [((204, 98), (900, 1193)), ((204, 196), (900, 596)), ((0, 0), (900, 573)), (None, (900, 573))]
)
def test_a_fax_has_the_proportions_of_its_paper(dots: tuple[int, int] | None, size: tuple[int, int]) -> None:
    """The standard resolution has half as many lines as columns; shown as they are, letters would be squeezed."""
    options: dict[str, Any] = {} if dots is None else {"dpi": dots}
    tiff = picture("TIFF", Image.new("1", (1728, 1100), 1), compression="group4", **options)
    assert opened(render_page(tiff, 1, 900).png).size == size


def test_each_page_of_a_tiff_is_shown() -> None:
    black = Image.new("1", (200, 200), 0)
    tiff = picture("TIFF", Image.new("1", (200, 200), 1), save_all=True, append_images=[black])
    shown = [render_page(tiff, number, 100) for number in (1, 2)]
    assert [opened(one.png).convert("L").getextrema() for one in shown] == [(255, 255), (0, 0)]
    assert [one.pages for one in shown] == [2, 2]
    assert why_not(tiff, 3) == "page"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_pixels_becomes_grey_and_paper_is_white(mode: str) -> None:
    white: dict[str, Any] = {"I;16": 65535, "LA": (0, 0), "RGBA": (0, 0, 0, 0), "P": 0, "RGB": (255, 255, 255)}
    image = Image.new(mode, (50, 50), white.get(mode, 255))
    options: dict[str, Any] = {"transparency": 0} if mode == "P" else {}
    assert opened(render_page(picture("PNG", image, **options), 1, 100).png).convert("L").getextrema() == (255, 255)


def test_a_photograph_is_turned_as_its_camera_says() -> None:
    image = Image.new("RGB", (400, 200), "white")
    exif = image.getexif()
    exif[274] = 6
    assert opened(render_page(picture("JPEG", image, exif=exif), 1, 100).png).size == (100, 200)


def test_pages_of_absurd_size_stay_small() -> None:
    for wide, high in ((1, 14_000), (14_000, 1), (0.01, 0.01), (5, 200_000)):
        image = opened(render_page(pdf(wide, high), 1, 300).png)
        assert image.width <= 300
        assert image.height <= 1200


def test_what_cannot_be_shown_says_why() -> None:
    assert why_not(b"PK\x03\x04 a document of Word") == "kind"
    assert why_not(b"hello") == "kind"
    assert why_not(b"") == "kind"
    assert why_not(b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>") == "kind"
    assert why_not(b"%PDF-1.4 broken") == "damaged"
    assert why_not(b"\xff\xd8\xff broken") == "damaged"
    assert why_not(picture("PNG", Image.new("L", (500, 500), 7))[:40]) == "damaged"
    assert [why_not(pdf(100, 100, 2), number) for number in (0, -1, 3, 2**40)] == ["page"] * 4
    assert why_not(LOCKED) == "locked"


def test_a_decompression_bomb_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_picture, "_MOST_PIXELS", 1_000_000)
    assert why_not(picture("PNG", Image.new("1", (2000, 2000)))) == "limits"


def test_a_document_that_takes_all_memory_is_over_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(page_picture, "_page_of_pdf", exhausted)
    assert why_not(pdf(100, 100)) == "limits"


def locked() -> bytes:
    from fpdf import FPDF

    made = FPDF()
    made.set_encryption(owner_password="owner", user_password="user")
    made.add_page()
    return bytes(made.output())


LOCKED = locked()
