"""One call to MyFax: how far it got, and one function that says what each outcome means."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx

from mailbridge.errors import InDoubt, MailbridgeError, MyFaxError, NeedsPerson, NotTaken, Rejected
from mailbridge.myfax import wire

_AGAIN: Final = frozenset({408, 429})
_PERSON: Final = frozenset({400, 401, 403, 404, 405, 411, 413, 415})

A = TypeVar("A", wire.UploadAnswer, wire.StatusAnswer, wire.RegisterAnswer, wire.ReleaseAnswer, wire.IncomingPage)


@dataclass(slots=True)
class Call:
    """How far one call got: whether its request was let out whole, and what came back."""

    whole: bool = False
    status: int | None = None
    body: bytearray = field(default_factory=bytearray)
    failure: str | None = None


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
        except wire.Unreadable as error:
            problem = str(error)
        else:
            if answer.response_code < 0:
                raise Rejected(answer.response_code, answer.text)
            if not isinstance(answer, wire.UploadAnswer) or answer.fax_code:
                return answer
            problem = "MyFax answered without a FAX_CODE"
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
    """Send a form, with files as multipart, and take the answer, all in `timeout` seconds. What fails is in the call."""
    request = http.build_request("POST", path, data=form, files=files)
    call = Call()
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
            if len(call.body) > wire.MAX_ANSWER:
                break
    finally:
        await response.aclose()
