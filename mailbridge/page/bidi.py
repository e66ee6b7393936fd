"""The direction of text: the Unicode bidirectional algorithm (UAX 9) for a paragraph without explicit controls. Pure.

Every rule works on a string with one letter for each character and looks at each once. So a line takes microseconds, and a
hostile one takes no longer than its length allows.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata

# A letter for each bidirectional class; what is not here is neutral. BN ("0") is ignored by all rules (X9).
_CLASSES = {"L": "L", "R": "R", "AL": "A", "EN": "1", "AN": "9", "ES": "+", "ET": "$", "CS": ",", "NSM": "M", "BN": "0"}
# Bidi_Paired_Bracket: each opening bracket before its closing one.
_PAIRS = (
    "()[]{}༺༻༼༽᚛᚜⁅⁆⁽⁾₍₎⌈⌉⌊⌋〈〉❨❩❪❫❬❭❮❯❰❱❲❳❴❵⟅⟆⟦⟧⟨⟩⟪⟫⟬⟭⟮⟯⦃⦄⦅⦆⦇⦈⦉⦊⦋⦌⦍⦐⦏⦎"
    "⦑⦒⦓⦔⦕⦖⦗⦘⧘⧙⧚⧛⧼⧽⸢⸣⸤⸥⸦⸧⸨⸩⹕⹖⹗⹘⹙⹚⹛⹜〈〉《》「」『』【】〔〕〖〗〘〙〚〛﹙﹚﹛﹜﹝﹞（）［］｛｝｟｠｢｣"
)
_OPENING_OF = dict(zip(_PAIRS[1::2], _PAIRS[::2], strict=True))
_BRACKET = re.compile(f"[{re.escape(_PAIRS)}]")
_DEEPEST = 63  # pairs inside each other (BD16); a paragraph with more has none
_LEVELS = (bytes.maketrans(b"LR19", b"\0\1\2\2"), bytes.maketrans(b"LR19", b"\2\1\2\2"))


@functools.lru_cache(maxsize=4096)
def _class(character: str) -> str:
    return _CLASSES.get(unicodedata.bidirectional(character), ".")


def is_rtl(paragraph: str) -> bool:
    """Tell whether the paragraph's first strong character is read from right to left (rules P2 and P3)."""
    return next((letter != "L" for letter in map(_class, paragraph) if letter in "LRA"), False)


def is_neutral(paragraph: str) -> bool:
    """Tell whether the paragraph has no strong character: numbers and signs, without a letter."""
    return not any(letter in "LRA" for letter in map(_class, paragraph))


def embedding_levels(text: str, rtl: bool) -> bytes:
    """Return the level of each character of a paragraph: odd ones are read from right to left (rules W1 to I2)."""
    classes = "".join(map(_class, text))
    if not rtl and not re.search("[RA9]", classes):
        return bytes(len(text))
    if "0" in classes:
        return _with_ignored(text, classes, rtl)
    side = "R" if rtl else "L"
    # The paragraph's own direction stands before and behind it (X10).
    classes = _resolve_weak(f"{side}{classes}{side}")
    if _BRACKET.search(text):
        classes = _resolve_brackets(text, classes, side)
    return _resolve_neutral(classes, side).encode().translate(_LEVELS[rtl])[1:-1]


def _with_ignored(text: str, classes: str, rtl: bool) -> bytes:
    """Return the levels of a text with characters that the rules ignore: each has the level of the one before it."""
    kept = iter(embedding_levels("".join(letter for letter, kind in zip(text, classes, strict=True) if kind != "0"), rtl))
    level = int(rtl)
    return bytes(level if kind == "0" else (level := next(kept)) for kind in classes)


def _resolve_weak(classes: str) -> str:
    """Apply W1 to W7: what remains is L, R, numbers (1 and 9) and neutrals."""
    if "M" in classes:
        classes = re.sub("(.)M+", lambda found: found[1] * len(found[0]), classes)
    classes = re.sub("A[^LR]*", lambda found: found[0].replace("1", "9"), classes).replace("A", "R")
    classes = re.sub("(?<=1)[+,](?=1)", "1", classes)
    classes = re.sub("(?<=9),(?=9)", "9", classes)
    classes = re.sub(r"\$+", lambda found: ("1" if "1" in _around(found) else ".") * len(found[0]), classes)
    classes = classes.replace("+", ".").replace(",", ".")
    return re.sub("L[^R]*", lambda found: found[0].replace("1", "L"), classes)


def _around(found: re.Match[str]) -> str:
    """Return the letters before and behind a match, which never reaches either end."""
    return found.string[found.start() - 1] + found.string[found.end()]


def _pairs(text: str, classes: str) -> list[tuple[int, int]]:
    """Return where each pair of brackets stands in `classes`, in the order of the opening ones (BD16)."""
    waiting: list[tuple[str, int]] = []
    found: list[tuple[int, int]] = []
    for bracket in _BRACKET.finditer(text):
        sign, place = bracket[0], bracket.start() + 1
        if classes[place] != ".":
            continue
        opening = _OPENING_OF.get(sign)
        if opening is None:
            if len(waiting) == _DEEPEST:
                return []
            waiting.append((sign, place))
            continue
        for depth in range(len(waiting) - 1, -1, -1):
            if waiting[depth][0] == opening:
                found.append((waiting[depth][1], place))
                del waiting[depth:]
                break
    return sorted(found)


def _resolve_brackets(text: str, classes: str, side: str) -> str:
    """Apply N0: both brackets of a pair get one direction, by what is between them and what is before them."""
    other = {"L": "R", "R": "L"}[side]
    letters = list(classes)
    place, before = 0, side
    for opening, closing in _pairs(text, classes):
        inside = {_direction(letter) for letter in "LR19" if classes.find(letter, opening, closing) >= 0}
        if not inside:
            continue
        for letter in letters[place:opening]:
            before = before if letter == "." else _direction(letter)
        place = opening
        letters[opening] = letters[closing] = other if side not in inside and before == other else side
    return "".join(letters)


def _direction(letter: str) -> str:
    return "L" if letter == "L" else "R"


def _resolve_neutral(classes: str, side: str) -> str:
    """Apply N1 and N2: what stands between two equal directions takes it, everything else takes the paragraph's."""

    def resolve(found: re.Match[str]) -> str:
        before, behind = map(_direction, _around(found))
        return (before if before == behind else side) * len(found[0])

    return re.sub(r"\.+", resolve, classes)


def visual_order(levels: bytes, start: int, end: int) -> list[tuple[int, int, int]]:
    """Return the stretches of one level in levels[start:end] as (start, end, level), from left to right (rule L2)."""
    stretches: list[tuple[int, int, int]] = []
    place = start
    for level, same in itertools.groupby(levels[start:end]):
        stretches.append((place, place := place + len(list(same)), level))
    for least in range(max(levels[start:end], default=0), 0, -1):
        turned: list[tuple[int, int, int]] = []
        for is_inside, group in itertools.groupby(stretches, key=lambda stretch: stretch[2] >= least):
            turned += list(group)[:: -1 if is_inside else 1]
        stretches = turned
    return stretches
