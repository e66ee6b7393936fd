"""docs/lifecycle.md is generated from `mailbridge.lifecycle`: `python -m tests.unit.test_lifecycle_doc` writes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mailbridge.lifecycle import DELIVERY, FAX, FAX_FINAL

PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"
_HEAD = """\
# The life of a fax, and of a delivery

Generated from the tables of `mailbridge/lifecycle.py`; a test compares them.

A fax is *queued* until its upload begins. While it is *uploading*, the upload is recorded on disk. So after a crash the fax is
either queued again, if MyFax provably did not accept it, or *in doubt*; a fax in doubt is not resent automatically. A *submitted*
fax was accepted by MyFax, which now sends it. *Delivered*, *failed* and *cancelled* are final: a later result that agrees is
ignored, and one that contradicts emits `fax.conflict` and changes nothing.
"""


def drawing(start: str, transitions: Iterable[tuple[str, str, str]], final: Iterable[str]) -> str:
    lines = [f"    [*] --> {start}", *(f"    {state} --> {to}: {trigger}" for state, trigger, to in transitions)]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, *(f"    {state} --> [*]" for state in final), "```"])


def page() -> str:
    fax = drawing(
        "queued", ((state, trigger, transition.state) for (state, trigger), transition in FAX.items()), sorted(FAX_FINAL)
    )
    delivery = drawing("pending", ((state, trigger, to) for (state, trigger), to in DELIVERY.items()), ["delivered"])
    events = "\n".join(
        f"| {state} | {trigger} | {transition.state} | {', '.join(f'`{type_}`' for type_ in transition.events)} |"
        for (state, trigger), transition in FAX.items()
    )
    table = f"| from | trigger | to | events |\n|---|---|---|---|\n{events}"
    return f"{_HEAD}\n## A fax\n\n{fax}\n\n{table}\n\n## A delivery: one event to one webhook\n\n{delivery}\n"


def test_the_page_shows_the_tables() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
