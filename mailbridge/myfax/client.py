"""MyFax's API as an async client: one method for each action, and every argument checked before anything is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from datetime import datetime, tzinfo
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self
from zoneinfo import ZoneInfo

from mailbridge.errors import InDoubt, InvalidArgument, NotTaken
from mailbridge.myfax import answers, arguments, forms
from mailbridge.myfax.answers import IncomingItem, IncomingPage, RegisterAnswer, ReleaseAnswer, StatusAnswer, UploadAnswer
from mailbridge.myfax.arguments import Secret
from mailbridge.myfax.files import File, as_list, multipart_files
from mailbridge.myfax.transport import Answer, classify, default_tls, open_connections, post
from mailbridge.myfax.values import REGION

URL: Final = "https://www.myfax.co.il/action/"
ISRAEL: Final = ZoneInfo("Asia/Jerusalem")


class MyFax:
    """The access of one user, or distributor, to MyFax. Use it as an async context manager.

    `timeout` is in seconds, for a whole call. `zone` is that of the times and `region` the country of the numbers that MyFax
    prints without one. `url` is the address of the service, or of the MyFax simulator on this machine.

    Before anything is sent, every method raises InvalidArgument, which names the documented parameter. Later it raises Rejected
    for a RESPONSE_CODE below 0, NeedsPerson if trying again will not help, and NotTaken if it may. `send`, `register` and
    `release` raise InDoubt if the request left whole and no usable answer came. All are MyFaxError.
    """

    def __init__(
        self,
        email: str,
        password: Secret | str,
        url: str = URL,
        timeout: float = 120.0,
        zone: tzinfo = ISRAEL,
        *,
        region: str = REGION,
    ) -> None:
        self.email, self.zone, self.region = email, zone, region

        # A function, so that the password is not shown among the attributes.
        def plain_password() -> str:
            return arguments.plain(password)

        self._password = plain_password
        for field, value in zip(("email", "password"), self._login, strict=True):
            arguments.text(field, value)
        self._timeout = timeout
        self._base, trusted = arguments.service("url", url), default_tls()
        self._query_http = open_connections(trusted, kept_for=60.0)
        # No kept connections: one that has died unnoticed would fail only after a request had left whole, as a doubt.
        self._action_http = open_connections(trusted, kept_for=0.0)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._query_http)
        await self._stack.enter_async_context(self._action_http)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def send(
        self,
        number: str,
        documents: File | Sequence[File] = (),
        *,
        url: str | None = None,
        before_last_chunk: Callable[[], Awaitable[None]] | None = None,
    ) -> UploadAnswer:
        """Send a fax (`faxUpload.do`): one or several files as one fax, or the file that MyFax fetches from `url`.

        A file is a path or an `Upload`, and is read from disk while it is sent. `before_last_chunk` is awaited before the last
        bytes of the request leave: until it returns MyFax cannot have taken the fax, and if it raises nothing more is sent.

        Sent by their documented names: email and password (this client's login), faxNumber (`number`), theFile (`documents`;
        several files are parts of their own beside an empty one), fileURL (`url`), and resultType, which is always XML.
        """
        arguments.number("faxNumber", number, self.region)
        files = as_list(documents)
        if bool(files) == bool(url):
            raise InvalidArgument("theFile", "give either documents or a url (fileURL)")
        form = forms.send_form(*self._login, number.strip(), url and arguments.web_address("fileURL", url))
        with ExitStack() as opened:
            return await self._action(
                "faxUpload.do", form, answers.read_upload, multipart_files(files, opened), before_last_chunk
            )

    async def status(self, fax_code: str) -> StatusAnswer:
        """Return the status of a fax (`faxStatus.do`). Safe to repeat.

        Sent by their documented names: email and password (this client's login), faxCode (`fax_code`).
        """
        form = forms.status_form(*self._login, arguments.required("faxCode", fax_code))
        return await self._query("faxStatus.do?v=1", form, answers.read_status)

    async def incoming(
        self, kind: Literal["incoming", "voice"] = "incoming", start: datetime | None = None, end: datetime | None = None
    ) -> AsyncIterator[IncomingItem]:
        """Yield the received faxes or voicemails of all pages (`incoming.do`), each once.

        `start` and `end` are aware times. If one of them is in the hour that the clocks repeat in autumn, a few items from beyond
        it may be included, but none is missing.

        Sent by their documented names: email and password (this client's login), p (each page in turn, from 0), startDate
        (`start`), endDate (`end`), listType (`kind`: incoming for faxes, voice for voicemails).
        """
        arguments.one_of("listType", kind, ("incoming", "voice"))
        for field, moment in (("startDate", start), ("endDate", end)):
            if moment is not None:
                arguments.aware(field, moment)
        if start is not None and end is not None and end < start:
            raise InvalidArgument("endDate", "it is before startDate")
        page, next_page = -1, 0
        seen: set[str] = set()
        # Otherwise a NEXT_PAGE that names an earlier page would make an endless loop.
        while next_page > page:
            page = next_page
            form = forms.incoming_form(*self._login, page, kind, start, end, self.zone)
            answer = await self._query("incoming.do", form, partial(answers.read_incoming, zone=self.zone, region=self.region))
            # An item that arrives between two pages shifts the others: the last of one page is then the first of the next.
            fresh = [item for item in answer.items if item.id not in seen]
            for item in fresh:
                seen.add(item.id)
                yield item
            next_page = _next_page(answer, page)

    async def register(
        self,
        email: str,
        *,
        full_name: str | None = None,
        password: Secret | str | None = None,
        company_name: str | None = None,
        company_address: str | None = None,
        type: Literal[1, 17] | None = None,
        requested_number: str | None = None,
    ) -> RegisterAnswer:
        """Create a user with a line, as a distributor (`myFaxAllocateDistributer.do`).

        Sent by their documented names: distEmail and distPassword (this client's login), email (of the user; at most 200
        characters), fullName (`full_name`, 200), password (of the user), companyName (`company_name`, 100), companyAddress
        (`company_address`), type (1 for mobile, which is MyFax's default, or 17 for landline), requestedNumber
        (`requested_number`, international), and resultType, which is always XML.
        """
        secret = None if password is None else arguments.plain(password)
        fields = {
            "email": arguments.email("email", email, 200),
            "fullName": full_name and arguments.text("fullName", full_name, 200),
            "password": secret and arguments.text("password", secret),
            "companyName": company_name and arguments.text("companyName", company_name, 100),
            "companyAddress": company_address and arguments.text("companyAddress", company_address),
            "type": None if type is None else str(arguments.one_of("type", type, (1, 17))),
            "requestedNumber": None if requested_number is None else arguments.international("requestedNumber", requested_number),
        }
        form = forms.distributor_form(*self._login, fields)
        return await self._action(
            "myFaxAllocateDistributer.do", form, partial(answers.read_register, zone=self.zone, region=self.region)
        )

    async def release(
        self, *, line: str | None = None, user_email: str | None = None, action: Literal["noRenew", "blockUser"] | None = None
    ) -> ReleaseAnswer:
        """Release a line by its number or by its user, as a distributor (`releaseFaxLine.do`).

        Sent by their documented names: distEmail and distPassword (this client's login), action (noRenew to delay the release,
        blockUser to block the user too), faxLineDID (`line`, international) or userEmail (`user_email`), and resultType, which
        is always XML.
        """
        if (line is None) == (user_email is None):
            raise InvalidArgument("faxLineDID", "give either the line or the user's email (userEmail)")
        fields = {
            "faxLineDID": None if line is None else arguments.international("faxLineDID", line),
            "userEmail": None if user_email is None else arguments.email("userEmail", user_email),
            "action": None if action is None else arguments.one_of("action", action, ("noRenew", "blockUser")),
        }
        return await self._action("releaseFaxLine.do", forms.distributor_form(*self._login, fields), answers.read_release)

    @property
    def _login(self) -> tuple[str, str]:
        return self.email, self._password()

    async def _query(self, path: str, form: dict[str, str], read: Callable[[bytes], Answer]) -> Answer:
        """Make a call that changes nothing at MyFax: without a usable answer it may simply be repeated."""
        try:
            return classify(await post(self._query_http, self._base + path, form, None, self._timeout), read)
        except InDoubt as error:
            raise NotTaken(str(error)) from None

    async def _action(
        self,
        path: str,
        form: dict[str, str],
        read: Callable[[bytes], Answer],
        files: list[tuple[str, Any]] | None = None,
        before_last_chunk: Callable[[], Awaitable[None]] | None = None,
    ) -> Answer:
        return classify(await post(self._action_http, self._base + path, form, files, self._timeout, before_last_chunk), read)


def _next_page(answer: IncomingPage, page: int) -> int:
    """Return the number of the page after `page`, or `page` itself if it is the last. Pages count from 0."""
    next_page = answer.next_page
    if next_page is None and answer.pages is not None:
        next_page = page + 1
    # After the last page there is nothing, whatever its NEXT_PAGE says.
    if next_page is None or (answer.pages is not None and next_page >= answer.pages) or not answer.items:
        return page
    return next_page
