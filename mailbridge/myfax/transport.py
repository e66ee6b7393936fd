"""One HTTP call to MyFax: how far it got, and the one function that decides what its outcome means.

A call that changes something at MyFax must not happen twice by itself, so: HTTP/1.1 with Content-Length for a form with files,
no redirects, no retries in the HTTP library, and for such calls a new connection each, since a kept one may be dead already.
Whether MyFax can have the request is known from the request's last chunk, not from the error: the same exception may come before
it or after it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Final, TypeVar

import httpcore
import httpx

from mailbridge.errors import InDoubt, MailbridgeError, MyFaxError, NeedsPerson, NotTaken, Rejected
from mailbridge.http_connections import HostConnections, basic_login
from mailbridge.http_stream import AsyncioBackend
from mailbridge.myfax.answers import IncomingPage, RegisterAnswer, ReleaseAnswer, StatusAnswer, UploadAnswer
from mailbridge.myfax.xml_parser import MAX_ANSWER, Unreadable

# HTTP statuses that prove that the request was not taken (RFC 9110 section 15.5, RFC 6585 section 4).
_TRANSIENT: Final = frozenset({408, 429})
_PERMANENT: Final = frozenset({400, 401, 403, 404, 405, 411, 413, 415})

# Linux's TCP_ESTABLISHED, the first byte of its tcp_info.
_ESTABLISHED: Final = 1

# Bytes of a write, at least: httpx gives each field of a form in two chunks of its own, and each write takes 0.1 ms.
_WRITE: Final = 1 << 16

BeforeLastChunk = Callable[[], Awaitable[None]]
Answer = TypeVar("Answer", UploadAnswer, StatusAnswer, RegisterAnswer, ReleaseAnswer, IncomingPage)


@dataclass(slots=True)
class Call:
    """How far one call got, and what came back."""

    whole: bool = False  # whether the last chunk of the request may have left
    status: int | None = None  # of HTTP
    body: bytearray = field(default_factory=bytearray)
    failure: str | None = None  # why there is no answer
    connection: httpcore.AsyncNetworkStream | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def redacted(self, text: str) -> str:
        """Return what MyFax said without the passwords that it may echo."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """Note the connection of this call and the status of its answer, from httpx's extension `trace`."""
        if event == "connection.connect_tcp.complete":
            self.connection = info["return_value"]
        elif event == "http11.receive_response_headers.complete":
            # It may be all that there is: the connection can fail before the body.
            self.status = info["return_value"][1]

    def peer_has_closed(self) -> bool:
        """Whether the peer has certainly closed or reset the connection; False on systems that do not say."""
        if self.connection is None or not hasattr(socket, "TCP_INFO"):
            return False
        try:
            state = self.connection.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        except OSError:
            return True
        return bool(state[0] != _ESTABLISHED)


class _HeldBody(httpx.AsyncByteStream):
    """A request body that holds its last chunk back until `before_last_chunk` has returned."""

    def __init__(self, stream: httpx.SyncByteStream, call: Call, before_last_chunk: Callable[[], Awaitable[None]] | None) -> None:
        self._stream, self._call, self._before_last_chunk = stream, call, before_last_chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        held, waiting = b"", b""
        for chunk in self._stream:
            waiting = waiting + held if waiting else held
            held = chunk
            if len(waiting) >= _WRITE:
                yield waiting
                waiting = b""
        if waiting:
            yield waiting
        if self._before_last_chunk is not None:
            await self._before_last_chunk()
        if self._call.peer_has_closed():
            # Writing now would succeed and look as if the chunk had left. After this error, as after a failed write, httpcore
            # still reads an answer that came early.
            raise httpcore.WriteError("the connection was closed before the request was whole")
        self._call.whole = True
        yield held


def classify(call: Call, read: Callable[[bytes], Answer]) -> Answer:
    """Return the answer of a call, or raise the error that its outcome means.

    Raises Rejected for a RESPONSE_CODE below 0; NeedsPerson or NotTaken if MyFax provably did not take the request; InDoubt for
    everything else after the request was whole.
    """
    if call.status is not None:
        if call.status in _TRANSIENT:
            raise NotTaken(f"MyFax answered with HTTP status {call.status}")
        if call.status in _PERMANENT or 300 <= call.status < 400:
            raise NeedsPerson(f"MyFax answered with HTTP status {call.status}", call.status)
    problem = call.failure
    if problem is None and call.status != 200:
        problem = f"MyFax answered with HTTP status {call.status}"
    if problem is None:
        try:
            answer = read(bytes(call.body))
        except Unreadable as error:
            problem = str(error)
        else:
            if answer.response_code < 0:
                raise Rejected(answer.response_code, call.redacted(answer.text))
            if not isinstance(answer, UploadAnswer) or answer.fax_code:
                return answer
            problem = "MyFax answered without a FAX_CODE"
    problem = call.redacted(problem)
    raise InDoubt(problem) if call.whole else NotTaken(problem)


@cache
def default_tls() -> ssl.SSLContext:
    """Return the TLS context of all clients: loading the usual authorities takes 0.03 s of processor time."""
    return httpx.create_ssl_context(trust_env=False)


def open_connections(trusted: ssl.SSLContext, kept_for: float) -> HostConnections:
    """Return connections to MyFax that ignore the environment's proxies; idle ones are kept for `kept_for` seconds."""
    return HostConnections(trusted, AsyncioBackend(), kept_for)


@lru_cache(maxsize=32)
def _target(url: str) -> tuple[httpx.URL, dict[str, str]]:
    """Return a URL, and the headers of each request to it: no answer may be compressed."""
    target = httpx.URL(url)
    headers = {"Accept": "*/*", "Accept-Encoding": "identity", "Connection": "keep-alive", "User-Agent": "mailbridge"}
    return target, {**headers, **basic_login(target)}


async def post(
    http: httpx.AsyncBaseTransport,
    url: str,
    form: dict[str, str],
    files: list[tuple[str, Any]] | None,
    timeout: float,
    before_last_chunk: BeforeLastChunk | None = None,
) -> Call:
    """POST a form, as multipart if there are files, and read the answer, within `timeout` seconds altogether.

    A failure is noted in the Call. Raises only the MyFaxErrors of `before_last_chunk` and of reading the files.
    """
    call = Call(secrets=tuple(value for name, value in form.items() if value and name.lower().endswith("password")))
    # Without httpx's client, whose cookies and redirects are not for this, a call takes 0.3 ms of processor time less.
    target, headers = _target(url)
    request = httpx.Request("POST", target, headers=headers, data=form, files=files, extensions={"trace": call.trace})
    assert isinstance(request.stream, httpx.SyncByteStream)
    request.stream = _HeldBody(request.stream, call, before_last_chunk)
    try:
        async with asyncio.timeout(timeout):
            await _exchange(http, request, call)
    except TimeoutError:
        call.failure = f"MyFax gave no answer within {timeout:g} s"
    except (httpx.HTTPError, httpx.StreamError, OSError) as error:
        # httpx's errors hold the request, and with it the password: only their text is kept.
        call.failure = f"the call to MyFax failed: {type(error).__name__}: {error}".rstrip(": ")
    except MyFaxError:
        raise
    except MailbridgeError as error:
        call.failure = f"the upload was stopped: {error}"
    return call


async def _exchange(http: httpx.AsyncBaseTransport, request: httpx.Request, call: Call) -> None:
    response = await http.handle_async_request(request)
    try:
        call.status = response.status_code
        assert isinstance(response.stream, httpx.AsyncByteStream)
        async for chunk in response.stream:
            call.body += chunk
            if len(call.body) > MAX_ANSWER:
                break
    finally:
        await response.aclose()
