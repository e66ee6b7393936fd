"""One call to MyFax: how far it got, and one function that says what each outcome means."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpcore
import httpx

from mailbridge.errors import InDoubt, MailbridgeError, MyFaxError, NeedsPerson, NotTaken, Rejected
from mailbridge.myfax import xml_codec

_AGAIN: Final = frozenset({408, 429})
_PERSON: Final = frozenset({400, 401, 403, 404, 405, 411, 413, 415})

# Linux's TCP_ESTABLISHED, the first byte of its tcp_info.
_ESTABLISHED: Final = 1

A = TypeVar(
    "A", xml_codec.UploadAnswer, xml_codec.StatusAnswer, xml_codec.RegisterAnswer, xml_codec.ReleaseAnswer, xml_codec.IncomingPage
)


@dataclass(slots=True)
class Call:
    """How far one call got: whether its request was let out whole, and what came back."""

    whole: bool = False
    status: int | None = None
    body: bytearray = field(default_factory=bytearray)
    failure: str | None = None
    connection: httpcore.AsyncNetworkStream | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def without_secrets(self, text: str) -> str:
        """Return what a peer said, which may echo what it was sent."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    async def watch(self, event: str, info: dict[str, Any]) -> None:
        """Note the connection that is opened for this call, and its answer's status: httpx's `trace` extension."""
        if event == "connection.connect_tcp.complete":
            self.connection = info["return_value"]
        elif event == "http11.receive_response_headers.complete":
            # Of a redirect to what is no address httpx raises, and hands no response over.
            self.status = info["return_value"][1]

    def cut(self) -> bool:
        """Whether the peer has surely closed or reset the connection; where the system does not tell, it has not."""
        if self.connection is None or not hasattr(socket, "TCP_INFO"):
            return False
        try:
            state = self.connection.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        except OSError:
            return True
        return bool(state[0] != _ESTABLISHED)


class _Watched(httpx.AsyncByteStream):
    """A request body that looks one chunk ahead, so that the last chunk leaves only after `before_last`."""

    def __init__(self, stream: httpx.AsyncByteStream, call: Call, before_last: Callable[[], Awaitable[None]] | None) -> None:
        self._stream, self._call, self._before_last = stream, call, before_last

    async def __aiter__(self) -> AsyncIterator[bytes]:
        held: bytes | None = None
        async for chunk in self._stream:
            if held is not None:
                yield held
            held = chunk
        if self._before_last is not None:
            await self._before_last()
        if self._call.cut():
            # Written now, the last chunk would look as if it had left. As after a failed write, an early answer is still read.
            raise httpcore.WriteError("the connection was cut before the request was whole")
        self._call.whole = True
        yield held or b""


def classify(call: Call, read: Callable[[bytes], A]) -> A:
    """Return the answer of a call, or raise what its outcome means (lifecycle: What each outcome means).

    Raises Rejected for a RESPONSE_CODE below 0, NeedsPerson and NotTaken where MyFax provably did not take the request, and
    InDoubt for all else once the request had left whole.
    """
    if call.status is not None:
        if call.status in _AGAIN:
            raise NotTaken(f"MyFax answered with HTTP status {call.status}")
        if call.status in _PERSON or 300 <= call.status < 400:
            raise NeedsPerson(f"MyFax answered with HTTP status {call.status}")
    problem = call.failure
    if problem is None and call.status != 200:
        problem = f"MyFax answered with HTTP status {call.status}"
    if problem is None:
        try:
            answer = read(bytes(call.body))
        except xml_codec.Unreadable as error:
            problem = str(error)
        else:
            if answer.response_code < 0:
                raise Rejected(answer.response_code, call.without_secrets(answer.text))
            if not isinstance(answer, xml_codec.UploadAnswer) or answer.fax_code:
                return answer
            problem = "MyFax answered without a FAX_CODE"
    problem = call.without_secrets(problem)
    raise InDoubt(problem) if call.whole else NotTaken(problem)


def connect(base: str, timeout: float, trusted: ssl.SSLContext, limits: httpx.Limits) -> httpx.AsyncClient:
    """Return connections to MyFax that follow no redirect, take no compressed answer and look at no environment variable."""
    return httpx.AsyncClient(
        base_url=base,
        verify=trusted,
        http2=False,
        follow_redirects=False,
        trust_env=False,
        timeout=httpx.Timeout(timeout),
        limits=limits,
        headers={"Accept-Encoding": "identity", "User-Agent": "mailbridge"},
    )


async def make(
    http: httpx.AsyncClient,
    path: str,
    form: dict[str, str],
    files: list[tuple[str, Any]] | None,
    timeout: float,
    before_last: Callable[[], Awaitable[None]] | None = None,
) -> Call:
    """Send a form, with files as multipart, and take the answer, all in `timeout` seconds. What fails is noted in the Call."""
    call = Call(secrets=tuple(value for name, value in form.items() if value and name.lower().endswith("password")))
    request = http.build_request("POST", path, data=form, files=files, extensions={"trace": call.watch})
    assert isinstance(request.stream, httpx.AsyncByteStream)
    request.stream = _Watched(request.stream, call, before_last)
    try:
        async with asyncio.timeout(timeout):
            await _exchange(http, request, call)
    except TimeoutError:
        call.failure = f"MyFax gave no answer in {timeout:g} s"
    except (httpx.HTTPError, httpx.StreamError, OSError) as error:
        # httpx's errors hold the request, and with it the password: only their text goes on.
        call.failure = f"the call to MyFax failed: {type(error).__name__}: {error}".rstrip(": ")
    except MyFaxError:
        raise
    except MailbridgeError as error:
        call.failure = f"the upload was stopped: {error}"
    return call


async def _exchange(http: httpx.AsyncClient, request: httpx.Request, call: Call) -> None:
    response = await http.send(request, stream=True)
    try:
        call.status = response.status_code
        async for chunk in response.aiter_raw():
            call.body += chunk
            if len(call.body) > xml_codec.MAX_ANSWER:
                break
    finally:
        await response.aclose()
