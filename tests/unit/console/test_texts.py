"""The words of the console: both languages say the same things, and every key that a template names exists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Formatter

import pytest

from mailbridge.console import texts
from mailbridge.console.texts import FORMS, LANGUAGES, Texts, plural_form, preferred

FOLDER = Path(texts.__file__).parent
BOTH = {language: Texts(language) for language in LANGUAGES}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_both_languages_have_the_same_keys_and_values() -> None:
    he, en = (BOTH[language].entries for language in LANGUAGES)
    assert set(he) == set(en)
    for key in he:
        mine, other = he[key], en[key]
        assert isinstance(mine, str) is isinstance(other, str), key
        if isinstance(mine, str) and isinstance(other, str):
            assert fields(mine) == fields(other), key
        else:
            assert not isinstance(mine, str)
            assert not isinstance(other, str)
            assert set(mine) == set(FORMS["he"]), key
            assert set(other) == set(FORMS["en"]), key
            assert fields(mine["other"]) == fields(other["other"]), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_keys_are_in_order(language: str) -> None:
    """So that one is found, and two changes do not meet at the end of the file."""
    content = (FOLDER / "texts" / f"{language}.json").read_text(encoding="utf-8")
    pairs = json.loads(content, object_pairs_hook=lambda pairs: pairs)
    keys = [key for key, _ in pairs]
    assert keys == sorted(set(keys))


def test_hebrew_texts_are_hebrew() -> None:
    for key, text in BOTH["he"].entries.items():
        for one in [text] if isinstance(text, str) else text.values():
            assert re.search("[א-ת]", one) or one == BOTH["en"].entries[key], key


def test_every_text_that_a_template_or_a_page_names_exists_and_every_text_is_named() -> None:
    sources = [*FOLDER.glob("templates/*.html"), *FOLDER.glob("*.py")]
    content = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    named = set(re.findall(r"""\b[tn]\("([a-z_.0-9]+)"[,)]""", content)) | set(
        re.findall(r"""texts\.(?:text|count)\("([^"{]+)"[,)]""", content)
    )
    entries = set(BOTH["en"].entries)
    assert named - entries == set()
    # A key may also be made of a prefix and a state, or stand in quotes by itself.
    quoted = set(re.findall(r'"([a-z_]+(?:\.[a-z_0-9]+)*)"', content))
    prefixes = set(re.findall(r'"([a-z_]+(?:\.[a-z_]+)*\.)" ~', content)) | set(re.findall(r'f"([a-z_.]+\.)\{', content))
    suffixed = {key for key in entries if key.removesuffix(".title").removesuffix(".text") in quoted}
    redirected = {f"done.{name}" for name in quoted}
    unused = {key for key in entries - named - quoted - suffixed - redirected if not key.startswith(tuple(prefixes) or ("\0",))}
    assert unused == set()


@pytest.mark.parametrize(
    ("language", "count", "form"),
    [
        ("en", 0, "other"),
        ("en", 1, "one"),
        ("en", 2, "other"),
        ("he", 0, "other"),
        ("he", 1, "one"),
        ("he", 2, "two"),
        ("he", 11, "other"),
    ],
)
def test_plural_forms_are_those_of_cldr(language: str, count: int, form: str) -> None:
    assert plural_form("he" if language == "he" else "en", count) == form


def test_a_value_is_escaped() -> None:
    assert BOTH["en"].text("time_zone", zone="<b>") == "Times are in the zone &lt;b&gt;."


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", None),
        ("he", "he"),
        ("he-IL,he;q=0.9,en-US;q=0.8", "he"),
        ("en-US,en;q=0.9", "en"),
        ("fr,de;q=0.9", None),
        ("fr,en;q=0.2,he;q=0.3", "he"),
        ("iw", "he"),
        ("en;q=0, he;q=x", None),
        ("*", None),
        ("en;q=" + "9" * 10_000, "en"),
    ],
)
def test_the_language_that_a_browser_prefers(header: str, language: str | None) -> None:
    assert preferred(header) == language
