"""Links to files that a mail program stored on the web instead of attaching them, as Outlook, Gmail and Apple Mail do. Pure."""

from __future__ import annotations

import re

from mailbridge.submission.letter.covering import deserves_page, start_of_quotation

_LINK = re.compile(
    r"https?://(?:drive\.google\.com/(?:file|open|drive|uc)|docs\.google\.com/[a-z]{1,20}/d/|1drv\.ms/|onedrive\.live\.com/"
    r"|[a-z0-9-]{1,63}\.sharepoint\.com/:[a-z]:/|(?:www\.)?icloud\.com/attachment|(?:www\.)?dropbox\.com/(?:s|sh|scl|t|transfer)/"
    r"|we\.tl/|(?:www\.)?wetransfer\.com/downloads/)",
    re.IGNORECASE,
)
# What stands beside such a link: the file's name and size, and words to click on.
_BESIDE = re.compile(
    r"[^\n]{0,200}https?://[^\n]*|[^\n]{1,100}\.(?:pdf|docx?|xlsx?|pptx?|tiff?|jpe?g|png|heic|zip)\b[^\n]{0,40}"
    r"|(?:click|tap) to download\b[^\n]{0,60}|download (?:all|file|attachment)s?\b[^\n]{0,60}|[\d.,]{1,8} ?[KMG]B"
    r"|[^\n]{0,40}(?:available until|expires)\b[^\n]{0,40}",
    re.IGNORECASE,
)


def has_link(source: str) -> bool:
    """Return whether a text, or the source of an HTML text, has such a link."""
    return _LINK.search(source) is not None


def links_to_file(text: str) -> bool:
    """Return whether a text has such a link before what it quotes."""
    return has_link(text) and has_link(text[: start_of_quotation(text)])


def only_covers_link(text: str) -> bool:
    """Return whether a text says nothing but that there is a file."""
    lines = [line for line in text.split("\n") if not _BESIDE.fullmatch(line.strip()[:400])]
    return not deserves_page("\n".join(lines))
