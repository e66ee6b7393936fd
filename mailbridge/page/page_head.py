"""What stands above the text of a page: subject, sender, recipient and date, with labels in the language of the text. Pure."""

from __future__ import annotations

import re
from typing import Final

SUBJECT_SIZE, _SIZE = 14, 10  # points
_MOST = 500  # characters of each line
_LOOKED_AT = 2000  # characters of the text
# Labels of subject, sender, recipient and date, by the letters that a language is written in.
_LABELS: Final = (
    ("[א-ת]", ("נושא", "מאת", "אל", "תאריך")),
    ("[\u0620-\u064a]", ("الموضوع", "من", "إلى", "التاريخ")),
    ("[а-яё]", ("Тема", "От", "Кому", "Дата")),
    ("[a-zà-ÿ]", ("Subject", "From", "To", "Date")),
)
_RIGHT_TO_LEFT: Final = _LABELS[:2]
# An isolate keeps the order inside a value apart from that of its label (UAX 9).
_OPEN, _CLOSE = "\u2068", "\u2069"


def head_lines(text: str, subject: str, sender: str, recipient: str, date: str) -> tuple[list[tuple[str, int]], bool]:
    """Return the lines and their sizes in points, and whether they are read from right to left. Empty values have no line."""
    written = (subject + "\n" + text[:_LOOKED_AT]).lower()
    language = max(_LABELS, key=lambda one: len(re.findall(one[0], written)))
    if not re.search(language[0], written):
        language = _LABELS[-1]
    values = zip(language[1], (subject, sender, recipient, date), (SUBJECT_SIZE, _SIZE, _SIZE, _SIZE), strict=True)
    lines = [(f"{label}: {_OPEN}{value[:_MOST]}{_CLOSE}", size) for label, value, size in values if value.strip()]
    return lines, language in _RIGHT_TO_LEFT
