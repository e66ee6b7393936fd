"""The words of the console in Hebrew and English: `texts/he.json` and `texts/en.json`, with the same keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from markupsafe import Markup, escape

from mailbridge.console.identity import Language

Form = Literal["one", "two", "other"]
LANGUAGES: Final[tuple[Language, ...]] = ("he", "en")
# The plural forms of whole numbers, by CLDR.
FORMS: Final[dict[Language, tuple[Form, ...]]] = {"he": ("one", "two", "other"), "en": ("one", "other")}
_FOLDER: Final = Path(__file__).parent / "texts"


def plural_form(language: Language, count: int) -> Form:
    """Return the plural form of a whole number (CLDR, "Language Plural Rules")."""
    if count == 1:
        return "one"
    return "two" if language == "he" and count == 2 else "other"


class Texts:
    """The words of one language. Values are escaped unless they are Markup, so that a text can hold an isolated number."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.direction: Final = "rtl" if language == "he" else "ltr"
        # By key: a text, or its plural forms.
        self.entries: Mapping[str, str | Mapping[str, str]] = json.loads(
            (_FOLDER / f"{language}.json").read_text(encoding="utf-8")
        )
        self._escaped = {key: escape(text) for key, text in self.entries.items() if isinstance(text, str)}

    def text(self, key: str, **values: object) -> Markup:
        """Return a text with its values. Raises KeyError for an unknown key or a missing value."""
        found = self._escaped[key]
        return found.format(**values) if values else found

    def has(self, key: str) -> bool:
        """Whether there is such a text."""
        return key in self._escaped

    def count(self, key: str, count: int, **values: object) -> Markup:
        """Return a text about so many things, in the plural form of the number; `{n}` is the number."""
        forms = self.entries[key]
        assert not isinstance(forms, str)
        return escape(forms[plural_form(self.language, count)]).format(n=f"{count:,}", **values)


def preferred(accept_language: str) -> Language | None:
    """Return the language that a browser's Accept-Language prefers (RFC 9110 section 12.5.4), None for neither."""
    best: tuple[float, Language] | None = None
    for part in accept_language[:500].split(","):
        tag, _, parameters = part.partition(";")
        language = {"he": "he", "iw": "he", "en": "en"}.get(tag.strip().lower().partition("-")[0])
        if language is None:
            continue
        try:
            quality = float(parameters.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if quality > 0 and (best is None or quality > best[0]):
            best = (quality, "he" if language == "he" else "en")
    return best[1] if best else None
