"""Pictures: their size and pages, and those that MyFax does not take turned into PNG.

The largest that are converted take about 2 s of processor time, and 620 MiB of a worker's address space; see docs/decisions.md.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageOps

from mailbridge.errors import Refused

MAX_PAGES = 1000
MAX_PIXELS = 89_478_485  # Pillow's own limit: an A3 page at 600 dpi fits, a decompression bomb does not
# Of a picture that is decoded here, so that it fits into the memory of a worker. Photographs of phones have up to 48 megapixels.
MAX_CONVERTED_PIXELS = {"webp": 25_000_000, "heic": 50_000_000, "bmp": 50_000_000, "gif": 50_000_000}
_LONGEST_SIDE = 2600  # pixels of a converted picture: a fax has about 200 dots per inch, which are 2340 for A4
_COMPRESSION = 3  # of PNG; the usual 6 takes twice as long and saves 4 %
DAMAGED = "it is damaged; save or scan it again, and attach the new file"
CUT_OFF = "it is cut off; save or scan it again, and attach the new file"
LOCKED = "it is protected by a password; save it without the password, and attach that"
_SCAN = b"\xda"  # marks the picture in a JPEG, behind its header
_MAX_SEGMENTS = 10_000  # of the header of a JPEG
_TAIL = 64  # bytes in which the end of a sound PNG is found
_ERRORS = (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, EOFError)


def refusal(name: str, reason: str) -> Refused:
    """Return the refusal of one file: 554 5.6.1 with its name and the reason."""
    return Refused(f"554 5.6.1 The file {name} cannot be faxed: {reason}")


def load_pictures() -> bool:
    """Load the readers of every kind of picture, which are otherwise loaded when needed; return whether HEIC is among them."""
    Image.init()
    return _can_read_heic()


def image_size(content: bytes | memoryview) -> tuple[int, int] | None:
    """Return the width and height of an image in pixels, from its header; None if the header cannot be read."""
    try:
        with _opened(content, None) as image:
            size: tuple[int, int] = image.size
            return size
    except _ERRORS:
        return None


def is_photograph(content: bytes | memoryview) -> bool:
    """Return whether a camera made a JPEG: it writes its name into the file (EXIF, tags Make and Model)."""
    try:
        with _opened(content, "jpeg") as image:
            exif = image.getexif()
            return 271 in exif or 272 in exif
    except _ERRORS:
        return False


def count_pages(name: str, kind: str, content: bytes | memoryview) -> int:
    """Return the pages of a picture, which only TIFF has more than one of. Raises Refused for a damaged or too large one."""
    if is_cut_off(kind, content):
        raise refusal(name, CUT_OFF)
    try:
        with _opened(content, kind) as image:
            page = 0
            while page <= MAX_PAGES:
                _check_pixels(name, image, MAX_PIXELS)
                if kind == "tiff" and _ends_behind(image, len(content)):
                    raise refusal(name, CUT_OFF)
                page += 1
                if kind != "tiff":  # the pictures that phones add behind the first one of a JPEG are not pages
                    break
                try:
                    image.seek(page)
                except EOFError:
                    break
            return page
    except _ERRORS:
        raise refusal(name, DAMAGED) from None


def is_cut_off(kind: str, content: bytes | memoryview) -> bool:
    """Return whether a JPEG or PNG lacks its end: readers show the rest as grey, and nobody would notice that on a fax."""
    if kind == "png":
        return b"IEND" not in bytes(content[-_TAIL:]) and b"IEND" not in bytes(content)
    if kind != "jpeg":
        return False
    whole = bytes(content)
    at = 2
    # The header's segments have a length each, and one may hold a small picture with an end of its own (ITU-T T.81, annex B).
    for _ in range(_MAX_SEGMENTS):
        if whole[at : at + 1] != b"\xff" or whole[at + 1 : at + 2] == _SCAN:
            break
        at += 2 + max(2, int.from_bytes(whole[at + 2 : at + 4])) if whole[at + 1 : at + 2] != b"\xff" else 1
    return whole.find(b"\xff\xd9", at) < 0


def _ends_behind(image: Any, size: int) -> bool:
    """Return whether a page of a TIFF has data beyond the end of the file."""
    for offsets, counts in ((273, 279), (324, 325)):  # of strips and of tiles (TIFF 6.0)
        stretches = zip(image.tag_v2.get(offsets, ()), image.tag_v2.get(counts, ()), strict=False)
        if any(offset + count > size for offset, count in stretches):
            return True
    return False


def to_png(name: str, kind: str, content: bytes | memoryview) -> bytes:
    """Return the picture, or the first one of an animation, as a PNG in shades of grey. Raises Refused."""
    if kind == "heic" and not _can_read_heic():
        raise refusal(name, "it is HEIC; send it as JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible)")
    try:
        with _opened(content, "heif" if kind == "heic" else kind) as image:
            _check_pixels(name, image, MAX_CONVERTED_PIXELS[kind])
            grey = _on_white(ImageOps.exif_transpose(image))
        grey.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        written = io.BytesIO()
        grey.save(written, "PNG", compress_level=_COMPRESSION)
        return written.getvalue()
    except MemoryError:
        raise refusal(name, "its picture is too large; send a smaller one") from None
    except _ERRORS:
        raise refusal(name, DAMAGED) from None


def _on_white(image: Any) -> Any:
    """Return the picture in shades of grey; paper shows where it is transparent."""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if "A" not in image.getbands():
        return image.convert("L")
    paper = Image.new("L", image.size, 255)
    paper.paste(image.convert("L"), mask=image.getchannel("A"))
    return paper


def _check_pixels(name: str, image: Any, most: int) -> None:
    if image.width * image.height > most:
        raise refusal(name, f"its picture of {image.width} by {image.height} pixels is too large; send a smaller one")


def _can_read_heic() -> bool:
    """Load the reader of HEIC, which is the extra `heic`; return whether it is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(thumbnails=False)
    return True


@contextlib.contextmanager
def _opened(content: bytes | memoryview, kind: str | None) -> Iterator[Any]:
    """Open a picture by its header. Pillow warns of each oddity in it; only whether it can be opened matters."""
    # The size of each page is checked here instead.
    Image.MAX_IMAGE_PIXELS = None
    _can_read_heic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content), formats=None if kind is None else [kind.upper()]) as image:
            yield image
