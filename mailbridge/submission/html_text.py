"""The readable text of an HTML mail."""

from __future__ import annotations

import html.parser
import re

_BLOCKS = {
    *("address", "article", "blockquote", "br", "div", "dl", "dt", "dd", "fieldset", "h1", "h2", "h3", "h4", "h5", "h6"),
    *("hr", "li", "ol", "p", "pre", "section", "table", "tr", "ul"),
}
_SILENT = {"head", "script", "style", "title", "template"}


class _Strip(html.parser.HTMLParser):
    """Collects the readable text of HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a new line at a block, and be silent where nothing is meant to be read."""
        if tag in _SILENT:
            self._silent.append(tag)
        elif tag == "body":
            self._silent.clear()
        elif tag in _BLOCKS:
            self.pieces.append("\n")
        elif tag in ("td", "th"):
            self.pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        """End what the tag began."""
        if tag in self._silent:
            del self._silent[self._silent.index(tag) :]
        elif tag in _BLOCKS and tag != "br":
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        """Keep text that is shown, its white space as one space."""
        if not self._silent:
            self.pieces.append(re.sub(r"\s+", " ", data))


def text_of_html(source: str) -> str:
    """Return the readable text of HTML; scripts, styles and tags are gone, blocks are lines."""
    strip = _Strip()
    strip.feed(source)
    strip.close()
    lines = (re.sub(" +", " ", line).strip() for line in "".join(strip.pieces).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
