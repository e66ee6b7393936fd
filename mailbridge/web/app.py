"""The routes: health, readiness, metrics, and received documents by signed link."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from urllib.parse import quote

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from mailbridge.errors import MailbridgeError
from mailbridge.store.interface import Store
from mailbridge.store.spool import Spool
from mailbridge.web import metrics
from mailbridge.web.links import Links

Check = Callable[[], Awaitable[bool]]
# A store that does not answer within this many seconds is not ready, and its probe must not hang.
_CHECK_SECONDS = 5.0


def build(store: Store, spool: Spool, links: Links, checks: Mapping[str, Check], clock: Callable[[], datetime]) -> Starlette:
    """Return the app. `checks` say, each by its name, whether a part of the daemon is ready."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        states = await _ask(checks)
        return JSONResponse({"ready": all(states.values()), "checks": states}, 200 if all(states.values()) else 503)

    async def metrics_(_: Request) -> Response:
        counts, states = await asyncio.gather(_counted(store), _ask(checks))
        return Response(metrics.render(counts, states), media_type=CONTENT_TYPE_LATEST)

    async def document(request: Request) -> Response:
        linked = links.open(request.path_params["token"])
        if linked is None:
            return PlainTextResponse("no such document\n", 404)
        if linked.expires_at <= clock():
            return PlainTextResponse("this link has expired\n", 410)
        path = spool.path(linked.path)
        if not path.is_file():
            return PlainTextResponse("this document was deleted\n", 410)
        headers = {
            "content-disposition": f"attachment; filename*=UTF-8''{quote(linked.filename, safe='')}",
            "x-content-type-options": "nosniff",
            "cache-control": "private, no-store",
        }
        return FileResponse(path, media_type=linked.content_type, headers=headers)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics_),
            Route("/documents/{token}", document),
        ]
    )


async def _counted(store: Store) -> metrics.Counts | None:
    try:
        return await asyncio.wait_for(store.run(lambda tx: (tx.faxes.counts(), tx.deliveries.counts())), _CHECK_SECONDS)
    except (MailbridgeError, TimeoutError):
        return None


async def _ask(checks: Mapping[str, Check]) -> dict[str, bool]:
    async def one(check: Check) -> bool:
        try:
            return await asyncio.wait_for(check(), _CHECK_SECONDS)
        except (MailbridgeError, TimeoutError):
            return False

    return dict(zip(checks, await asyncio.gather(*(one(check) for check in checks.values())), strict=True))
