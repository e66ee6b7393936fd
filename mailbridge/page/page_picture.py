"""One page of a document as a picture, for people to look at: PNG in few shades of grey, as a fax has no more."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image, ImageOps

from mailbridge.page.shown_page import NotShown, ShownPage

# Bytes of a PNG, if fewer shades or pixels can make it so small.
_SMALL: Final = 60_000
# A page may be so many times as high as it is wide, such as a till receipt; a higher one is made narrower.
_HIGHEST: Final = 4
_MOST_PIXELS: Final = 89_478_485  # of a picture that is decoded: Pillow's own limit
_MOST_PAGES: Final = 10_000
# Shades of grey, and the part of the width, from good to small.
_STEPS: Final = ((16, 1.0), (4, 1.0), (4, 0.7), (2, 0.7), (2, 0.5))
_SIGNATURES: Final = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
}


class CannotShow(Exception):
    """A page cannot be shown; `reason` says why."""

    def __init__(self, reason: NotShown) -> None:
        super().__init__(reason)
        self.reason: NotShown = reason


def render_page(document: bytes, number: int, width: int) -> ShownPage:
    """Return page `number` (1 for the first) of a PDF or picture, `width` pixels wide or less. Raises CannotShow."""
    image, pages = page_image(document, number, width)
    return ShownPage(png=_png(image.convert("L")), pages=pages)


def page_image(document: bytes, number: int, width: int) -> tuple[Image.Image, int]:
    """Return a page as an image of about this width, and how many pages there are. Raises CannotShow."""
    kind = _kind(document)
    if kind is None:
        raise CannotShow("kind")
    try:
        return _page_of_pdf(document, number, width) if kind == "PDF" else _page_of_picture(document, kind, number, width)
    except CannotShow:
        raise
    except MemoryError:
        raise CannotShow("limits") from None
    except Exception:  # a hostile document may raise anything
        raise CannotShow("damaged") from None


def _kind(document: bytes) -> str | None:
    if b"%PDF-" in document[:1024]:
        return "PDF"
    if document[:4] == b"RIFF" and document[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for signature, kind in _SIGNATURES.items() if document.startswith(signature)), None)


@contextmanager
def _opened_pdf(document: bytes) -> Iterator[Any]:
    try:
        opened = pypdfium2.PdfDocument(document)
    except pypdfium2.PdfiumError as error:
        raise CannotShow("locked" if error.err_code == pdfium.FPDF_ERR_PASSWORD else "damaged") from None
    try:
        yield opened
    finally:
        opened.close()


def _page_of_pdf(document: bytes, number: int, width: int) -> tuple[Image.Image, int]:
    with _opened_pdf(document) as opened:
        pages = len(opened)
        if not 1 <= number <= min(pages, _MOST_PAGES):
            raise CannotShow("page")
        opened.init_forms()  # what was filled in is drawn
        page = opened[number - 1]
        wide, high = page.get_size()
        scale = min(width / max(wide, 1), width * _HIGHEST / max(high, 1))
        image: Image.Image = page.render(scale=scale, grayscale=True).to_pil()
        return image.copy(), pages


def _page_of_picture(document: bytes, kind: str, number: int, width: int) -> tuple[Image.Image, int]:
    Image.MAX_IMAGE_PIXELS = None  # checked below
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(document), formats=[kind]) as image:
            pages = min(getattr(image, "n_frames", 1), _MOST_PAGES) if kind == "TIFF" else 1
            if not 1 <= number <= pages:
                raise CannotShow("page")
            if kind == "TIFF":
                image.seek(number - 1)
            if image.width * image.height > _MOST_PIXELS:
                raise CannotShow("limits")
            image.draft("L", (width, width * _HIGHEST))
            dots = image.info.get("dpi", (1, 1))
            grey = _on_paper(ImageOps.exif_transpose(image))
    method = Image.Resampling.BOX if grey.width > width else Image.Resampling.BICUBIC
    return grey.resize(_size(grey.size, dots, width), method), pages


def _on_paper(image: Image.Image) -> Image.Image:
    """Return the picture in shades of grey; paper shows where it is transparent."""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    if "A" not in image.getbands():
        return image.convert("L")
    paper = Image.new("L", image.size, 255)
    paper.paste(image.convert("L"), mask=image.getchannel("A"))
    return paper


def _size(size: tuple[int, int], dots: tuple[float, float], width: int) -> tuple[int, int]:
    """Return the size of a page of `width` pixels: a fax has up to twice as many dots per inch across as down (ITU-T T.4)."""
    across, down = (float(one) for one in dots)
    stretch = across / down if across > 0 and down > 0 and 0.2 < across / down < 5 else 1.0
    high = size[1] * stretch * width / size[0]
    scale = min(1.0, width * _HIGHEST / high)
    return max(1, round(width * scale)), max(1, round(high * scale))


def _png(image: Image.Image) -> bytes:
    content = b""
    for shades, part in _STEPS:
        wanted = (max(1, round(image.width * part)), max(1, round(image.height * part)))
        smaller = image if part == 1 else image.resize(wanted, Image.Resampling.BOX)
        content = _encode(smaller, shades)
        if len(content) <= _SMALL:
            break
    return content


def _encode(image: Image.Image, shades: int) -> bytes:
    step = 255 / (shades - 1)
    few = image.point([round(value / step) for value in range(256)]).convert("P")
    few.putpalette([round(index * step) for index in range(shades) for _ in range(3)])
    written = io.BytesIO()
    few.save(written, "PNG", bits={16: 4, 4: 2, 2: 1}[shades], optimize=False, compress_level=6)
    return written.getvalue()
