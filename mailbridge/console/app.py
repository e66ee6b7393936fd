"""The console as an ASGI app: static files, and for each route the checks before its handler."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import groupby
from typing import Final
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mailbridge import log
from mailbridge.console import sessions
from mailbridge.console.console import Console
from mailbridge.console.identity import Identity
from mailbridge.console.routes import ROUTES, Access
from mailbridge.console.security import is_same_origin, security_headers
from mailbridge.console.visit import MAX_FIELDS, ROOT, BadForm, Visit
from mailbridge.errors import MailbridgeError, NotFound

_HEADERS: Final = [(name.encode(), value.encode()) for name, value in security_headers().items()]
_YEAR: Final = 365 * 24 * 3600
Endpoint = Callable[[Request], Awaitable[Response]]


def build_console(console: Console) -> ASGIApp:
    """Return the console, to be mounted at /console."""
    console = replace(console, pages=frozenset(one.path for one in ROUTES if one.method == "GET"))
    # It logs what is wrong with a form, as the browser wrote it.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    routes = [
        Route(path, _endpoint(console, {one.method: one for one in methods}), methods=[one.method for one in methods])
        for path, methods in ((path, list(found)) for path, found in groupby(sorted(ROUTES, key=_path), _path))
    ]
    static = [Route(f"/static/{{version}}/{name}", _static(*file)) for name, file in console.templates.static.items()]
    # Routes without parameters come first: "/faxes/new" is not the fax "new".
    routes.sort(key=lambda route: route.path.count("{"))
    app = Starlette(routes=[*static, *routes, Route("/{path:path}", _endpoint(console, {}), methods=["GET", "POST"])])
    return _with_security_headers(app)


def _path(access: Access) -> str:
    return access.path


def _static(kind: str, content: bytes) -> Endpoint:
    async def serve(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"cache-control": f"public, max-age={_YEAR}, immutable"})

    return serve


def _endpoint(console: Console, methods: dict[str, Access]) -> Endpoint:
    """Return what answers one path: the checks of the request and of the role, then the handler."""

    async def answer(request: Request) -> Response:
        if request.scope["query_string"].count(b"&") >= MAX_FIELDS:
            return PlainTextResponse("too many parameters\n", 400)
        peer = request.client.host if request.client else ""
        client = console.proxies.client(peer, request.headers.getlist("x-forwarded-for"))
        visit = Visit(request, console, None, client)
        try:
            visit = Visit(request, console, await _identity(console, request, peer), client)
            return await _checked(visit, methods.get("GET" if request.method == "HEAD" else request.method))
        except NotFound:
            return visit.message("not_found", 404)
        except BadForm:
            return visit.message("bad_form", 400)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except (OSError, MailbridgeError) as error:
            log.http_request_failed("console", path=request.url.path[:100], error=str(error))
            return visit.message("unavailable", 503)
        except Exception as error:
            log.page_crashed("console", path=request.url.path[:100], error=repr(error))
            return visit.message("crashed", 500)

    return answer


async def _identity(console: Console, request: Request, peer: str) -> Identity | None:
    header = console.config.http.proxy_user
    named = None if header is None else console.proxies.user(peer, request.headers.getlist(header))
    if named is not None:
        return console.identity(named, None)
    return await sessions.find(console, request)


async def _checked(visit: Visit, access: Access | None) -> Response:
    request = visit.request
    if not is_same_origin(request.method, request.headers, visit.console.config.http.public_url):
        return visit.message("other_origin", 403)
    if access is None:
        return visit.message("not_found", 404)
    if access.roles is not None and visit.who is None:
        return _to_login(visit)
    if access.roles is not None and visit.user.role not in access.roles:
        return visit.message("forbidden", 403)
    if access.method == "POST":
        try:
            return await access.handler(visit)
        finally:
            visit.console.parts.forget()
    return await _part(visit, access) if visit.is_part and access.has_part else await access.handler(visit)


async def _part(visit: Visit, access: Access) -> Response:
    """Return the part of a page that changes, or 304 if the browser has it. All who may see the same share it."""
    who = (visit.user.role, visit.user.own) if visit.who else None
    key = (visit.request.method, visit.request.url.path, visit.request.url.query, visit.language, who)
    answer = await visit.console.parts.answer(key, lambda: access.handler(visit))
    tag = answer.headers.get("etag")
    if tag is not None and visit.request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"cache-control": "no-store", "etag": tag})
    return answer


def _to_login(visit: Visit) -> Response:
    """Return the way to the login, and from there back; a part of a page that is asked for by the script is just refused."""
    if visit.is_part:
        return visit.message("login_needed", 401)
    url = visit.request.url
    target = f"{url.path}?{url.query}" if url.query else url.path
    query = f"?next={quote(target)}" if visit.request.method in ("GET", "HEAD") and target != f"{ROOT}/" else ""
    return RedirectResponse(f"{ROOT}/login{query}", 303, headers={"cache-control": "no-store"})


def _with_security_headers(app: ASGIApp) -> ASGIApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in _HEADERS if one[0] not in given)]
            await send(message)

        await app(scope, receive, send_with_headers)

    return serve
