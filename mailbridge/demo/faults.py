"""The faults of the MyFax simulator: what each does to the answer, and whether the call is carried out all the same."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.responses import RedirectResponse, Response, StreamingResponse

# The call is not carried out.
REFUSALS: Final = {
    "rejected": "RESPONSE_CODE -5",
    "redirect": "HTTP 302 to another URL",
    "reset_in_body": "connection reset during the request (with 20 MB or more, certainly before its end)",
}
# The call is carried out, and its answer is lost.
LOST: Final = {
    "reset": "connection reset",
    "close": "connection closed",
    "hang": "no answer",
    "http_500": "HTTP 500 (also any http_NNN; below 500 the call is not carried out)",
    "html": "HTML page",
    "truncated": "incomplete XML",
    "no_code": "no FAX_CODE",
    "dtd": "document type declaration",
    "endless": "endless answer",
}
# The answer is unusual, and must be read all the same.
READABLE: Final = {
    "spaced": "blanks in the tags",
    "bom": "byte order mark",
    "blank_lines": "leading blank lines",
    "windows_1255": "windows-1255, declared as UTF-8",
}
_STATUS = re.compile(r"http_([1-5][0-9]{2})", re.ASCII)


def is_known(fault: str) -> bool:
    """Whether there is a fault with this name."""
    return fault in REFUSALS or fault in LOST or fault in READABLE or _STATUS.fullmatch(fault) is not None


def carries_out(fault: str | None) -> bool:
    """Whether a call with this fault is carried out."""
    status = _STATUS.fullmatch(fault or "")
    return fault not in REFUSALS and (status is None or int(status[1]) >= 500)


def faulty_answer(fault: str | None, xml: str, stopping: asyncio.Event) -> Response:
    """Return the answer with this fault; an endless one ends when `stopping` is set."""
    if fault is not None and (status := _STATUS.fullmatch(fault)):
        return Response("The service is not available", int(status[1]))
    if fault == "redirect":
        return RedirectResponse("/elsewhere", 302)
    if fault == "endless":
        return StreamingResponse(_endless(xml, stopping), media_type="text/xml")
    if fault == "html":
        return html_page("Welcome to MyFax")
    if fault == "windows_1255":
        return Response(xml.replace(">OK<", ">התקבל<").encode("windows-1255"), media_type="text/xml")
    return Response(_MANGLED[fault](xml) if fault in _MANGLED else xml, media_type="text/xml")


def html_page(text: str) -> Response:
    """Return an HTML page."""
    return Response(f"<html><body>{text}</body></html>", media_type="text/html")


def _spaced(xml: str) -> str:
    """Put blanks into the tags, as MyFax's document prints them."""
    return re.sub(r"<(/?)([A-Z_]+)>", lambda tag: f"</ {tag[2]} >" if tag[1] else f"< {tag[2]}> ", xml)


async def _endless(xml: str, stopping: asyncio.Event) -> AsyncIterator[str]:
    yield xml.removesuffix("</RESPONSE>")
    while not stopping.is_set():
        yield " " * 65536
        await asyncio.sleep(0)


_MANGLED: dict[str | None, Callable[[str], str]] = {
    "truncated": lambda xml: xml[: -len("</RESPONSE>") // 2],
    "no_code": lambda xml: re.sub("<FAX_CODE>.*?</FAX_CODE>", "", xml),
    "dtd": lambda xml: xml.replace("?>", '?><!DOCTYPE RESPONSE [<!ENTITY a "b">]>', 1),
    "spaced": _spaced,
    "bom": lambda xml: f"\ufeff{xml}",
    "blank_lines": lambda xml: f"\r\n\r\n  \n{xml}",
}
