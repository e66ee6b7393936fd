"""Whether a mail's text says something that its documents do not, or only covers them. Pure.

Everything that covers is removed, in Hebrew and English: quotations, greeting, phrases such as "please find attached",
pleasantries, the closing and the signature, legal notices, and what phones and scanners add. If anything is left, the text
deserves a page. In doubt it does: a needless page costs a little, a lost instruction costs an order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import mailbridge.submission.letter.covering_phrases as phrases

T = TypeVar("T")

# A text of which so many characters are left is not looked at any closer.
_LONG = 1500
_SHORT = 200  # characters of a text for which the result is remembered
# Characters of the text and of one line that are looked at; what follows them cannot make a text shorter.
_MOST, _MOST_OF_LINE = 60_000, 1000
# A mail program wraps lines near 72 characters; a shorter line was ended by its author.
_WRAPPED = 55
_MOST_BEFORE, _LINES_BEFORE = 4000, 12  # characters and lines above a picture that are looked at
_COVERING_WORDS, _ATTACHED_WORDS, _GREETING_WORDS, _NAME_WORDS, _CONTACT_WORDS = 18, 8, 7, 3, 8

_WORD = re.compile(r"\w\w")
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n")


def _remembered(function: Callable[[str], T]) -> Callable[[str], T]:
    """Return the function with its last results for short texts: devices write the same lines in every mail.

    To look at two words takes a tenth of the time of a small mail.
    """
    quick = lru_cache(maxsize=64)(function)
    return lambda text: quick(text) if len(text) <= _SHORT else function(text)


def deserves_page(text: str) -> bool:
    """Return whether a text beside documents says something of its own. `text` has plain line ends and no bidi controls."""
    return says_something(own_text(text))


@_remembered
def says_something(own: str) -> bool:
    """Return the same of what `own_text` found."""
    if len(own) > _LONG:
        return True
    sentences = [sentence.strip() for sentence in _SENTENCES.split(own) if sentence.strip()]
    return not all(_is_covering(sentence) for sentence in sentences)


def is_of_machine(text: str) -> bool:
    """Return whether a text has only lines that a phone, a scanner or a mail program wrote."""
    return all(_is_of_machine(line.strip()[:_MOST_OF_LINE]) for line in text[:_MOST].split("\n"))


def is_only_of_device(text: str) -> bool:
    """Return whether a text has nothing but lines that a phone or a scanner adds to every mail."""
    lines = [line.strip()[:_MOST_OF_LINE] for line in text[:_MOST].split("\n") if line.strip()]
    return bool(lines) and all(phrases.DEVICE.fullmatch(line) for line in lines)


def ends_in_signature(text: str) -> bool:
    """Return whether the last line of a text belongs to a closing or a signature, as a logo below it does."""
    lines = [line.strip()[:_MOST_OF_LINE] for line in text[-_MOST_BEFORE:].split("\n")][-_LINES_BEFORE:]
    while lines and not lines[-1]:
        lines.pop()
    own = _without_signature(lines)
    return bool(lines) and (not own or own[-1] != lines[-1]) and not phrases.COVERING.match(lines[-1])


def start_of_quotation(text: str) -> int:
    """Return how many characters of a text stand before what it quotes."""
    lines = text[:_MOST].split("\n")
    own = _before_quotation([line.strip()[:_MOST_OF_LINE] for line in lines])
    return sum(len(line) + 1 for line in lines[: len(own)]) if len(own) < len(lines) else len(text)


@_remembered
def own_text(text: str) -> str:
    """Return the text without quotations, greeting, closing, signature, legal notices and what machines add."""
    lines = _before_quotation([line.strip()[:_MOST_OF_LINE] for line in text[:_MOST].split("\n")])
    lines = _without_signature(_without_notices(lines))
    lines = [line for line in _without_scanner(lines) if not line.startswith(">") and not _is_of_machine(line)]
    return _unwrapped(_without_greeting(lines))


def _without_scanner(lines: list[str]) -> list[str]:
    """Drop what a scanner writes beside a line that only scanners write, such as its place and serial number."""
    if not any(phrases.SCANNER.fullmatch(line) for line in lines):
        return lines
    return [line for line in lines if not phrases.BESIDE_SCANNER.fullmatch(line)]


def _is_of_machine(line: str) -> bool:
    """Return whether a line comes from a phone, a scanner or a mail program, is a rule, or is empty."""
    return phrases.MACHINE.fullmatch(line) is not None or set(line) <= set("-_=*~ ")


def _before_quotation(lines: list[str]) -> list[str]:
    for number, line in enumerate(lines):
        if phrases.ORIGINAL.fullmatch(line):
            return lines[:number]
        block = lines[number : number + 5]
        if phrases.QUOTED_FROM.match(line) and sum(bool(phrases.QUOTED_HEADER.match(one)) for one in block) >= 3:
            return lines[:number]
        if phrases.ATTRIBUTION.match(" ".join(lines[number : number + 3])):
            return lines[:number]
    return lines


def _without_notices(lines: list[str]) -> list[str]:
    kept: list[str] = []
    paragraph: list[str] = []
    for line in [*lines, ""]:
        if line:
            paragraph.append(line)
            continue
        if len(phrases.NOTICE.findall(" ".join(paragraph))) < 2:
            kept += paragraph
        kept.append("")
        paragraph = []
    return kept


def _without_signature(lines: list[str]) -> list[str]:
    """Cut at the separator of RFC 3676 section 4.3, or at the closing; keep a postscript and what asks for something."""
    lines = lines[: lines.index("--")] if "--" in lines else list(lines)
    while lines and not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines):
        if line and phrases.CLOSING.fullmatch(line) and not phrases.REQUEST.search(line):
            return lines[:number] + [
                one for one in lines[number + 1 :] if phrases.POSTSCRIPT.match(one) or _asks_below_closing(one)
            ]
    unsigned = _without_contact_block(lines)
    return unsigned if len(unsigned) < len(lines) else _without_name(lines)


def _asks_below_closing(line: str) -> bool:
    signature = phrases.CONTACT.search(line) or phrases.MACHINE.fullmatch(line) or len(line.split()) <= _NAME_WORDS
    return not signature and phrases.REQUEST.search(line) is not None


def _without_contact_block(lines: list[str]) -> list[str]:
    """Drop a last paragraph of short lines that has a telephone number or an address: a signature without a closing."""
    start = len(lines)
    while start > 0 and lines[start - 1]:
        start -= 1
    block = lines[start:]
    has_contact = any(phrases.CONTACT.search(line) for line in block)
    short = all(len(line.split()) <= _CONTACT_WORDS or phrases.CONTACT.search(line) for line in block)
    asks = any(phrases.REQUEST.search(line) for line in block)
    return lines[:start] if start and has_contact and short and not asks else lines


def _without_name(lines: list[str]) -> list[str]:
    """Drop a last line of one to three words behind something else: a name without a closing."""
    if sum(map(bool, lines)) < 2 or len(lines[-1].split()) > _NAME_WORDS:
        return lines
    is_name = not any(letter.isdigit() for letter in lines[-1]) and not phrases.REQUEST.search(lines[-1])
    return lines[:-1] if is_name else lines


def _without_greeting(lines: list[str]) -> list[str]:
    """Drop a greeting at the beginning, also one before a comma in the first line."""
    first = next((number for number, line in enumerate(lines) if line), None)
    if first is None:
        return []
    line, below = lines[first], lines[first + 1 :]
    if _is_greeting(line):
        return below
    greeting, comma, rest = line.partition(",")
    return [rest.strip(), *below] if comma and _is_greeting(greeting) else lines[first:]


def _is_greeting(line: str) -> bool:
    bare = line.rstrip(" ,.:;!-–،")
    short = len(bare.split()) <= _GREETING_WORDS
    return short and phrases.GREETING.fullmatch(bare) is not None and not phrases.REQUEST.search(bare)


def _unwrapped(lines: list[str]) -> str:
    """Join lines that a mail program wrapped: a long line without an end of sentence goes on in the next one."""
    joined: list[str] = []
    for line in lines:
        if joined and line and len(joined[-1]) > _WRAPPED and joined[-1][-1] not in ".!?:":
            joined[-1] += " " + line
        else:
            joined.append(line)
    return "\n".join(joined)


def _is_covering(sentence: str) -> bool:
    bare = sentence.strip(' ,.:;!?-–*"()،؛؟')
    whole = (phrases.PLEASANTRY, phrases.CLOSING, phrases.NAMES_A_DOCUMENT)
    if not _WORD.search(bare) or _is_greeting(bare) or any(pattern.fullmatch(bare) for pattern in whole):
        return True
    words = len(bare.split())
    covers = phrases.COVERING.match(bare) is not None or (phrases.ATTACHED.search(bare) is not None and words <= _ATTACHED_WORDS)
    return covers and words <= _COVERING_WORDS and not phrases.REQUEST.search(phrases.POLITE.sub("", bare))
