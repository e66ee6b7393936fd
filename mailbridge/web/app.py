"""The routes: /healthz, /readyz, /version, /metrics, /documents/TOKEN for received documents by signed link, and the console."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from urllib.parse import quote

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mailbridge import __version__, log
from mailbridge.errors import MailbridgeError, NotFound
from mailbridge.store.interface import Store
from mailbridge.store.spool import Spool
from mailbridge.web.links import Links
from mailbridge.web.metrics import Facts, StoreGauges, read_gauges, render
from mailbridge.web.shared_probe import SharedProbe

Check = Callable[[], Awaitable[bool]]
# Seconds after which a part that does not answer counts as not ready, so that a probe never hangs.
_CHECK_TIMEOUT = 5.0


def build(
    store: Store,
    spool: Spool,
    links: Links,
    checks: Mapping[str, Check],
    clock: Callable[[], datetime],
    facts: Callable[[], Facts] = Facts,
    console: ASGIApp | None = None,
) -> Starlette:
    """Return the app. Each of `checks` returns whether the part of the daemon that it is named after is ready.

    `facts` returns what the gauges of /metrics are about. `console` is the app below /console, if there is one.
    """

    metrics = _MetricsPage(store, checks, clock, facts)
    return Starlette(
        routes=[
            Route("/healthz", _healthz),
            Route("/readyz", partial(_readyz, checks)),
            Route("/version", _version),
            Route("/metrics", partial(_metrics, SharedProbe(metrics.render))),
            Route("/documents/{token}", partial(_document, spool, links, clock)),
            *([] if console is None else _console_routes(console)),
        ],
        exception_handlers={OSError: _unavailable, MailbridgeError: _unavailable},
    )


def _console_routes(console: ASGIApp) -> list[BaseRoute]:
    async def to_console(_: Request) -> Response:
        return RedirectResponse("/console/", 303)

    return [Route("/", to_console), Route("/console", to_console), Mount("/console", console)]


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _readyz(checks: Mapping[str, Check], _: Request) -> Response:
    ready = await _run_checks(checks)
    return JSONResponse({"ready": all(ready.values()), "checks": ready}, 200 if all(ready.values()) else 503)


async def _metrics(page: SharedProbe[bytes], _: Request) -> Response:
    return Response(await page(), media_type=CONTENT_TYPE_LATEST)


async def _document(spool: Spool, links: Links, clock: Callable[[], datetime], request: Request) -> Response:
    linked = links.open(request.path_params["token"])
    if linked is None:
        return PlainTextResponse("no such document\n", 404)
    if linked.expires_at <= clock():
        return PlainTextResponse("this link has expired\n", 410)
    try:
        await spool.fetch(linked.path)
        descriptor = spool.open_descriptor(linked.path)
    except (FileNotFoundError, NotFound):
        return PlainTextResponse("this document was deleted\n", 410)
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(linked.filename, safe='')}",
        "x-content-type-options": "nosniff",
        "cache-control": "private, no-store",
    }
    return _OpenFile(descriptor, media_type=linked.content_type, headers=headers)


async def _version(_: Request) -> Response:
    return JSONResponse({"version": __version__})


def _unavailable(request: Request, error: Exception) -> Response:
    """Answer a request for which the machine lacks something now, such as descriptors."""
    log.http_request_failed("http", path=request.url.path[:100], error=str(error))
    return PlainTextResponse("not available now; try again later\n", 503)


class _OpenFile(FileResponse):
    """Sends a file that is open already: nothing that happens to its name meanwhile matters."""

    def __init__(self, descriptor: int, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(f"/proc/self/fd/{descriptor}", media_type=media_type, headers=headers)
        self._descriptor = descriptor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class _MetricsPage:
    store: Store
    checks: Mapping[str, Check]
    clock: Callable[[], datetime]
    facts: Callable[[], Facts]

    async def render(self) -> bytes:
        of_store, ready = await asyncio.gather(_gauges(self.store, self.facts().accounts), _run_checks(self.checks))
        return await asyncio.to_thread(render, of_store, ready, self.facts(), self.clock())


async def _gauges(store: Store, accounts: Sequence[str]) -> StoreGauges | None:
    try:
        return await asyncio.wait_for(store.run(lambda tx: read_gauges(tx, accounts)), _CHECK_TIMEOUT)
    except (MailbridgeError, TimeoutError):
        return None


async def _run_checks(checks: Mapping[str, Check]) -> dict[str, bool]:
    async def one(check: Check) -> bool:
        try:
            return await asyncio.wait_for(check(), _CHECK_TIMEOUT)
        except (MailbridgeError, TimeoutError):
            return False

    return dict(zip(checks, await asyncio.gather(*(one(check) for check in checks.values())), strict=True))
