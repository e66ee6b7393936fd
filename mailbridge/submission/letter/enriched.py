"""Text of the type text/enriched (RFC 1896), which old Macs and Lotus Notes send, as HTML. Pure."""

from __future__ import annotations

import html
import re

_PARAMETER = re.compile(r"<param>[^<]{0,200}</param>", re.IGNORECASE)
_ENDS = re.compile(r"\n+")


def enriched_to_html(text: str) -> str:
    """Return HTML with the same lines: one end of line is a space, and each further one ends a line. `<<` is a bracket."""
    text = _PARAMETER.sub("", text.replace("\r\n", "\n"))
    text = html.escape(text, quote=False).replace("&lt;&lt;", "\0").replace("&lt;", "<").replace("&gt;", ">")
    text = text.replace("\0", "&lt;")
    return _ENDS.sub(lambda found: "<br>" * (len(found[0]) - 1) or " ", text)
