"""The pages for people: their links lead somewhere, and what the log may say is explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mailbridge import __version__

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


def test_the_table_of_log_lines_has_one_row_for_each_warning_and_error() -> None:
    source = (ROOT / "mailbridge/log.py").read_text(encoding="utf-8")
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8").partition("## Lines of the log")[2]
    events = re.findall(r'_event\("([^"]+)", "(?:warning|error)"\)', source)
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| [^|]+ \|$", page, re.MULTILINE)
    assert sorted(rows) == sorted(["line", *events])
    assert len(set(events)) == len(events)


def test_every_log_event_is_used() -> None:
    names = re.findall(r"^(\w+) = _event", (ROOT / "mailbridge/log.py").read_text(encoding="utf-8"), re.MULTILINE)
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "mailbridge").rglob("*.py"))
    assert not [name for name in names if not re.search(rf"\blog\.{name}\b", code)]


def test_the_changelog_has_a_section_for_the_version_first_but_for_what_is_not_released_yet() -> None:
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    released = [section for section in sections if section != "Unreleased"]
    assert sections[-len(released) :] == released
    assert re.fullmatch(rf"{re.escape(__version__)} \(\d{{4}}-\d\d-\d\d\)", released[0])
