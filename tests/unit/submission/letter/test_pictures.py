"""Pictures that MyFax does not take are turned into PNG: upright, on white, no larger than a page needs, or refused."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mailbridge.errors import Refused
from mailbridge.submission.letter import attachments, pictures
from mailbridge.submission.letter.pictures import image_size, to_png
from tests.unit.submission.letter.letter_fixtures import read
from tests.unit.submission.letter.mail_writer import attached, html, mixed, multipart, shown, text


def written(kind: str, image: Image.Image, **options: Any) -> bytes:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(mode: str = "RGB", size: tuple[int, int] = (600, 800)) -> Image.Image:
    """Return a picture that is black above and white below."""
    image = Image.new("L", size, 255)
    image.paste(0, (0, 0, size[0], size[1] // 2))
    return image.convert(mode)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=["PNG"])


@pytest.mark.parametrize(("kind", "name"), [("GIF", "a.gif"), ("BMP", "a.bmp"), ("WEBP", "a.webp"), ("HEIF", "IMG_1.HEIC")])
def test_picture_is_faxed_as_png(kind: str, name: str, tmp_path: Path) -> None:
    letter = read(tmp_path, mixed(text("see attached"), attached(name, written(kind, halves()))))
    (document,) = letter.documents
    assert (document.name, document.content_type, document.pages) == (f"{name.partition('.')[0]}.png", "image/png", 1)
    png = letter.derived[document.offset : document.offset + document.length]
    image = opened(png)
    assert image.size == (600, 800)
    assert (int(image.getpixel((300, 100))), int(image.getpixel((300, 700)))) == pytest.approx((0, 255), abs=3)  # type: ignore[arg-type]


def test_first_picture_of_an_animation_is_faxed() -> None:
    content = written("GIF", halves(), save_all=True, append_images=[Image.new("L", (600, 800), 128)] * 5)
    assert opened(to_png("a", "gif", content)).getpixel((300, 100)) == 0


def test_transparent_picture_lies_on_white() -> None:
    image = Image.new("RGBA", (600, 800), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 600, 400))
    palette = halves("P")
    gif = written("GIF", palette, transparency=palette.getpixel((0, 799)))
    for kind, content in (("webp", written("WEBP", image, lossless=True)), ("gif", gif)):
        png = opened(to_png("a", kind, content))
        assert (png.getpixel((300, 100)), png.getpixel((300, 700))) == (0, 255)


def test_picture_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    png = opened(to_png("a", "webp", written("WEBP", halves(size=(800, 600)), exif=exif, lossless=True)))
    assert png.size == (600, 800)
    assert (png.getpixel((100, 400)), png.getpixel((500, 400))) == (255, 0)


def test_large_picture_is_no_larger_than_a_page_needs() -> None:
    assert image_size(to_png("a", "gif", written("GIF", halves(size=(8000, 4000))))) == (2600, 1300)


@pytest.mark.parametrize("kind", ["gif", "bmp", "webp", "heic"])
def test_damaged_and_huge_pictures_are_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = written("HEIF" if kind == "heic" else kind.upper(), halves())
    for damaged in (content[:20], content[: len(content) // 2]):
        with pytest.raises(Refused, match="damaged"):
            to_png("a", kind, damaged)
    monkeypatch.setitem(pictures.MAX_CONVERTED_PIXELS, kind, 600 * 800 - 1)
    with pytest.raises(Refused, match="too large"):
        to_png("a", kind, content)


def test_pictures_that_take_too_long_together_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments, "MAX_PIXELS", 600 * 800 * 2)
    files = [attached(f"{number}.gif", written("GIF", halves())) for number in range(3)]
    assert len(read(tmp_path, mixed(text("x"), *files[:2])).documents) == 2
    with pytest.raises(Refused, match=r"2\.gif cannot be faxed: the pictures up to it are too large"):
        read(tmp_path, mixed(text("x"), *files))


def test_picture_for_which_the_memory_does_not_suffice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(image: object) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(pictures, "_on_white", full)
    with pytest.raises(Refused, match="too large"):
        to_png("a", "gif", written("GIF", halves()))


def test_heic_without_its_reader_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = written("HEIF", halves())
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "HEIF"])
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for mail in (
        mixed(text("see attached"), attached("a.heic", content)),
        multipart("related", html("<img src=cid:x>"), shown(content, "image/heic", "x", "a.heic"), head=b"From: a@b\n"),
    ):
        with pytest.raises(Refused, match="it is HEIC; send it as JPEG"):
            read(tmp_path, mail)
