"""The pages for people: their links lead somewhere, and what the log may say is explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md"), *(ROOT / ".github").glob("*.md")])


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_what_the_log_warns_of_is_explained() -> None:
    source = (ROOT / "mailbridge/log.py").read_text(encoding="utf-8")
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8").partition("## Lines of the log")[2]
    told = re.findall(r'_event\("([^"]+)", "(?:warning|error)"\)', source)
    assert told
    assert not [words for words in told if words not in page]
