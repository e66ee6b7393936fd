"""How much work a mail can make. 64 KB are parsed on the event loop and must not hold it, whatever they are.

The work is counted, not timed: the calls of functions, and the characters that our own patterns look at.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from mailbridge.report import mail_body
from mailbridge.report.imap_responses import FIRST_BYTES, FetchedMail
from mailbridge.report.parser import parse
from tests.unit.report.hostile_mails import HOSTILE_MAILS, nested

# A mail as MyFax sends it makes 1,500. The worst one here makes 780,000: stdlib tries each line against every open boundary.
CALLS = 1_000_000
# Times that our patterns may look at each character of a mail.
LOOKS = 10


class CountingPattern:
    """A pattern that counts the characters that it looks at."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern, self.looked_at = pattern, 0

    def search(self, text: str, position: int = 0) -> re.Match[str] | None:
        found = self._pattern.search(text, position)
        self.looked_at += (found.end() if found else len(text)) - position
        return found

    def sub(self, replacement: str, text: str) -> str:
        starts = {found.start() for found in self._pattern.finditer(text)}
        # A `<` that begins no match was compared up to the end, unless it lies in another match.
        inside = "".join(found[0][1:] for found in self._pattern.finditer(text)).count("<")
        failed = [index for index, character in enumerate(text) if character == "<" and index not in starts]
        self.looked_at += len(text) + sum(len(text) - index for index in failed[inside:])
        return self._pattern.sub(replacement, text)


def calls_of(work: Callable[[], object]) -> int:
    """Return how many functions are called, Python's and C's."""
    count = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", HOSTILE_MAILS)
def test_parsing_a_hostile_mail_is_little_work(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = [CountingPattern(getattr(mail_body, pattern)) for pattern in ("_OPENS", "_CLOSES", "_TAG")]
    for pattern, attribute in zip(patterns, ("_OPENS", "_CLOSES", "_TAG"), strict=True):
        monkeypatch.setattr(mail_body, attribute, pattern)
    content = HOSTILE_MAILS[name][:FIRST_BYTES]
    mail = FetchedMail(1, len(content), content)
    assert calls_of(lambda: parse(mail)) < CALLS
    assert sum(pattern.looked_at for pattern in patterns) <= LOOKS * len(content)


def test_the_work_of_nested_parts_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter sees the work that it is there to see."""
    monkeypatch.setattr(mail_body, "MAX_MULTIPARTS", 1000)
    mail = FetchedMail(1, 0, (nested(400) + b"\r\n" * FIRST_BYTES)[:FIRST_BYTES])
    assert calls_of(lambda: parse(mail)) > CALLS


@pytest.mark.parametrize("slow", ["<[^>]*>", "<[^<>]*>"])
def test_a_pattern_that_looks_at_characters_again_and_again_is_counted(slow: str) -> None:
    pattern = CountingPattern(re.compile(slow))
    pattern.sub(" ", "<" * 10_000)
    assert pattern.looked_at > LOOKS * 10_000
