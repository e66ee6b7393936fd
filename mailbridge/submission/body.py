"""The text of a mail: which parts are its body, and what they say."""

from __future__ import annotations

import re
from urllib.parse import unquote

from mailbridge.submission.charsets import decode_text, join_cut_lines
from mailbridge.submission.flowed import join_flowed
from mailbridge.submission.html_text import text_of_html
from mailbridge.submission.mime import Mail
from mailbridge.submission.mime_part import Part
from mailbridge.submission.page import clean

_MAX_BODY = 2_000_000
_CID = re.compile(r"""cid:([^"'\s>)]+)""", re.IGNORECASE)


def is_text(part: Part) -> bool:
    """Return whether a part is text of the mail itself, rather than a file."""
    return (
        part.content_type in ("text/plain", "text/html", "text/enriched")
        and not part.filename
        and part.disposition != "attachment"
    )


def has_html(mail: Mail) -> bool:
    """Return whether the mail has HTML text, alone or beside plain text."""
    return any(part.content_type == "text/html" and is_text(part) for part in mail.parts)


def read(mail: Mail) -> tuple[str, frozenset[str]]:
    """Return the mail's text, and the Content-IDs of the pictures that its HTML shows.

    Plain text is preferred to the text of HTML. The text of a forwarded mail counts only if the outer mail has none. Raises
    Refused for a text of more than 2 MB.
    """
    plain: dict[int, list[str]] = {}
    rich: dict[int, list[str]] = {}
    shown: set[str] = set()
    for part in filter(is_text, mail.parts):
        content = mail.content(part, _MAX_BODY)
        text = decode_text(join_cut_lines(content) if part.encoding == "identity" else content, part.charset)
        if part.content_type == "text/html":
            shown.update(unquote(cid) for cid in _CID.findall(text))
            rich.setdefault(part.forwarded, []).append(text_of_html(text))
        else:
            plain.setdefault(part.forwarded, []).append(join_flowed(text, part.delsp) if part.flowed else text)
    for level in sorted(plain.keys() | rich.keys()):
        for texts in (plain.get(level, []), rich.get(level, [])):
            text = "\n".join(clean(text).strip("\n") for text in texts)
            if text.strip():
                return text, frozenset(shown)
    return "", frozenset(shown)
