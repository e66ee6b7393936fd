"""HTML as a sequence of texts and tags, read once from left to right in linear time. Pure.

The standard library's parser is quadratic on `<a <a <a`, and a mail comes from a stranger. This one knows what the text of a mail
needs: where tags, comments and scripts begin and end. What does not end is text, so that a broken mail loses nothing.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

_NAME = re.compile(r"[a-zA-Z][^\s/>]*")
_QUOTE_OR_END = re.compile(r"""=\s*["']|>""")
# Elements whose content is not HTML, and is never shown.
_SILENT = {name: re.compile(f"</{name}", re.IGNORECASE) for name in ("script", "style", "template", "title")}


class Text(NamedTuple):
    """Text between tags, its character references decoded."""

    content: str


class StartTag(NamedTuple):
    """The beginning of an element: its name in lower case, and its attributes as they are written."""

    name: str
    attributes: str


class EndTag(NamedTuple):
    """The end of an element."""

    name: str


class Source:
    """The text of an HTML document. A search that found nothing up to its end is not made a second time."""

    def __init__(self, content: str) -> None:
        self.content = content
        self.absent: set[str] = set()

    def find(self, what: re.Pattern[str], start: int) -> re.Match[str] | None:
        """Return the first match from `start` on. Searches for one pattern must not go back."""
        if what.pattern in self.absent:
            return None
        found = what.search(self.content, start)
        if found is None:
            self.absent.add(what.pattern)
        return found


_OPENING = re.compile("<")
_END = re.compile(">")
_END_OF_COMMENT = re.compile("-->")
_END_OF_QUOTED = {'"': re.compile('"'), "'": re.compile("'")}


def tokens(content: str) -> Iterator[Text | StartTag | EndTag]:
    """Yield the texts and tags of an HTML document."""
    source = Source(content)
    position = 0
    while (opening := source.find(_OPENING, position)) is not None:
        if opening.start() > position:
            yield Text(html.unescape(content[position : opening.start()]))
        position = opening.start()
        end, tag = _markup(source, position)
        if end is None:
            # Only what is followed by a ">" somewhere can be a tag.
            break
        if end == position:
            yield Text("<")
            position += 1
            continue
        position = end
        if tag is not None:
            yield tag
        if isinstance(tag, StartTag) and tag.name in _SILENT and (closing := source.find(_SILENT[tag.name], position)):
            position = closing.start()
    if position < len(content):
        yield Text(html.unescape(content[position:]))


def _markup(source: Source, start: int) -> tuple[int | None, StartTag | EndTag | None]:
    """Return where the markup that begins with a "<" ends, and its tag, if it is one.

    The end is None where no markup can end any more, and the start where the "<" is text.
    """
    content = source.content
    if content.startswith("<!--", start) and (comment := source.find(_END_OF_COMMENT, start + 2)):
        return comment.end(), None
    if content.startswith(("<!", "<?"), start):
        end = source.find(_END, start)
        return end and end.end(), None
    closing = content.startswith("/", start + 1)
    name = _NAME.match(content, start + 1 + closing)
    if name is None:
        return start, None
    end = _end_of_tag(source, name.end())
    if end is None:
        return None, None
    tag = EndTag(name[0].lower()) if closing else StartTag(name[0].lower(), content[name.end() : end.start()])
    return end.end(), tag


def _end_of_tag(source: Source, start: int) -> re.Match[str] | None:
    """Return the ">" that ends a tag: the first that is not in a quoted value, or the first of all where there is none such."""
    position = start
    while (found := source.find(_QUOTE_OR_END, position)) is not None:
        if found[0] == ">":
            return found
        quoted = source.find(_END_OF_QUOTED[found[0][-1]], found.end())
        position = quoted.end() if quoted else found.end()
    return source.find(_END, start)
