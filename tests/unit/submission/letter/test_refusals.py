"""Every refusal of a letter names a remedy behind a semicolon, in a sentence that fits a line of an SMTP reply."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailbridge.submission import letter

SOURCES = sorted(Path(letter.__file__).parent.glob("*.py"))
# These say what a header must be, which is the remedy.
REMEDY_WITHOUT_SEMICOLON = (" must be ", " must begin ")
RAISED_WITH_A_REMEDY = ("tnef.py",)  # attachments.py adds it
SMALLEST_LIMIT = 512  # bytes of a reply's line (RFC 5321 section 4.5.3.1.5)


def literal(node: ast.expr) -> str:
    """Return the fixed characters of a string in the source."""
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(value) for value in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{}"
    if isinstance(node, ast.IfExp):
        return literal(node.body)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def sentences() -> Iterator[tuple[str, str]]:
    """Yield the place and the words of each refusal."""
    for source in SOURCES:
        if source.name in RAISED_WITH_A_REMEDY:
            continue
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Refused", "refusal"):
                words = literal(node.args[-1])
                if (
                    words.strip("{}")
                    and words != "554 5.6.1 The file {} cannot be faxed: {}"
                    and words != "554 5.6.0 The mail {}"
                ):
                    yield f"{source.name}:{node.lineno}", words
            if isinstance(node, ast.Dict) and source.name in ("document_kind.py", "wrappers.py"):
                yield from ((f"{source.name}:{value.lineno}", literal(value)) for value in node.values)


@pytest.mark.parametrize(("place", "words"), [sentence for sentence in sentences() if sentence[1]])
def test_refusal_says_what_to_do(place: str, words: str) -> None:
    assert "; " in words or any(must in words for must in REMEDY_WITHOUT_SEMICOLON)
    assert len(words) < SMALLEST_LIMIT // 2
