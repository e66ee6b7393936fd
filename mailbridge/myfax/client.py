"""MyFax's API as one async client: a method per action, and one function that says what each outcome of a call means."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from types import TracebackType
from typing import Any, BinaryIO, Final, Literal, Self, TypeVar
from zoneinfo import ZoneInfo

import httpx
from pydantic import SecretStr

from mailbridge.errors import InDoubt, MailbridgeError, MyFaxError, NeedsPerson, NotTaken, Rejected
from mailbridge.myfax import wire

URL: Final = "https://www.myfax.co.il/action/"
ISRAEL: Final = ZoneInfo("Asia/Jerusalem")

_AGAIN: Final = frozenset({408, 429})
_PERSON: Final = frozenset({400, 401, 403, 404, 405, 411, 413, 415})

A = TypeVar("A", wire.UploadAnswer, wire.StatusAnswer, wire.RegisterAnswer, wire.ReleaseAnswer, wire.IncomingPage)


@dataclass(frozen=True, slots=True)
class Upload:
    """One file to fax. `open` gives a fresh seekable binary file, which is read in chunks and closed after the call."""

    name: str
    content_type: str
    open: Callable[[], BinaryIO]


@dataclass(slots=True)
class _Call:
    """How far one call got: whether its request was let out whole, and what came back."""

    whole: bool = False
    status: int | None = None
    body: bytearray = field(default_factory=bytearray)
    failure: str | None = None


class _Watched(httpx.AsyncByteStream):
    """A request body that looks one chunk ahead, so that the last chunk leaves only after `before_last`."""

    def __init__(self, stream: httpx.AsyncByteStream, call: _Call, before_last: Callable[[], Awaitable[None]] | None) -> None:
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


def classify(call: _Call, read: Callable[[bytes], A]) -> A:
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


class MyFax:
    """A user's (or distributor's) access to MyFax. An async context manager; `timeout` is seconds for one whole call.

    Every method raises Rejected for a RESPONSE_CODE below 0, NeedsPerson when trying again will not help, and NotTaken when
    it may; `send`, `register` and `release` raise InDoubt when the request left whole and no usable answer came.
    """

    def __init__(
        self, email: str, password: SecretStr | str, url: str = URL, timeout: float = 120.0, zone: tzinfo = ISRAEL
    ) -> None:
        self.email, self.zone = email, zone
        self._password = password if isinstance(password, SecretStr) else SecretStr(password)
        self._timeout = timeout
        base, trusted = url if url.endswith("/") else url + "/", httpx.create_ssl_context(trust_env=False)
        self._asking = _http(base, timeout, trusted, httpx.Limits(keepalive_expiry=60.0))
        # A kept connection may have died unseen, which would only show once a request had left whole: as a doubt.
        self._acting = _http(base, timeout, trusted, httpx.Limits(max_keepalive_connections=0))
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._asking)
        await self._stack.enter_async_context(self._acting)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def send(
        self,
        number: str,
        documents: Sequence[Upload] = (),
        *,
        url: str | None = None,
        before_last_chunk: Callable[[], Awaitable[None]] | None = None,
    ) -> wire.UploadAnswer:
        """Send a fax (`faxUpload.do`): `documents` as one fax, or the file that MyFax fetches from `url`.

        `before_last_chunk` is awaited before the last bytes of the request leave; until it returns MyFax cannot have taken it,
        and when it raises nothing more is sent. Several documents go as parts of their own beside an empty `theFile`.
        """
        if bool(documents) == bool(url):
            raise ValueError("give documents or a url, and not both")
        form = wire.send_form(self.email, self._password.get_secret_value(), number, url)
        with ExitStack() as opened:
            files = _parts(documents, opened)
            return await self._call(self._acting, "faxUpload.do", form, wire.read_upload, files, before_last_chunk)

    async def status(self, fax_code: str) -> wire.StatusAnswer:
        """Ask how a fax fares (`faxStatus.do`). Safe to repeat."""
        form = wire.status_form(self.email, self._password.get_secret_value(), fax_code)
        return await self._ask("faxStatus.do?v=1", form, wire.read_status)

    async def incoming(
        self, kind: Literal["incoming", "voice"] = "incoming", start: datetime | None = None, end: datetime | None = None
    ) -> AsyncIterator[wire.IncomingItem]:
        """Yield received faxes or voicemails of all pages (`incoming.do`), between two aware times where they are given."""
        page, following = -1, 0
        # A list that names an earlier page would go round for ever.
        while following > page:
            page = following
            form = wire.incoming_form(self.email, self._password.get_secret_value(), page, kind, start, end, self.zone)
            answer = await self._ask("incoming.do", form, lambda body: wire.read_incoming(body, self.zone))
            for item in answer.items:
                yield item
            following = page if answer.next_page is None else answer.next_page

    async def register(
        self,
        email: str,
        *,
        full_name: str | None = None,
        password: SecretStr | str | None = None,
        company_name: str | None = None,
        company_address: str | None = None,
        type: Literal[1, 17] | None = None,
        requested_number: str | None = None,
    ) -> wire.RegisterAnswer:
        """Create a user with a line, as a distributor (`myFaxAllocateDistributer.do`); `type` is 1 mobile or 17 landline."""
        fields = {
            "email": email,
            "fullName": full_name,
            "password": password.get_secret_value() if isinstance(password, SecretStr) else password,
            "companyName": company_name,
            "companyAddress": company_address,
            "type": None if type is None else str(type),
            "requestedNumber": requested_number,
        }
        form = wire.distributor_form(self.email, self._password.get_secret_value(), fields)
        return await self._call(self._acting, "myFaxAllocateDistributer.do", form, wire.read_register)

    async def release(
        self, *, line: str | None = None, user_email: str | None = None, action: Literal["noRenew", "blockUser"] | None = None
    ) -> wire.ReleaseAnswer:
        """Release a line by its number or its user, as a distributor (`releaseFaxLine.do`)."""
        if line is None and user_email is None:
            raise ValueError("give the line or the user's email")
        fields = {"faxLineDID": line, "userEmail": user_email, "action": action}
        form = wire.distributor_form(self.email, self._password.get_secret_value(), fields)
        return await self._call(self._acting, "releaseFaxLine.do", form, wire.read_release)

    async def _ask(self, path: str, form: dict[str, str], read: Callable[[bytes], A]) -> A:
        """Make a call that changes nothing at MyFax, so that an unusable answer is only a reason to ask again."""
        try:
            return await self._call(self._asking, path, form, read)
        except InDoubt as error:
            raise NotTaken(str(error)) from None

    async def _call(
        self,
        http: httpx.AsyncClient,
        path: str,
        form: dict[str, str],
        read: Callable[[bytes], A],
        files: list[tuple[str, Any]] | None = None,
        before_last: Callable[[], Awaitable[None]] | None = None,
    ) -> A:
        request = http.build_request("POST", path, data=form, files=files)
        call = _Call()
        assert isinstance(request.stream, httpx.AsyncByteStream)
        request.stream = _Watched(request.stream, call, before_last)
        try:
            async with asyncio.timeout(self._timeout):
                await _exchange(http, request, call)
        except TimeoutError:
            call.failure = f"MyFax gave no answer in {self._timeout:g} s"
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            # httpx's errors hold the request, and with it the password: only their text goes on.
            call.failure = f"the call to MyFax failed: {type(error).__name__}: {error}".rstrip(": ")
        except MyFaxError:
            raise
        except MailbridgeError as error:
            call.failure = f"the upload was stopped: {error}"
        return classify(call, read)


def _http(base: str, timeout: float, trusted: ssl.SSLContext, limits: httpx.Limits) -> httpx.AsyncClient:
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


async def _exchange(http: httpx.AsyncClient, request: httpx.Request, call: _Call) -> None:
    response = await http.send(request, stream=True)
    try:
        call.status = response.status_code
        async for chunk in response.aiter_raw():
            call.body += chunk
            if len(call.body) > wire.MAX_ANSWER:
                break
    finally:
        await response.aclose()


class _EmptyName(str):
    """The name of an empty file field. httpx leaves out a name that is false; browsers send `filename=""`."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True


def _parts(documents: Sequence[Upload], opened: ExitStack) -> list[tuple[str, Any]] | None:
    if not documents:
        return None
    parts = [(document.name, opened.enter_context(document.open()), document.content_type) for document in documents]
    if len(parts) == 1:
        return [("theFile", parts[0])]
    # Without a name it would be no file at all for a server, but a text field.
    empty = ("theFile", (_EmptyName(), b"", "application/octet-stream"))
    return [empty, *((f"file{number}", part) for number, part in enumerate(parts, 1))]
