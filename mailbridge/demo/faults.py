"""The ways in which the stand-in of MyFax can misbehave: what is done to an answer, and whether the call still counts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.responses import RedirectResponse, Response, StreamingResponse

# Before anything is taken.
REFUSALS: Final = {
    "rejected": "RESPONSE_CODE -5",
    "redirect": "HTTP 302 to another address",
    "reset_in_body": "reset while the body is read (surely before its end with 20 MB)",
}
# After the call was taken whole: only its answer is lost.
LOST: Final = {
    "reset": "takes it and resets the connection",
    "close": "takes it and closes without an answer",
    "hang": "takes it and never answers",
    "http_500": "takes it and answers HTTP 500 (any http_NNN; below 500 nothing is taken)",
    "html": "takes it and answers an HTML page",
    "truncated": "takes it and answers XML that is cut off",
    "no_code": "takes it and answers without a FAX_CODE",
    "dtd": "takes it and answers with a DTD",
    "endless": "takes it and answers without an end",
}
# Ugly, and to be read all the same.
READABLE: Final = {
    "spaced": "answers with blanks in the tags",
    "bom": "answers with a BOM",
    "blank_lines": "answers after blank lines",
    "windows_1255": "answers in windows-1255 under a UTF-8 declaration",
}
_STATUS = re.compile(r"http_([1-5][0-9]{2})", re.ASCII)


def known(fault: str) -> bool:
    """Tell whether there is a fault of this name."""
    return fault in REFUSALS or fault in LOST or fault in READABLE or _STATUS.fullmatch(fault) is not None


def takes(fault: str | None) -> bool:
    """Tell whether a call with this fault is taken."""
    status = _STATUS.fullmatch(fault or "")
    return fault not in REFUSALS and (status is None or int(status[1]) >= 500)


def spoil(fault: str | None, xml: str, over: asyncio.Event) -> Response:
    """Return the answer with its fault; an endless one ends when `over` is set."""
    if fault is not None and (status := _STATUS.fullmatch(fault)):
        return Response("The service is not available", int(status[1]))
    if fault == "redirect":
        return RedirectResponse("/elsewhere", 302)
    if fault == "endless":
        return StreamingResponse(_without_end(xml, over), media_type="text/xml")
    if fault == "html":
        return page("Welcome to MyFax")
    if fault == "windows_1255":
        return Response(xml.replace(">OK<", ">התקבל<").encode("windows-1255"), media_type="text/xml")
    return Response(_SPOILT[fault](xml) if fault in _SPOILT else xml, media_type="text/xml")


def page(text: str) -> Response:
    """Return an HTML page, as a browser is meant to see it."""
    return Response(f"<html><body>{text}</body></html>", media_type="text/html")


def _spaced(xml: str) -> str:
    """Put blanks where the service's document prints them."""
    return re.sub(r"<(/?)([A-Z_]+)>", lambda tag: f"</ {tag[2]} >" if tag[1] else f"< {tag[2]}> ", xml)


async def _without_end(xml: str, over: asyncio.Event) -> AsyncIterator[str]:
    yield xml.removesuffix("</RESPONSE>")
    while not over.is_set():
        yield " " * 65536
        await asyncio.sleep(0)


_SPOILT: dict[str | None, Callable[[str], str]] = {
    "truncated": lambda xml: xml[: -len("</RESPONSE>") // 2],
    "no_code": lambda xml: re.sub("<FAX_CODE>.*?</FAX_CODE>", "", xml),
    "dtd": lambda xml: xml.replace("?>", '?><!DOCTYPE RESPONSE [<!ENTITY a "b">]>', 1),
    "spaced": _spaced,
    "bom": lambda xml: f"\ufeff{xml}",
    "blank_lines": lambda xml: f"\r\n\r\n  \n{xml}",
}
