"""docs/submission.md: its addresses, its headers, its example and its replies are those of the code."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import mailbridge
from mailbridge.phone.contacts import build
from mailbridge.submission.address import find_numbers
from mailbridge.submission.commands import parse_path
from mailbridge.submission.letter.parser import read_letter

PACKAGE = Path(mailbridge.__file__).parent
PAGE = (PACKAGE.parent / "docs/submission.md").read_text(encoding="utf-8")
CONTACTS = build({"bank": "03-9876543", "insurance": "04-8123456", "banks": ["bank", "insurance"]}, "IL")[0]


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[tuple[str, str]]:
    """The first two cells of each row of a section's table, without its head."""
    return re.findall(r"^\| ([^|]+) \| ([^|]+) ", section(title), re.MULTILINE)[1:]


@pytest.mark.parametrize(("written", "number"), rows("Addresses"))
def test_addresses_are_faxed_to_these_numbers(written: str, number: str) -> None:
    address, _ = parse_path(f"TO:{written.strip('`')}", "TO:")
    numbers = find_numbers(address, ["fax.internal", "fax.local"], "IL", CONTACTS)
    named = {
        "the number of the contact `bank`": ("+97239876543",),
        "each number of the list `banks`": ("+97239876543", "+97248123456"),
    }
    assert numbers == named.get(number.strip(), (number.strip(),))


@pytest.mark.parametrize("written", re.findall(r"`([^`]+@[^`]+)`", section("Addresses").partition("display name")[2]))
def test_a_display_name_is_ignored(written: str) -> None:
    assert parse_path(f"TO:{written}", "TO:")[0] in ("scan@office.example", "bank@fax.internal")


def test_every_header_has_its_row() -> None:
    source = (PACKAGE / "submission/letter/headers.py").read_text(encoding="utf-8")
    read = set(re.findall(r'"(X-Mailbridge-[A-Za-z-]+)"', source)) - {"X-Mailbridge-Loop"}
    assert {header.strip("` ") for header, _ in rows("Headers")} == read


def test_the_example_is_read_as_the_page_says(tmp_path: Path) -> None:
    found = re.search(r"<!-- example -->\n```\n(.+?)```", PAGE, re.DOTALL)
    assert found is not None
    (tmp_path / "a.eml").write_bytes(found[1].replace("\n", "\r\n").encode())
    letter = read_letter(tmp_path / "a.eml", "a.eml", "always")
    assert [document.name for document in letter.documents] == ["order.txt"]
    assert (letter.account, letter.page_mode) == ("office", "never")
    assert letter.send_at == datetime(2026, 1, 4, 7, tzinfo=UTC)
    assert letter.tags == {"case": "1723", "branch": "Haifa"}


def test_replies_are_those_of_the_code() -> None:
    source = " ".join(path.read_text(encoding="utf-8") for path in (PACKAGE / "submission").rglob("*.py"))
    replies = [reply for cell, _ in rows("What is rejected") for reply in re.findall(r"`([^`]+)`", cell)]
    assert len(replies) > 12
    pieces = [piece.strip() for reply in replies for piece in reply.split("…")]
    assert not [piece for piece in pieces if piece not in source]
