"""The readable text of an HTML mail: blocks are lines, lists keep their markers, and small tables their columns. Pure.

The columns of a table are separated by tabs, which the page aligns. Nothing that is shown is left out: where the HTML is broken,
its text is kept.
"""

from __future__ import annotations

import html
import re

from mailbridge.submission.letter.html_layout import MAX_COLUMNS, Flow, Table
from mailbridge.submission.letter.html_tokens import EndTag, StartTag, Text, tokens

# Blocks that are set apart from what is around them, and blocks that only begin a line.
_APART = {"blockquote", "dl", "fieldset", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "ol", "p", "pre", "ul"}
_LINE = {
    *("address", "article", "aside", "caption", "center", "dd", "div", "dt", "figure", "footer", "form", "header", "li", "main"),
    *("nav", "section"),
}
_VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "wbr"}
_HIDING = re.compile(r"display\s*:\s*none|mso-hide\s*:\s*all|visibility\s*:\s*hidden", re.IGNORECASE)
_NAME = re.compile(r"[^\s=/]+")
_ATTRIBUTE = re.compile(r"""([^\s=/"']{1,50})\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))""")
_MOST = 10_000  # characters of a tag's attributes that are looked at
_ASSIGNED = re.compile(r"""=\s*(?:"[^"]*"|'[^']*'|[^\s"']*)""")
# As WhatsApp writes it, which everybody knows: a fax must not show what was struck out like the rest.
_STRUCK, _STRIKE = ("s", "strike", "del"), "~"
_UNSEEN_INPUTS = ("hidden", "submit", "button", "image", "reset", "password", "file")
# Outlook writes each line as a paragraph with no space around it.
_TIGHT = re.compile(r"\bMsoNormal\b|\bmargin(?:-bottom)?\s*:\s*0", re.IGNORECASE)
_FIRST_NUMBER = re.compile(r"""\bstart\s*=\s*["']?(\d{1,6})""", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\r\n\f]+")
_SHOWN = re.compile(r"""\bsrc\s*=\s*["']?\s*cid:([^"'\s>]+)""", re.IGNORECASE)
# Stands for a picture while it is looked where in the text it is. No text has such characters: they are for private use.
_MARKS, _MAX_PICTURES = 0xF0000, 1000
MARK = re.compile(f"[{chr(_MARKS)}-{chr(_MARKS + _MAX_PICTURES)}]")
_INDENT = "   "
_MAX_DEPTH = 20  # of tables, and of lists, in each other; what is deeper is only lines


def text_of_html(source: str) -> str:
    """Return the readable text of HTML."""
    return without_marks(text_with_marks(source)[0])


def text_with_marks(source: str) -> tuple[str, list[str]]:
    """Return the readable text with a character that matches MARK for each picture of the mail, and their Content-IDs."""
    reader = _Reader()
    for token in tokens(MARK.sub("", source)):
        reader.read(token)
    return "\n".join(line if line.strip() else "" for line in reader.finish()), reader.pictures


def without_marks(text: str) -> str:
    """Return what `text_with_marks` returned without the marks, and without the lines that have nothing else."""
    lines = [line for line in text.split("\n") if not line or MARK.sub("", line).strip()]
    return re.sub(r"\n{3,}", "\n\n", MARK.sub("", "\n".join(lines))).strip("\n")


class _Choice:
    """The options of a list to choose from: only the chosen one is shown, the first where none is."""

    def __init__(self) -> None:
        self.is_open = False
        self._options: list[list[str]] = []
        self._chosen = 0

    def start(self, tag: StartTag) -> None:
        """Begin the list, or one of its options."""
        if tag.name == "select":
            self.is_open, self._options, self._chosen = True, [], 0
        elif self.is_open:
            self._chosen = len(self._options) if _has_attribute(tag.attributes, "selected") else self._chosen
            self._options.append([])

    def add(self, text: str) -> None:
        """Add to the option that is open."""
        if self._options:
            self._options[-1].append(text)

    def end(self) -> str:
        """End the list; return the chosen option."""
        chosen = "".join(self._options[self._chosen]).strip() if self._options else ""
        self.is_open, self._options = False, []
        return chosen


def _is_hidden(attributes: str) -> bool:
    return _HIDING.search(attributes) is not None or _has_attribute(attributes, "hidden")


def _has_attribute(attributes: str, name: str) -> bool:
    """Return whether an attribute is there, with any value."""
    return name in attributes.lower() and name in _NAME.findall(_ASSIGNED.sub(" ", attributes).lower())


def _value(attributes: str, name: str) -> str:
    """Return the value of an attribute, or nothing."""
    found = next((found for found in _ATTRIBUTE.finditer(attributes[:_MOST]) if found[1].lower() == name), None)
    return html.unescape(next((value for value in found.groups()[1:] if value is not None), "")) if found else ""


def _columns(attributes: str) -> int:
    """Return how many columns a cell is wide."""
    span = _value(attributes, "colspan") if "colspan" in attributes.lower() else ""
    return min(int(span), MAX_COLUMNS) if span.isdecimal() and len(span) < 4 else 1


def _input_text(attributes: str) -> str:
    """Return what a reader sees of a field of a form that the sender filled in."""
    kind = _value(attributes, "type").lower()
    if kind in ("checkbox", "radio"):
        return "☑ " if _has_attribute(attributes, "checked") else "☐ "
    return "" if kind in _UNSEEN_INPUTS else f" {_value(attributes, 'value')} "


class _Reader:
    """Collects the lines of a mail from its tags and texts."""

    def __init__(self) -> None:
        self.pictures: list[str] = []
        self._mail = Flow()
        self._tables: list[tuple[Table, Flow]] = []  # each with the flow around it
        self._deeper_tables = 0
        self._lists: list[int | None] = []  # the next number of each list that is open; None for bullets
        self._preformatted = 0
        self._is_tight = self._is_raised = False
        self._choice = _Choice()
        self._hidden_in: str | None = None
        self._hidden_depth = 0
        self._hidden: list[Text] = []

    @property
    def _flow(self) -> Flow:
        table, around = self._tables[-1] if self._tables else (None, self._mail)
        return table.cell if table is not None and table.cell is not None else around

    def read(self, token: Text | StartTag | EndTag) -> None:
        """Take the next token."""
        if self._hidden_in is not None:
            self._read_hidden(token)
        elif isinstance(token, Text):
            self._add_text(token.content)
        elif isinstance(token, EndTag):
            self._end(token.name)
        elif token.name not in _VOID and _is_hidden(token.attributes):
            self._hidden_in, self._hidden_depth = token.name, 1
        else:
            self._start(token)

    def finish(self) -> list[str]:
        """End everything that is open, and return the lines."""
        self._flow.add(self._choice.end())
        # What is hidden to the end was hidden by mistake.
        for text in self._hidden:
            self._add_text(text.content)
        self._deeper_tables = 0
        while self._tables:
            self._end_table()
        self._mail.end_line()
        return self._mail.lines

    def _read_hidden(self, token: Text | StartTag | EndTag) -> None:
        """Keep hidden text aside until its element ends."""
        if isinstance(token, Text):
            self._hidden.append(token)
        elif token.name == self._hidden_in:
            self._hidden_depth += 1 if isinstance(token, StartTag) else -1
            if self._hidden_depth == 0:
                self._hidden_in = None
                self._hidden.clear()

    def _add_text(self, text: str) -> None:
        if self._choice.is_open:
            self._choice.add(text)
            return
        if self._is_raised and text[:1].isdigit() and self._flow.ends_in_word():
            text = f"^{text}"  # ten to the fifth is not 105
        self._is_raised = False
        if not self._preformatted:
            self._flow.add(_SPACES.sub(" ", text))
            return
        for number, line in enumerate(text.replace("\r\n", "\n").split("\n")):
            if number:
                self._flow.break_line()
            self._flow.add(line.replace(" ", "\xa0"))

    def _start(self, tag: StartTag) -> None:
        name = tag.name
        if name == "br":
            self._flow.break_line()
        elif name == "img":
            self._mark_picture(tag.attributes)
        elif name == "input":
            self._flow.add(_input_text(tag.attributes))
        elif name in ("select", "option"):
            self._choice.start(tag)
        elif name in _STRUCK:
            self._flow.add(_STRIKE)
        elif name == "table":
            self._start_table()
        elif name in ("tr", "td", "th"):
            self._start_in_table(tag)
        elif name == "li":
            self._start_item()
        elif name in _APART or name in _LINE:
            if name == "p":
                self._is_tight = _TIGHT.search(tag.attributes) is not None
            self._part(name)
        if name in ("ol", "ul") and len(self._lists) < _MAX_DEPTH:
            first = _FIRST_NUMBER.search(tag.attributes)
            self._lists.append(None if name == "ul" else int(first[1]) if first else 1)
        self._preformatted += name == "pre"
        self._is_raised = self._is_raised or name == "sup"

    def _mark_picture(self, attributes: str) -> None:
        found = _SHOWN.search(attributes)
        if found is not None and len(self.pictures) < _MAX_PICTURES:
            self._flow.add(chr(_MARKS + len(self.pictures)))
            self.pictures.append(found[1])

    def _end(self, name: str) -> None:
        self._is_raised = False
        if name in _STRUCK:
            self._flow.add(_STRIKE)
        elif name == "select":
            self._flow.add(self._choice.end())
        if name in ("ol", "ul") and self._lists:
            self._flow.end_line()
            self._lists.pop()
            self._flow.indent = _INDENT * len(self._lists)
        if name == "table":
            self._end_table()
        elif name in ("tr", "td", "th") and self._tables and not self._deeper_tables:
            self._tables[-1][0].end_cell()
        elif name in _APART or name in _LINE:
            self._part(name)
        self._preformatted -= name == "pre" and self._preformatted > 0

    def _part(self, name: str) -> None:
        """End the line, and set the next one apart where such a block begins or ends."""
        if name in _APART and not self._lists and not (name == "p" and self._is_tight):
            self._flow.set_apart()
        else:
            self._flow.end_line()

    def _start_item(self) -> None:
        number = self._lists[-1] if self._lists else None
        if number is not None:
            self._lists[-1] = number + 1
        depth = max(len(self._lists), 1)
        self._flow.end_line()
        self._flow.marker = _INDENT * (depth - 1) + ("• " if number is None else f"{number}. ")
        self._flow.indent = _INDENT * depth

    def _start_table(self) -> None:
        if len(self._tables) == _MAX_DEPTH:
            self._deeper_tables += 1
            self._flow.end_line()
            return
        around = self._flow
        if self._tables:
            self._tables[-1][0].is_nesting = True
            around.end_line()
        else:
            around.set_apart()
        self._tables.append((Table(), around))

    def _start_in_table(self, tag: StartTag) -> None:
        if not self._tables or self._deeper_tables:
            self._flow.end_line()
        elif tag.name == "tr":
            self._tables[-1][0].add_row()
        else:
            self._tables[-1][0].add_cell(_columns(tag.attributes))

    def _end_table(self) -> None:
        if self._deeper_tables:
            self._deeper_tables -= 1
        elif self._tables:
            table, around = self._tables.pop()
            around.end_line()
            for line in table.to_lines():
                around.add_line(line)
            around.is_apart = not self._tables
