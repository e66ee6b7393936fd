"""Builds the HTTP server and the console from the configuration."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime

from starlette.types import ASGIApp

from mailbridge.config import Config, HttpTls, host_port
from mailbridge.console.app import build_console
from mailbridge.console.console import Console, LogIn, Services, ShowPage, TestAnswer
from mailbridge.console.drafting import Drafts
from mailbridge.descriptors import allowed_connections
from mailbridge.errors import ConfigError
from mailbridge.model import Event
from mailbridge.notice.assembly import confirmation_of
from mailbridge.notice.writer import Confirm
from mailbridge.runtime import Runtime
from mailbridge.web.server import WebService
from mailbridge.webhook.ping import ping as send_ping


def console_app(
    config: Config,
    runtime: Runtime,
    log_in: LogIn,
    confirm: Confirm,
    render_event: Callable[[Event], bytes],
    pictures: ShowPage,
    drafts: Drafts,
    mailboxes: Callable[[], Mapping[str, datetime | None]],
) -> ASGIApp | None:
    """Return the console, or None if the configuration does not have it."""
    if not config.http.console:
        return None

    async def confirmation(id: str) -> bytes:
        return base64.b64decode(await confirmation_of(id, runtime.store, config, confirm))

    async def ping(name: str) -> TestAnswer:
        at = runtime.clock()
        _, result = await send_ping(name, config.webhooks[name], runtime.clock)
        return TestAnswer(at=at, milliseconds=result.milliseconds, status=result.status, error=result.error, answer=result.answer)

    services = Services(log_in, confirmation, render_event, pictures, drafts, ping, mailboxes)
    return build_console(Console(config, runtime, services))


async def open_http(config: Config, app: ASGIApp) -> tuple[WebService, tuple[str, int]]:
    """Start the HTTP server; return it with its address. Raises ConfigError."""
    address = config.http.listen
    web = WebService(*host_port(address), app, allowed_connections().http, _tls_context(config.http.tls))
    try:
        return web, await web.start()
    except OSError as error:
        fault = f"cannot listen on {address} ({os.strerror(error.errno or 0)})"
        raise ConfigError("http.listen", fault, "free the port or choose another") from None


def renew_certificate(web: WebService, config: Config) -> None:
    """Let the server use the certificate that its file has now, for connections that begin from now on. Raises ConfigError."""
    if web.tls is not None:
        _load_certificate(web.tls, config.http.tls)


def http_listener(config: Config) -> tuple[object, ...]:
    """Return what the server's listener is made of: with another one, a new server is started."""
    return (config.http.listen, config.http.tls)


def _tls_context(tls: HttpTls) -> ssl.SSLContext | None:
    if tls.certificate is None or tls.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_certificate(context, tls)
    return context


def _load_certificate(context: ssl.SSLContext, tls: HttpTls) -> None:
    assert tls.certificate is not None
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "http.tls.certificate", f"cannot be used ({error})", "give a PEM certificate and the key that belongs to it"
        ) from None
