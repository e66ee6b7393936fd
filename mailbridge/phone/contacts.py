"""Names that stand for fax numbers, and lists of them: a directory, and what is wrong with its entries. Pure."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mailbridge.errors import ConfigError
from mailbridge.phone.number import NumberFault, parse_number

# A number, or the names of a list.
Entry = str | Sequence[str]

# Lists inside lists, the outermost counted.
DEEPEST = 8
_LONGEST_NAME = 64
_LIKENESS = 0.6
_MOST_COMPARED = 300  # names, which take 15 ms at most
_QUOTES = dict.fromkeys(map(ord, "\"'׳״’”"))
_UNUSABLE = re.compile(r"[@<>\\]")


def normal(name: str) -> str:
    """Return the form by which names are compared: no capitals, no quotation marks, a hyphen for blanks.

    A mail program can write it before the @ without quotes.
    """
    visible = "".join(sign for sign in unicodedata.normalize("NFC", name) if unicodedata.category(sign) != "Cf")
    return unicodedata.normalize("NFC", re.sub(r"\s+", "-", visible.translate(_QUOTES).strip()).casefold())


@dataclass(frozen=True, slots=True)
class Directory:
    """The numbers of every name, in E.164, by its normal form."""

    numbers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def find(self, name: str) -> tuple[str, ...] | None:
        """Return the numbers that a name stands for, each once, or None for an unknown name."""
        return self.numbers.get(normal(name)) if self.numbers else None

    def nearest(self, name: str) -> list[str]:
        """Return up to three known names that are much like an unknown one, as an address has them, the nearest first."""
        wanted = normal(name)
        known = list(self.numbers)
        if len(known) > _MOST_COMPARED:
            known = [one for one in known if one[:1] == wanted[:1]][:_MOST_COMPARED]
        return difflib.get_close_matches(wanted, known, 3, _LIKENESS)


def build(entries: Mapping[str, Entry], region: str, *, possible: bool = False) -> tuple[Directory, list[ConfigError]]:
    """Return the directory of all entries, and the mistakes in them; an entry with a mistake is missing from the directory.

    `region` and `possible` see `parse_number`.
    """
    builder = _Builder(region, possible)
    for name, entry in entries.items():
        builder.add(name, entry)
    for name in builder.entries:
        builder.expand(name, ())
    return Directory({name: found.numbers for name, found in builder.done.items() if found is not None}), builder.mistakes


class _Found(NamedTuple):
    numbers: tuple[str, ...]
    depth: int


class _Builder:
    def __init__(self, region: str, possible: bool) -> None:
        self._region, self._possible = region, possible
        self.entries: dict[str, Entry] = {}
        self.names: dict[str, str] = {}
        self.mistakes: list[ConfigError] = []
        self._said: set[str] = set()
        # What a name stands for, and how deep its lists go; None where it has a mistake.
        self.done: dict[str, _Found | None] = {}

    def add(self, name: str, entry: Entry) -> None:
        key = normal(name)
        if not any(unicodedata.category(sign).startswith("L") for sign in key):
            self._mistake(name, "a contact's name needs a letter, or it would be read as a number", "give it another name")
        elif _UNUSABLE.search(key) or not key.isprintable() or len(key) > _LONGEST_NAME:
            fault = f"a contact's name of more than {_LONGEST_NAME} characters, or with @ < > \\, cannot stand before an @"
            self._mistake(name, fault, "give it another name")
        elif key in self.entries:
            self._mistake(name, f"the contact {self.names[key]!r} has the same name", "leave one of them, or rename it")
        else:
            self.entries[key], self.names[key] = entry, name

    def expand(self, key: str, trail: tuple[str, ...]) -> _Found | None:
        """Find the numbers of one entry; `trail` are the lists around it."""
        if key in trail:
            around = " in ".join(self.names[one] for one in reversed((*trail[trail.index(key) :], key)))
            self._mistake(self.names[key], f"a list holds itself: {around}", "remove one of these names from the list around it")
            return None
        if key not in self.done:
            entry = self.entries[key]
            self.done[key] = self._number(key, entry) if isinstance(entry, str) else self._list(key, entry, trail)
        return self.done[key]

    def _number(self, key: str, written: str) -> _Found | None:
        try:
            return _Found((parse_number(written, self._region, possible=self._possible),), 0)
        except NumberFault as error:
            self._mistake(self.names[key], f"{written!r}: {error.fault}", error.remedy)
            return None

    def _list(self, key: str, names: Sequence[str], trail: tuple[str, ...]) -> _Found | None:
        if len(trail) >= DEEPEST:
            self._too_deep(trail[0])
            return None
        if not names:
            self._mistake(self.names[key], "the list is empty", "name at least one contact, or remove it")
            return None
        members_found = [self._member(key, name, (*trail, key)) for name in names]
        found = [one for one in members_found if one is not None]
        if len(found) < len(names):
            return None
        depth = 1 + max(one.depth for one in found)
        if depth > DEEPEST:
            self._too_deep(key)
            return None
        return _Found(tuple(dict.fromkeys(number for one in found for number in one.numbers)), depth)

    def _member(self, key: str, member: str, trail: tuple[str, ...]) -> _Found | None:
        if (name := normal(member)) in self.entries:
            return self.expand(name, trail)
        near = difflib.get_close_matches(name, self.entries, 1, _LIKENESS)
        remedy = f"did you mean {self.names[near[0]]!r}?" if near else "add it, or remove it from the list"
        self._mistake(self.names[key], f"no contact has the name {member!r}", remedy)
        return None

    def _too_deep(self, key: str) -> None:
        self._mistake(self.names[key], f"its lists are nested more than {DEEPEST} deep", "name the contacts in fewer lists")

    def _mistake(self, name: str, fault: str, remedy: str) -> None:
        mistake = ConfigError(f"contacts.{name}", fault, remedy)
        if str(mistake) not in self._said:
            self._said.add(str(mistake))
            self.mistakes.append(mistake)
