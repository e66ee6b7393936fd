"""A visit: one request to the console, who makes it, and the answers that it can get."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from mailbridge.console.console import Console
from mailbridge.console.identity import Identity, Language
from mailbridge.console.rendering import Display
from mailbridge.console.texts import Texts, preferred

ROOT: Final = "/console"
LANGUAGE_COOKIE: Final = "mailbridge-language"
_MAX_FORM: Final = 26_000  # bytes of a form without files: a note of 2,000 signs, none of which is ASCII
MAX_FIELDS: Final = 100  # of a form, and of an address


def printable(text: str, kept: str = "") -> str:
    """Return text without its control characters, except those that are `kept`."""
    return "".join(sign for sign in text if sign.isprintable() or sign in kept)


def read_cookie(request: Request, name: str) -> str:
    """Return the value of a cookie as it came, empty without one.

    Starlette and the standard library would decode each cookie, and take half a minute for a request (CVE-2024-7592).
    """
    found = ""
    for piece in ";".join(request.headers.getlist("cookie")).split(";"):
        key, _, value = piece.partition("=")
        if key.strip() == name:
            found = value.strip()
    return found


class BadForm(Exception):
    """The body of a request is not a form, or too large."""


@dataclass(frozen=True)
class Visit:
    """One request. `who` is None before a login; `client` is the address of the browser."""

    request: Request
    console: Console
    who: Identity | None
    client: str

    @property
    def user(self) -> Identity:
        """Who makes the request, where a login is required."""
        assert self.who is not None
        return self.who

    @property
    def now(self) -> datetime:
        """The time."""
        return self.console.runtime.clock()

    @property
    def language(self) -> Language:
        """The language that was chosen in this browser, or of the user, or that the browser prefers, or of the configuration."""
        chosen = preferred(read_cookie(self.request, LANGUAGE_COOKIE))
        of_user = self.who.language if self.who else None
        of_browser = preferred(self.request.headers.get("accept-language", ""))
        return chosen or of_user or of_browser or self.console.config.language

    @property
    def texts(self) -> Texts:
        """The words of that language."""
        return self.console.templates.texts[self.language]

    @cached_property
    def display(self) -> Display:
        """How times, numbers and the like look to this user."""
        return Display(self.texts, self.console.zone, self.console.names)

    @property
    def is_part(self) -> bool:
        """Whether only the part of the page that changes is wanted."""
        return "part" in self.request.query_params

    def query(self, name: str) -> str:
        """Return a parameter of the address, without blanks around it; empty if it is missing."""
        return printable(self.request.query_params.get(name, "")[:200]).strip()

    def path(self, name: str) -> str:
        """Return a parameter of the path."""
        return str(self.request.path_params[name])

    async def form(self) -> dict[str, str]:
        """Return the fields of a form without files. Raises BadForm."""
        body = bytearray()
        async for chunk in self.request.stream():
            body += chunk
            if len(body) > _MAX_FORM:
                raise BadForm("the form is too large")
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
        except ValueError:
            raise BadForm("the form cannot be read") from None

    def actor(self, **more: object) -> dict[str, Any]:
        """Return who does something, and from where, for the audit."""
        return {"user": self.user.name, "client": self.client, "via": "console", **more}

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page, made of a template and values."""
        html = self.console.templates.render(template, {**self._common(), **values})
        return HTMLResponse(html, status, headers={"cache-control": "no-store"})

    def changing_page(self, template: str, part: str, **values: Any) -> Response:
        """Return a page of which `part`, the template of a fragment, is asked for again every few seconds; or that part alone.

        All who may see the same get the same part, so nothing in it may depend on who asks, but for the role.
        """
        if not self.is_part:
            return self.page(template, **values)
        html = self.console.templates.render(part, {**self._common(), **values}).encode()
        tag = f'"{hashlib.sha256(html).hexdigest()[:32]}"'
        return HTMLResponse(html, headers={"cache-control": "no-store", "etag": tag})

    def message(self, key: str, status: int, **values: object) -> Response:
        """Return a page with one text, such as an error."""
        texts = self.texts
        return self.page("message.html", status, title=texts.text(f"{key}.title"), message=texts.text(f"{key}.text", **values))

    def redirect(self, path: str, done: str | None = None) -> Response:
        """Return the answer to a form: the browser gets a page, which says what was `done` (a key of the texts)."""
        query = f"?done={quote(done)}" if done else ""
        return RedirectResponse(f"{ROOT}{path}{query}", 303, headers={"cache-control": "no-store"})

    def _common(self) -> dict[str, Any]:
        texts, request = self.texts, self.request
        done = f"done.{self.query('done')}"
        return {
            "t": texts.text,
            "n": texts.count,
            "texts": texts,
            "show": self.display,
            "root": ROOT,
            "version": self.console.templates.version,
            "who": self.who,
            "linked": self.console.pages,
            "here": request.url.path.removeprefix(ROOT),
            "done": texts.text(done) if texts.has(done) else None,
            "part_url": _with_part(request),
            "now": self.now,
        }


def _with_part(request: Request) -> str:
    """Return the address of the changing part of this page."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in ("part", "done")]
    query = "&".join(f"{quote(name)}={quote(value)}" for name, value in [*kept, ("part", "1")])
    return f"{request.url.path}?{query}"
