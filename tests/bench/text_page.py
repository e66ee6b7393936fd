"""The page of a text: how long one takes in a process that has made pages before.

    python -m tests.bench.text_page [--pages 200]

Prints one JSON line: for Hebrew, English and mixed texts of four and of forty lines the milliseconds of a page (p50 and p95, and
p50 of processor time, which waits for no other process), the same for fpdf2 with the whole font as the baseline, and by how many
KiB the process grew over 1,000 pages. Every page has other words.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from typing import Any

from fpdf import FPDF

from mailbridge.page.bidi import is_rtl
from mailbridge.page.text_page import render
from mailbridge.page.typeface import FILE

_HEBREW = """
שלום רב מצורפת בזאת הזמנה מספר עבור קרטונים של נייר צילום דגם נא לאשר קבלה עד ליום בשעה בטלפון או בנייד סך הכול לתשלום כולל
בהנחה כתובת רחוב הרצל תל אביב יפו דואר אלקטרוני אתר הערה דחוף יש לטפל עוד היום תודה בברכה דנה כהן חוזה חתימה משרד לקוח חשבונית
"""
_ENGLISH = """
Dear Sir please find the order of boxes attached and confirm by phone or fax until the end of this week total amount due
including tax discount address street office customer invoice contract signature urgent delivery Regards Dana Cohen Towers
"""
_KINDS = {"hebrew": _HEBREW.split(), "english": _ENGLISH.split(), "mixed": (_HEBREW + _ENGLISH).split()}


def text(kind: str, lines: int, random_: random.Random) -> str:
    """Return lines of nine words, one of them a number."""

    def line() -> str:
        words = random_.choices(_KINDS[kind], k=8)
        words.insert(random_.randrange(9), random_.choice(["03-1234567,", "4711", "1,234.50", "(12)", "15/03/2026"]))
        return " ".join(words)

    return "\n".join(line() for _ in range(lines))


def by_fpdf2(content: str) -> bytes:
    """Return the text as fpdf2 sets it: the whole font is read, and cut to the glyphs used, for every page."""
    pdf: Any = FPDF(format="A4")
    pdf.set_margins(18, 18, 18)
    pdf.add_font("DejaVu", fname=FILE)
    pdf.add_page()
    pdf.set_font("DejaVu", size=11)
    for paragraph in content.split("\n"):
        rtl = is_rtl(paragraph)
        pdf.set_text_shaping(use_shaping_engine=True, direction="rtl" if rtl else "ltr")
        pdf.multi_cell(0, 6, paragraph, align="R" if rtl else "L", new_x="LMARGIN", new_y="NEXT")
    written = io.BytesIO()
    pdf.output(written)
    return written.getvalue()


def measure(make: Callable[[str], object], kind: str, lines: int, pages: int) -> dict[str, float]:
    """Return the milliseconds of a page."""
    random_ = random.Random(1)
    wall: list[float] = []
    processor: list[float] = []
    for content in [text(kind, lines, random_) for _ in range(pages + 3)]:
        started, used = time.perf_counter(), time.process_time()
        make(content)
        wall.append((time.perf_counter() - started) * 1000)
        processor.append((time.process_time() - used) * 1000)
    # The first pages warm the process.
    hundredths = quantiles(wall[3:], n=100)
    return {
        "p50": round(hundredths[49], 1),
        "p95": round(hundredths[94], 1),
        "cpu_p50": round(quantiles(processor[3:], n=2)[0], 1),
    }


def growth(pages: int) -> int:
    """Return by how many KiB the resident memory of this process grows over so many pages."""
    random_ = random.Random(2)
    texts = [text("mixed", 40, random_) for _ in range(20)]
    before = 0
    for number in range(pages + 50):
        if number == 50:
            before = resident()
        render(texts[number % len(texts)])
    return resident() - before


def resident() -> int:
    """Return the resident memory of this process in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200, help="pages of each kind (default: 200)")
    options = parser.parse_args()
    kinds = [(kind, lines) for kind in _KINDS for lines in (4, 40)]
    page = {f"{kind} {lines}": measure(render, kind, lines, options.pages) for kind, lines in kinds}
    baseline = {f"{kind} {lines}": measure(by_fpdf2, kind, lines, max(options.pages // 10, 5)) for kind, lines in kinds}
    print(json.dumps({"milliseconds": page, "fpdf2": baseline, "grown_kib_over_1000_pages": growth(1000)}))


if __name__ == "__main__":
    main()
