"""What notices say, in Hebrew and English: a notice as headings and rows, written as text and as HTML. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal
from zoneinfo import ZoneInfo

from mailbridge.error_table import Language
from mailbridge.notice.mime_writer import visible
from mailbridge.phone.national_form import national_form

LABELS: Final[dict[str, dict[Language, str]]] = {
    "number": {"he": "מספר", "en": "Number"},
    "result": {"he": "תוצאה", "en": "Result"},
    "when": {"he": "מועד", "en": "When"},
    "pages": {"he": "עמודים", "en": "Pages"},
    "tries": {"he": "ניסיונות", "en": "Tries"},
    "why": {"he": "סיבה", "en": "Why"},
    "what_to_do": {"he": "מה לעשות", "en": "What to do"},
    "id": {"he": "מזהה", "en": "ID"},
    "subject": {"he": "נושא", "en": "Subject"},
    "caller": {"he": "מאת", "en": "From"},
    "called": {"he": "אל", "en": "To"},
    "document": {"he": "מסמך", "en": "Document"},
    "since": {"he": "מאז", "en": "Since"},
}
RESULTS: Final[dict[str, dict[Language, str]]] = {
    "delivered": {"he": "נשלח והתקבל", "en": "delivered"},
    "failed": {"he": "לא נשלח", "en": "not delivered"},
    "in_doubt": {"he": "לא ידוע אם נשלח", "en": "not known whether it was sent"},
    "delayed": {"he": "עדיין בדרך", "en": "still on its way"},
    "cancelled": {"he": "בוטל", "en": "cancelled"},
}
UNKNOWN: Final[dict[Language, str]] = {"he": "לא ידוע", "en": "not known"}
Direction = Literal["ltr", "auto", ""]
# Unicode's isolates: LRI and FSI begin one, PDI ends it.
_ISOLATE: Final = {"ltr": "\u2066", "auto": "\u2068"}
_END: Final = "\u2069"


@dataclass(frozen=True, slots=True)
class Phrase:
    """A piece of text. `direction` isolates it from the text around it: numbers and ids are `ltr`, foreign text is `auto`."""

    text: str
    direction: Direction = ""

    def as_text(self, language: Language) -> str:
        """Return it for plain text. English text needs no marks around numbers and ids."""
        shown = visible(self.text)
        if not self.direction or (language == "en" and shown.isascii()):
            return shown
        return f"{_ISOLATE[self.direction]}{shown}{_END}"

    def as_html(self) -> str:
        """Return it for HTML: a span with `dir`, which Outlook understands too."""
        escaped = html.escape(visible(self.text))
        return f'<span dir="{self.direction}">{escaped}</span>' if self.direction else escaped


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a notice: a label and its value."""

    label: str
    value: Phrase


@dataclass(frozen=True, slots=True)
class Section:
    """A heading of several phrases, the rows below it, and a remark at its end."""

    heading: tuple[Phrase, ...]
    rows: tuple[Row, ...] = ()
    remarks: tuple[str, ...] = field(default=())


def as_text(sections: Sequence[Section], language: Language) -> str:
    """Return a notice as plain text. In Hebrew each line begins with a Hebrew letter, so that it is set from right to left."""
    blocks = []
    for section in sections:
        lines = ["".join(phrase.as_text(language) for phrase in section.heading)]
        lines += [f"{row.label}: {row.value.as_text(language)}" for row in section.rows]
        blocks.append("\n".join([*lines, *section.remarks]))
    return "\n\n".join(blocks) + "\n"


def as_html(sections: Sequence[Section], language: Language) -> str:
    """Return a notice as HTML, without anything that a mail program would have to fetch."""
    direction, align = ("rtl", "right") if language == "he" else ("ltr", "left")
    body = "".join(_section(section, direction, align) for section in sections)
    return (
        f'<!DOCTYPE html>\n<html lang="{language}" dir="{direction}">\n<head><meta charset="utf-8"></head>\n'
        f'<body dir="{direction}" style="font-family: Arial, sans-serif; font-size: 14px; text-align: {align}">\n{body}</body>\n'
        "</html>\n"
    )


def _section(section: Section, direction: str, align: str) -> str:
    heading = "".join(phrase.as_html() for phrase in section.heading)
    rows = "".join(
        f'<tr><td style="color: #555; padding: 2px 8px; text-align: {align}; white-space: nowrap">{html.escape(row.label)}</td>'
        f'<td style="padding: 2px 8px; text-align: {align}">{row.value.as_html()}</td></tr>\n'
        for row in section.rows
    )
    table = f'<table dir="{direction}" style="border-collapse: collapse">\n{rows}</table>\n' if rows else ""
    remarks = "".join(f'<p dir="{direction}">{html.escape(remark)}</p>\n' for remark in section.remarks)
    return f'<p dir="{direction}"><strong>{heading}</strong></p>\n{table}{remarks}'


def local_time(moment: datetime, zone: ZoneInfo) -> Phrase:
    """Return a time in this zone, with the zone's distance from UTC."""
    local = moment.astimezone(zone)
    offset = local.strftime("%z")
    return Phrase(f"{local:%d.%m.%Y %H:%M} (UTC{offset[:3]}:{offset[3:]})", "ltr")


def phone_number(number: str) -> Phrase:
    """Return a number in E.164 as people in Israel write it."""
    return Phrase(national_form(number), "ltr")
