"""Downloads documents by their URLs: only from MyFax's own hosts, within limits, and continued where one broke off."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import datetime, tzinfo
from types import TracebackType
from typing import BinaryIO, Final, Self
from urllib.parse import urljoin

import httpx

from mailbridge.errors import MyFaxError
from mailbridge.myfax.transport import default_tls

DOMAIN: Final = "myfax.co.il"
MAX_DOCUMENT: Final = 100_000_000
_MAX_REDIRECTS: Final = 3
_HOST: Final = re.compile(r"[a-z0-9.-]{1,255}")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# First bytes, media type and file ending.
_TYPES: Final = (
    (re.compile(rb"\s{0,16}%PDF-"), "application/pdf", ".pdf"),
    (re.compile(rb"II\*\x00|MM\x00\*"), "image/tiff", ".tiff"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg", ".jpg"),
    (re.compile(rb"\x89PNG\r\n"), "image/png", ".png"),
    (re.compile(rb"RIFF.{4}WAVE", re.DOTALL), "audio/wav", ".wav"),
    (re.compile(rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"), "audio/mpeg", ".mp3"),
    (re.compile(rb"OggS"), "audio/ogg", ".ogg"),
)
_HTML = re.compile(rb"\s{0,200}(?:<!doctype|<html|<head|<\?xml)", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15}|\*)", re.ASCII)


class NotFetched(MyFaxError):
    """A document that could not be downloaded. `retryable` says whether another try may succeed."""

    def __init__(self, reason: str, retryable: bool = True) -> None:
        self.retryable = retryable
        super().__init__(reason)


class Documents:
    """Downloads documents from MyFax's own domain and from the host of `service` (`myfax.url`). An async context manager.

    `limit` is the size of the largest document in bytes, `timeout` the seconds for one whole download. No password is sent there.
    """

    def __init__(self, service: str, timeout: float = 120.0, limit: int = MAX_DOCUMENT) -> None:
        self._service, self._timeout, self._limit = httpx.URL(service), timeout, limit
        self._http = httpx.AsyncClient(
            verify=default_tls(),
            follow_redirects=False,
            trust_env=False,
            timeout=timeout,
            headers={"Accept-Encoding": "identity", "User-Agent": "mailbridge"},
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.aclose()

    async def fetch(self, url: str, file: BinaryIO, progress: Callable[[int, int | None], None] = lambda *_: None) -> None:
        """Append a document to what `file` has of it; `progress` is called with the bytes so far and in all. Raises NotFetched.

        What a failed download has written stays. The next one continues there, if the server can.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._follow(url, file, progress)
        except TimeoutError:
            raise NotFetched(f"the document did not arrive completely within {self._timeout:g} s") from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise NotFetched(f"the document cannot be fetched: {type(error).__name__}: {error}".rstrip(": ")) from None
        if file.tell() == 0:
            raise NotFetched("the document is empty")
        file.seek(0)
        if _HTML.match(file.read(300)):
            file.truncate(0)
            raise NotFetched("MyFax answered with a web page instead of the document")
        file.seek(0, 2)

    async def _follow(self, url: str, file: BinaryIO, progress: Callable[[int, int | None], None]) -> None:
        for _ in range(1 + _MAX_REDIRECTS):
            self._check_url(url)
            had = file.seek(0, 2)
            wanted = {"Range": f"bytes={had}-"} if had else {}
            async with self._http.stream("GET", url, headers=wanted) as response:
                if not response.has_redirect_location:
                    await self._receive(response, file, had, progress)
                    return
                url = _redirected(url, response.headers["Location"])
        raise NotFetched("MyFax redirects without an end")

    def _check_url(self, url: str) -> None:
        """Raise NotFetched for an address that is not MyFax's: a manipulated list must not make mailbridge connect elsewhere."""
        try:
            target = httpx.URL(url)
        except (httpx.InvalidURL, ValueError):
            raise NotFetched("the document's address is invalid", retryable=False) from None
        host, service = target.host.lower().rstrip("."), self._service
        at_service = host == service.host.lower() or {host, service.host.lower()} <= set(_LOOPBACK)
        ours = at_service or (_HOST.fullmatch(host) is not None and f".{host}".endswith(f".{DOMAIN}"))
        usual = target.port is None or target.port == 443 or (at_service and (host in _LOOPBACK or target.port == service.port))
        # Only the MyFax simulator on this machine is without TLS.
        clear = at_service and host in _LOOPBACK and target.scheme == service.scheme == "http"
        if target.userinfo or not ours or not usual or not (target.scheme == "https" or clear):
            address = f"{target.scheme}://{host[:100]}{'' if usual else f':{target.port}'}"
            raise NotFetched(f"the document's address is not MyFax's ({address})", retryable=False)

    async def _receive(
        self, response: httpx.Response, file: BinaryIO, had: int, progress: Callable[[int, int | None], None]
    ) -> None:
        if response.status_code == 416:
            if response.headers.get("Content-Range") == f"bytes */{had}":  # it was complete already
                return
            file.truncate(0)
        if response.status_code not in (200, 206) or response.headers.get("Content-Encoding", "identity") != "identity":
            raise NotFetched(f"MyFax answered with HTTP status {response.status_code} for the document")
        part = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "")) if response.status_code == 206 else None
        if response.status_code == 206 and (part is None or int(part[1]) != had):
            file.truncate(0)
            raise NotFetched("MyFax answered with another part of the document than was requested")
        if part is None and had:  # the whole document again
            had = file.seek(0)
            file.truncate()
        size = response.headers.get("Content-Length", "")
        whole = had + int(size) if size.isascii() and size.isdigit() and len(size) < 16 else None
        if part is not None and part[2] != "*":
            whole = int(part[2])
        await self._write(response, file, had, whole, progress)

    async def _write(
        self,
        response: httpx.Response,
        file: BinaryIO,
        had: int,
        whole: int | None,
        progress: Callable[[int, int | None], None],
    ) -> None:
        if whole is not None and whole > self._limit:
            raise NotFetched(f"the document is too large ({whole} bytes)", retryable=False)
        async for chunk in response.aiter_raw():
            had += len(chunk)
            if had > self._limit:
                file.truncate(0)
                raise NotFetched(f"the document is too large (more than {self._limit} bytes)", retryable=False)
            file.write(chunk)
            progress(had, whole)
        if whole is not None and had != whole:
            raise NotFetched(f"the document broke off after {had} of {whole} bytes")


def _redirected(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:  # such as an unfinished IPv6 address
        raise NotFetched("MyFax redirects to an address that is invalid", retryable=False) from None


def content_type(head: bytes) -> tuple[str, str]:
    """Return a document's media type and the ending of its file name, by its first bytes."""
    return next(((kind, ending) for begins, kind, ending in _TYPES if begins.match(head)), ("application/octet-stream", ".bin"))


def file_stem(at: datetime | None, caller: str | None, zone: tzinfo) -> str:
    """Return a file name without its ending, from time and caller. Nothing in it can be a path."""
    who = re.sub(r"[^0-9+]", "", caller or "")[:20] or "anonymous"
    when = f"{at.astimezone(zone):%Y-%m-%d_%H-%M-%S}" if at is not None else "undated"
    return f"{when}_{who}"
