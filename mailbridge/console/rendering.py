"""Templates: every value is escaped, every number, id and foreign text is isolated from the direction of the text around it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mailbridge.console.identity import Language
from mailbridge.console.search_terms import Names
from mailbridge.console.texts import LANGUAGES, Texts
from mailbridge.error_table import MEANINGS
from mailbridge.phone.national_form import national_form

_FOLDER: Final = Path(__file__).parent
_STATIC: Final = {"style.css": "text/css", "refresh.js": "text/javascript", "icon.svg": "image/svg+xml"}


# By state: the class of its colour, and its sign.
_STATES: Final = {
    "queued": ("busy", "…"),
    "uploading": ("busy", "↥"),
    "submitted": ("busy", "☏"),
    "in_doubt": ("warn", "?"),
    "delivered": ("good", "✓"),
    "failed": ("bad", "✕"),
    "cancelled": ("", "–"),
    "pending": ("busy", "…"),
    "sending": ("busy", "↥"),
    "dead": ("bad", "✕"),
}
_LONGEST_NUMBER: Final = 24
_HEALTH: Final = {"working": ("good", "✓"), "failing": ("warn", "!"), "stopped": ("bad", "✕"), "removed": ("", "–")}


class Templates:
    """All templates, texts and static files, read once: a page opens no file."""

    def __init__(self) -> None:
        loader = FileSystemLoader(_FOLDER / "templates")
        # "bdi" and the like are written by `Display`; there is no filter that makes text of a mail to markup.
        self._environment = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, auto_reload=False
        )
        self._environment.filters["number"] = "{:,}".format
        for name in loader.list_templates():
            self._environment.get_template(name)
        self.texts: Final[dict[Language, Texts]] = {language: Texts(language) for language in LANGUAGES}
        self.static = {name: (kind, (_FOLDER / "static" / name).read_bytes()) for name, kind in _STATIC.items()}
        digest = hashlib.sha256(b"".join(content for _, content in self.static.values()))
        self.version: Final = digest.hexdigest()[:12]  # in the addresses of static files, so that a browser may keep them

    def render(self, template: str, values: dict[str, Any]) -> str:
        """Return a page, or a part of one."""
        return self._environment.get_template(template).render(values)


def _html(template: str, *values: object) -> Markup:
    """Return markup: a template of ours, with escaped values in the place of each %s. Markup.format takes longer."""
    return Markup(template % tuple(map(escape, values)))


@cache
def shared_templates() -> Templates:
    """Return the templates. They take a third of a second to compile, which no reload may take."""
    return Templates()


def visible(text: str) -> str:
    """Return text in which each sign that is not printable, such as a control of its direction, is replaced."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


class Display:
    """How times, numbers and the like look in one language and time zone. Each returns markup with its text escaped."""

    def __init__(self, texts: Texts, zone: ZoneInfo, names: Names) -> None:
        self._texts, self._zone, self._names = texts, zone, names

    @property
    def zone_name(self) -> Markup:
        """The name of the time zone."""
        return self.code(self._zone.key)

    def time(self, moment: datetime | str | None, *, seconds: bool = False) -> Markup:
        """Return a time for people, to the minute or second, with the exact time for machines."""
        if moment is None:
            return Markup("")
        at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        local = at.astimezone(self._zone)
        shown = local.strftime("%d.%m.%Y %H:%M:%S" if seconds else "%d.%m.%Y %H:%M")
        return _html('<time datetime="%s"><bdi dir="ltr">%s</bdi></time>', local.isoformat(timespec="seconds"), shown)

    def day(self, moment: datetime | str | None) -> Markup:
        """Return a time for people with the day of the week, as in a list that somebody looks through for last Tuesday."""
        if moment is None:
            return Markup("")
        at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        weekday = self._texts.text(f"weekday.{at.astimezone(self._zone).weekday()}")
        return _html("%s %s", weekday, self.time(at))

    def hour(self, moment: datetime) -> str:
        """Return the time of day, for a chart, which holds no markup."""
        return moment.astimezone(self._zone).strftime("%H:%M")

    def number(self, number: str | None) -> Markup:
        """Return a telephone number as people write it; the whole number is its title."""
        if not number:
            return self._texts.text("number.none")
        # What others wrote in the place of a number may be longer than a line.
        kind = "number" if len(number) <= _LONGEST_NUMBER else "code"
        html = '<bdi dir="ltr" class="%s" title="%s">%s</bdi>'
        return _html(html, kind, visible(number), visible(national_form(number)))

    def party(self, number: str | None) -> Markup:
        """Return a telephone number with the name that the contacts have for it."""
        name = self._names.of(number)
        if name is None:
            return self.number(number)
        return _html('%s <span class="soft">%s</span>', self.foreign(name), self.number(number))

    def plain_party(self, number: str | None) -> str:
        """Return a telephone number, or its name, for a title, which holds no markup."""
        return self._names.of(number) or (visible(national_form(number)) if number else str(self._texts.text("number.none")))

    def state(self, state: str) -> Markup:
        """Return the state of a fax or a delivery: a sign, a word and a colour, so that no colour is needed to read it."""
        kind, sign = _STATES.get(state, ("", "•"))
        html = '<span class="state %s"><span aria-hidden="true">%s</span> %s</span>'
        return _html(html, kind, sign, self._texts.text(f"state.{state}"))

    def health(self, health: str) -> Markup:
        """Return how a webhook is doing, as `state` does."""
        kind, sign = _HEALTH[health]
        html = '<span class="state %s"><span aria-hidden="true">%s</span> %s</span>'
        return _html(html, kind, sign, self._texts.text(f"webhook.health.{health}"))

    def answered(self, status: int | None, error: str | None) -> Markup:
        """Return what a receiver answered: the HTTP status, and what was wrong with it."""
        return self.foreign(error or (f"HTTP {status}" if status else str(self._texts.text("delivery.no_answer"))))

    def milliseconds(self, milliseconds: int) -> Markup:
        """Return a duration."""
        shown = f"{milliseconds / 1000:.1f} s" if milliseconds >= 1000 else f"{milliseconds} ms"
        return _html('<bdi dir="ltr">%s</bdi>', shown)

    def why(self, code: str) -> Markup:
        """Return why a fax failed, by its error code."""
        return escape(MEANINGS[code if code in MEANINGS else "unknown"].why[self._texts.language])

    def what_to_do(self, code: str) -> Markup:
        """Return what to do about a fax that failed, by its error code."""
        return escape(MEANINGS[code if code in MEANINGS else "unknown"].what_to_do[self._texts.language])

    def code(self, text: str | None) -> Markup:
        """Return an id, an address or a name of the configuration."""
        return _html('<bdi dir="ltr" class="code">%s</bdi>', visible(text)) if text else Markup("")

    def foreign(self, text: str | None) -> Markup:
        """Return text that others wrote, such as a subject, in its own direction. Signs that are not printable are replaced."""
        return _html('<bdi dir="auto">%s</bdi>', visible(text or ""))

    def block(self, text: str) -> Markup:
        """Return text of others that has lines, such as the answer of a receiver."""
        shown = "".join(sign if sign.isprintable() or sign in "\n\t" else "\ufffd" for sign in text.replace("\r\n", "\n"))
        return _html('<pre dir="auto">%s</pre>', shown)

    def size(self, size: int) -> Markup:
        """Return a number of bytes in the unit that people use."""
        if size >= 1_000_000_000:
            return _html('<bdi dir="ltr">%s GB</bdi>', f"{size / 1e9:.1f}")
        if size < 1000:
            return _html('<bdi dir="ltr">%s B</bdi>', size)
        return _html('<bdi dir="ltr">%s</bdi>', f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} KB")
