"""A text as a page: Hebrew stands from right to left, whatever else is on its line, and nothing of the text is missing."""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
import uharfbuzz

from mailbridge.page import typeface
from mailbridge.page.text_page import TooManyPages, clean, clean_line, render
from tests.work_counter import calls

HEBREW = """שלום רב,
מצורפת הזמנה מספר 4711 עבור 12 קרטונים (דגם A4-80). נא לאשר עד 15/03/2026 בשעה 14:30, טלפון 03-1234567.
סה"כ לתשלום: 1,234.50 ₪ (כולל מע"מ 18%)
דנה כהן"""
ENGLISH = """Dear Dana,
please find the order of 12 boxes; office fax 03-1234567. To: AVL Towers, WAVE "Typography".
https://www.example.com/orders/list.php?session=0123456789abcdef&target=somewhere-else#fragment"""
MIXED = """Re: חשבונית 17 של Acme Ltd עבור 12 boxes
אנא שלחו את ה-Invoice מספר INV-2026/17 אל Acme
| דנה   | 100.00 |
  * bullet"""


@contextmanager
def opened(content: bytes) -> Iterator[list[Any]]:
    """Yield the text pages of a PDF."""
    document: Any = pypdfium2.PdfDocument(content)
    pages = list(document)
    texts = [page.get_textpage() for page in pages]
    yield texts
    for each in (*texts, *pages, document):
        each.close()


def places(content: bytes) -> dict[str, float]:
    """Return where each character first stands on the first page, in points from the left."""
    found: dict[str, float] = {}
    with opened(content) as (text, *_):
        for index in range(text.count_chars()):
            found.setdefault(text.get_text_range(index, 1), text.get_charbox(index)[0])
    return found


def extracted(content: bytes) -> list[str]:
    """Return the text of each page as a reader of the PDF copies it."""
    with opened(content) as texts:
        return [text.get_text_bounded() for text in texts]


def picture(content: bytes) -> bytes:
    """Return the first page as a picture."""
    document: Any = pypdfium2.PdfDocument(content)
    page = document[0]
    bitmap = page.render(scale=1)
    pixels = bytes(bitmap.buffer)
    for each in (bitmap, page, document):
        each.close()
    return pixels


def test_hebrew_reads_from_right_to_left() -> None:
    content, pages = render("אבגד")
    at = places(content)
    assert pages == 1
    assert at["א"] > at["ב"] > at["ג"] > at["ד"] > 450


def test_a_mixed_line_keeps_each_language_in_its_direction() -> None:
    at = places(render("אב xy 12 גד")[0])
    assert [*"דגxy12בא"] == sorted("אבxy12גד", key=at.__getitem__)


def test_a_line_without_a_letter_stands_at_the_side_of_the_text() -> None:
    assert places(render("+972 4\nshalom")[0])["4"] < 150
    at = places(render("+972 4\n~~\nשלום וברכה, hello")[0])
    assert 450 < at["+"] < at["9"] < at["4"]
    assert at["~"] > 450


@pytest.mark.parametrize("mark", ["\u200f", " \u200e ", "\u2069"])
def test_blanks_before_a_mark_at_the_end_of_a_full_line_end_nothing(mark: str) -> None:
    assert render("a  " * 36 + mark)[1] == 1
    assert render("a@b, " * 100 + mark, "a  " * 200)[1] == 1


def test_an_english_line_starts_at_the_left() -> None:
    at = places(render("xy אב")[0])
    assert at["x"] < at["y"] < at["ב"] < at["א"] < 150


def test_a_number_among_hebrew_words_stands_between_them_also_in_an_english_line() -> None:
    at = places(render("Re: אב 17 גד (ה) z")[0])
    signs = ["R", "e", ":", "ה", "ד", "ג", "1", "7", "ב", "א", "z"]
    assert signs == sorted(signs, key=at.__getitem__)
    assert at[":"] < places(render("Re: אב 17")[0])["1"] < places(render("Re: אב 17")[0])["ב"]


def test_a_long_line_of_words_and_numbers_is_broken_and_each_piece_keeps_its_place() -> None:
    content, _ = render("order " + "אב 17 " * 60)
    with opened(content) as [text]:
        assert text.get_text_bounded().count("17") == 60
        shown = [text.get_charbox(index) for index in range(text.count_chars()) if text.get_text_range(index, 1).strip()]
    assert all(40 < left < right < 556 for left, _, right, _ in shown)


@pytest.mark.parametrize(
    "text",
    [
        "a א\u00ad 1",
        "a א " + "1" * 500,
        "a א\u200d1\t2",
        "a א 1" * 400,
        "א" + "=" * 5000,
        "\udce9a",
        "\u200d",
        "a" + " " * 300 + "א",
    ],
)
def test_odd_lines_are_set_all_the_same(text: str) -> None:
    content, _ = render(text, text)
    written = Counter("".join(extracted(content)))
    assert all(written[sign] >= text.count(sign) for sign in "aא1=")


@pytest.mark.parametrize("text", [HEBREW, ENGLISH, MIXED])
def test_every_character_is_on_the_page_once(text: str) -> None:
    written = "".join(extracted(render(text)[0])).replace("ﬁ", "fi").replace("ﬂ", "fl")
    # PDFium mirrors brackets once more when it copies Hebrew.
    assert Counter(re.sub(r"[\s()]", "", written)) == Counter(re.sub(r"[\s()]", "", text))


def test_lines_are_copied_as_they_were_written() -> None:
    [text] = extracted(render("שלום רב\nDear Dana, office 12\nשָׁלוֹם")[0])
    assert text.split("\r\n")[:2] == ["שלום רב", "Dear Dana, office 12"]
    # The points of a letter are copied in the order of the font.
    assert Counter(text.split("\r\n")[2]) == Counter("שָׁלוֹם")


def test_a_long_url_is_broken_at_the_margin_and_nowhere_else() -> None:
    url = "https://www.example.com/" + "a1b2c3/" * 40
    [text] = extracted(render(f"see {url} now")[0])
    first, *lines = text.split("\r\n")
    assert first == "see"
    assert "".join(lines).replace(" ", "") == f"{url}now"
    assert all(len(line) > 70 for line in lines[:3])


def test_words_move_to_the_next_line_whole_and_spaces_between_columns_stay() -> None:
    text = "Paper A4     12    100.00\n" + "\n".join(["word " * 60] * 2)
    [written] = extracted(render(text)[0])
    assert set(written.split()) == {"Paper", "A4", "12", "100.00", "word"}
    assert written.split().count("word") == 120
    wide, narrow = places(render("A    1")[0]), places(render("A 1")[0])
    assert wide["1"] > narrow["1"] + 10


def test_the_head_stands_above_the_text() -> None:
    with opened(render("z", subject="נושא", sender="q@w.co", date="1 Jan")[0]) as [text]:
        heights = {text.get_text_range(index, 1): text.get_charbox(index)[1] for index in range(text.count_chars())}
    assert heights["נ"] > heights["q"] > heights["J"] > heights["z"]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("נא לשלוח 20 boxes", ["נושא", "מאת", "אל", "תאריך"]),
        ("Please send 20", ["Subject", "From", "To", "Date"]),
        ("Прошу выслать", ["Тема", "От", "Кому", "Дата"]),
        ("", ["Subject", "From", "To", "Date"]),
    ],
)
def test_head_has_labels_in_the_language_of_the_text(text: str, labels: list[str]) -> None:
    [page] = extracted(render(text, "17", "1@2.3", "26/11/2026 10:12", "03-9876543")[0])
    assert [line.partition(":")[0] for line in page.splitlines()[:4]] == labels


def test_head_stands_at_the_side_of_its_language() -> None:
    assert places(render("שלום", "q")[0])["נ"] > 400
    assert places(render("hello", "שלום")[0])["S"] < 100
    assert [page.split()[-1] for page in extracted(render("one page")[0])] == ["page"]


def test_a_long_text_takes_more_pages_and_each_line_stands_on_one_of_them() -> None:
    content, pages = render("".join(f"line{number}\n" for number in range(120)))
    written = extracted(content)
    assert (pages, len(written)) == (3, 3)
    assert [page.split()[-1] for page in written] == ["1/3", "2/3", "3/3"]
    lines = [line for page in written for line in page.split()[:-1]]
    assert lines == [f"line{number}" for number in range(120)]
    assert len(written[0].split()) == len(written[1].split()) > 40


@pytest.mark.parametrize("text", ["Русский", "Ελληνικά", "żółć", "مرحبا", "→★☎✓½™"])
def test_letters_outside_of_hebrew_and_latin_are_drawn(text: str) -> None:
    pictures = {picture(render(sign)[0]) for sign in text} | {picture(render("\U0001f9ff")[0])}
    assert len(pictures) == len(set(text)) + 1


def test_what_the_font_does_not_have_is_a_box_rather_than_nothing() -> None:
    assert picture(render("漢")[0]) == picture(render("字")[0]) != picture(render(" ")[0])
    assert places(render("a漢b")[0])["b"] > places(render("ab")[0])["b"] + 4


def test_arabic_is_joined_also_within_a_hebrew_line() -> None:
    # Joined letters are narrower than each alone.
    joined, apart = (places(render(f"א{text}ת")[0]) for text in ("سلم", "س\u200cل\u200cم"))
    assert joined["א"] - joined["ת"] < apart["א"] - apart["ת"] - 2


def test_hebrew_points_stand_at_their_letters() -> None:
    with opened(render("אָבּ")[0]) as [text]:
        boxes = {text.get_text_range(index, 1): text.get_charbox(index) for index in range(text.count_chars())}
    left, low, right, _ = boxes["א"]
    assert left < (boxes["\u05b8"][0] + boxes["\u05b8"][2]) / 2 < right
    assert boxes["\u05b8"][3] < low + 1


def test_the_font_is_opened_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    opened_files: list[str] = []
    blob = uharfbuzz.Blob

    class Counting:
        @staticmethod
        def from_file_path(path: str) -> Any:
            opened_files.append(path)
            return blob.from_file_path(path)

    monkeypatch.setattr(uharfbuzz, "Blob", Counting)
    typeface.open_font.cache_clear()
    for _ in range(3):
        render("שלום a", "subject")
    assert [Path(path).name for path in opened_files] == ["DejaVuSans.ttf"]


def test_a_page_carries_only_the_glyphs_that_it_draws() -> None:
    assert len(render("שלום")[0]) < 8_000 < len(render("".join(map(chr, range(0x400, 0x460))))[0]) < 40_000


def test_a_process_holds_nothing_of_the_pages_it_made() -> None:
    def objects() -> int:
        gc.collect()
        return len(gc.get_objects())

    for number in range(3):
        render(f"warm {number}")
    before = objects()
    for number in range(30):
        render(f"שלום {number} " * 20, "subject")
    assert objects() <= before + 10


@pytest.mark.parametrize(
    "sign",
    [
        "a",
        "א ",
        "(",
        "()",
        "א(a)",
        "$",
        "א$1,",
        "אa",
        "אa1 ",
        "a\u0301",
        "Te. ",
        "\n.",
        "a\tא\n",
        "\t",
        "a   b\n",
        "a  1  2\n",
        "\U0001f9ff",
        "a\u200d",
    ],
)
def test_the_work_grows_with_the_length_of_a_text_and_not_faster(sign: str) -> None:
    render(sign)
    short, long = sign * (2_000 // len(sign)), sign * (8_000 // len(sign))
    assert calls(lambda: render(long)) < 4.5 * calls(lambda: render(short)) + 500


def test_columns_stand_under_each_other_and_begin_at_the_side_of_the_language() -> None:
    text = "Item\tQty\nA\t1\nLonger\t2"
    at = places(render(text)[0])
    assert at["1"] == pytest.approx(at["2"], abs=1)
    assert at["I"] == pytest.approx(at["A"], abs=2)
    with opened(render("פריט\tכמות\nנייר\t1\nע\t2\n")[0]) as [page]:
        rights = {page.get_text_range(index, 1): page.get_charbox(index)[2] for index in range(page.count_chars())}
    assert rights["ע"] == pytest.approx(rights["פ"], abs=2)
    assert rights["ע"] > rights["1"] + 20
    assert rights["1"] == pytest.approx(rights["2"], abs=1)


def test_columns_that_are_too_wide_are_lines_and_tabs_at_the_start_indent() -> None:
    [text] = extracted(render("a\t" + "word " * 60 + "\nx\ty")[0])
    assert Counter(text.split()) == Counter(["a", "x", "y", *["word"] * 60])
    assert places(render("\ta")[0])["a"] > places(render("a")[0])["a"] + 5


def test_marks_of_direction_and_controls_go() -> None:
    assert clean("a\u202eb\u200fc\x00d\r\ne\xa0f\ufeffg\xadh") == "abcd\ne fgh"
    assert clean("\ta\tb\n \tc") == "    a\tb\n    c"
    assert clean_line("a\n\tb\tc") == "a     b c"


@pytest.mark.parametrize("line", ["a\n", "a\tb\n", "word " * 40 + "\n"])
def test_attack_5_a_text_of_too_many_pages_is_refused_before_they_are_made(line: str) -> None:
    lines = next(number for number in range(1, 10_000) if render(line * number)[1] > 2)
    assert render(line * (lines - 1), most_pages=2)[1] == 2
    with pytest.raises(TooManyPages, match="longer than 2 pages"):
        render(line * lines, most_pages=2)

    def refuse(more: int) -> None:
        with pytest.raises(TooManyPages):
            render(line * lines * more, most_pages=2)

    once, four_times = calls(lambda: refuse(1)), calls(lambda: refuse(4))
    assert four_times < 2 * once or "\t" in line  # the columns of a table need all its rows
