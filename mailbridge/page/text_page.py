"""The text of a mail as a PDF: pages of A4, each paragraph in the direction of its first letter."""

from __future__ import annotations

import itertools
import re

from mailbridge.page.aligned_text import split_blocks
from mailbridge.page.bidi_controls import CONTROLS
from mailbridge.page.page_head import head_lines

# A soft hyphen goes too: lines are broken at spaces.
_INVISIBLE = re.compile(r"[^\S\n\t ]|[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\ufeff\u200b\ufffe\uffff]")
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)
_COLUMN = re.compile(r"\t+")
_SIZE = 11


class TooManyPages(Exception):
    """The text needs more than `most` pages."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the text is longer than {most} pages")
        self.most = most


def clean(text: str, *, keep_controls: bool = False) -> str:
    """Return the text with plain line ends and spaces, without bidi controls (unless kept) and without what no font can draw.

    Tabs at the start of a line become spaces. Those within a line stay: they separate columns.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _INVISIBLE.sub(lambda found: " " if found[0].isspace() else "", text if keep_controls else CONTROLS.sub("", text))
    return _INDENT.sub(lambda found: found[0].expandtabs(4), text) if "\t" in text else text


def clean_line(text: str, *, keep_controls: bool = False) -> str:
    """Return the text as `clean` does, as one line."""
    return clean(text, keep_controls=keep_controls).replace("\n", " ").replace("\t", " ")


def letters_lacking(text: str) -> set[str]:
    """Return the letters and digits of a text that no page can have."""
    from mailbridge.page import typeface

    return set() if text.isascii() else typeface.letters_lacking(text)


def render(
    text: str, subject: str = "", sender: str = "", date: str = "", recipient: str = "", *, most_pages: int | None = None
) -> tuple[bytes, int]:
    """Return the text as a PDF of A4 pages, and how many; `subject`, `sender`, `recipient` and `date` stand above it where given.

    Several pages are numbered. A page takes a few milliseconds in a process that has made one before. Only one thread of a
    process may make pages. Raises TooManyPages.
    """
    # Loaded here, because the daemon itself makes no pages.
    from mailbridge.page.typesetting import Typesetter

    lines, is_rtl = head_lines(text, *(clean_line(line, keep_controls=True) for line in (subject, sender, recipient, date)))
    pages = Typesetter(most_pages, is_rtl=is_rtl)
    for line, size in lines:
        pages.add_paragraph(line, size, rtl=is_rtl)
    if lines:
        pages.add_rule()
    for is_table, rows in itertools.groupby(
        clean(text, keep_controls=True).strip("\n").split("\n"), key=lambda line: "\t" in line.strip()
    ):
        if is_table:
            pages.add_table([_COLUMN.split(line.rstrip()) for line in rows], _SIZE)
            continue
        for block, cells in split_blocks(rows):
            pages.add_aligned(block, cells, _SIZE)
    return pages.to_pdf(), pages.count
