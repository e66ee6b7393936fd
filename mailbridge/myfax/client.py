"""MyFax's API as one async client: a method per action, with every argument checked before anything is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from datetime import datetime, tzinfo
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self
from zoneinfo import ZoneInfo

import httpx
from pydantic import SecretStr

from mailbridge.errors import InDoubt, InvalidArgument, NotTaken
from mailbridge.myfax import check, xml_codec
from mailbridge.myfax.files import File, listed, parts
from mailbridge.myfax.transport import A, classify, connect, make
from mailbridge.myfax.values import REGION

URL: Final = "https://www.myfax.co.il/action/"
ISRAEL: Final = ZoneInfo("Asia/Jerusalem")


class MyFax:
    """A user's (or distributor's) access to MyFax. An async context manager; `timeout` is seconds for one whole call.

    MyFax prints times without a zone, which are in `zone`, and numbers without a country code, which are of `region`. `url` is
    the service, or a stand-in on this machine.

    Every method raises InvalidArgument, naming the documented parameter, before anything is sent; Rejected for a RESPONSE_CODE
    below 0; NeedsPerson when trying again will not help, and NotTaken when it may. `send`, `register` and `release` raise
    InDoubt when the request left whole and no usable answer came. All are MyFaxError.
    """

    def __init__(
        self,
        email: str,
        password: SecretStr | str,
        url: str = URL,
        timeout: float = 120.0,
        zone: tzinfo = ISRAEL,
        *,
        region: str = REGION,
    ) -> None:
        self.email, self.zone, self.region = email, zone, region
        self._password = password if isinstance(password, SecretStr) else SecretStr(password)
        for field, value in zip(("email", "password"), self._login, strict=True):
            check.text(field, value)
        self._timeout = timeout
        base, trusted = check.service("url", url), httpx.create_ssl_context(trust_env=False)
        self._asking = connect(base, timeout, trusted, httpx.Limits(keepalive_expiry=60.0))
        # A kept connection may have died unseen, which would only show once a request had left whole: as a doubt.
        self._acting = connect(base, timeout, trusted, httpx.Limits(max_keepalive_connections=0))
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
        documents: File | Sequence[File] = (),
        *,
        url: str | None = None,
        before_last_chunk: Callable[[], Awaitable[None]] | None = None,
    ) -> xml_codec.UploadAnswer:
        """Send a fax (`faxUpload.do`): one or several files as one fax, or the file that MyFax fetches from `url`.

        A file is a path or an `Upload`, and is read from disk while it is sent. `before_last_chunk` is awaited before the last
        bytes of the request leave; until it returns MyFax cannot have taken it, and when it raises nothing more is sent.

        Sent by their documented names: email and password (this client's login), faxNumber (`number`), theFile (`documents`;
        several files are parts of their own beside an empty one), fileURL (`url`), and resultType, which is always XML.
        """
        check.number("faxNumber", number, self.region)
        files = listed(documents)
        if bool(files) == bool(url):
            raise InvalidArgument("theFile", "give documents or a url (fileURL), and not both")
        form = xml_codec.send_form(*self._login, number.strip(), url and check.web_address("fileURL", url))
        with ExitStack() as opened:
            return await self._act("faxUpload.do", form, xml_codec.read_upload, parts(files, opened), before_last_chunk)

    async def status(self, fax_code: str) -> xml_codec.StatusAnswer:
        """Ask how a fax fares (`faxStatus.do`). Safe to repeat.

        Sent by their documented names: email and password (this client's login), faxCode (`fax_code`).
        """
        form = xml_codec.status_form(*self._login, check.needed("faxCode", fax_code))
        return await self._ask("faxStatus.do?v=1", form, xml_codec.read_status)

    async def incoming(
        self, kind: Literal["incoming", "voice"] = "incoming", start: datetime | None = None, end: datetime | None = None
    ) -> AsyncIterator[xml_codec.IncomingItem]:
        """Yield received faxes or voicemails of all pages (`incoming.do`), each once, between two aware times where given.

        In the hour that the clocks repeat in autumn a little more is asked for, never less.

        Sent by their documented names: email and password (this client's login), p (each page in turn, from 0), startDate
        (`start`), endDate (`end`), listType (`kind`: incoming for faxes, voice for voicemails).
        """
        check.one_of("listType", kind, ("incoming", "voice"))
        for field, moment in (("startDate", start), ("endDate", end)):
            if moment is not None:
                check.aware(field, moment)
        if start is not None and end is not None and end < start:
            raise InvalidArgument("endDate", "it is before startDate")
        page, following = -1, 0
        seen: set[str] = set()
        # A list that names an earlier page would go round for ever.
        while following > page:
            page = following
            form = xml_codec.incoming_form(*self._login, page, kind, start, end, self.zone)
            answer = await self._ask("incoming.do", form, partial(xml_codec.read_incoming, zone=self.zone, region=self.region))
            # What comes in between two pages moves the rest, and the last of one page is then the first of the next.
            fresh = [item for item in answer.items if item.id not in seen]
            for item in fresh:
                seen.add(item.id)
                yield item
            following = _following(answer, page)

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
    ) -> xml_codec.RegisterAnswer:
        """Create a user with a line, as a distributor (`myFaxAllocateDistributer.do`).

        Sent by their documented names: distEmail and distPassword (this client's login), email (of the user; at most 200
        characters), fullName (`full_name`, 200), password (of the user), companyName (`company_name`, 100), companyAddress
        (`company_address`), type (1 for mobile, which is MyFax's default, or 17 for landline), requestedNumber
        (`requested_number`, international), and resultType, which is always XML.
        """
        secret = password.get_secret_value() if isinstance(password, SecretStr) else password
        fields = {
            "email": check.email("email", email, 200),
            "fullName": full_name and check.text("fullName", full_name, 200),
            "password": secret and check.text("password", secret),
            "companyName": company_name and check.text("companyName", company_name, 100),
            "companyAddress": company_address and check.text("companyAddress", company_address),
            "type": None if type is None else str(check.one_of("type", type, (1, 17))),
            "requestedNumber": None if requested_number is None else check.international("requestedNumber", requested_number),
        }
        form = xml_codec.distributor_form(*self._login, fields)
        return await self._act(
            "myFaxAllocateDistributer.do", form, partial(xml_codec.read_register, zone=self.zone, region=self.region)
        )

    async def release(
        self, *, line: str | None = None, user_email: str | None = None, action: Literal["noRenew", "blockUser"] | None = None
    ) -> xml_codec.ReleaseAnswer:
        """Release a line by its number or by its user, as a distributor (`releaseFaxLine.do`).

        Sent by their documented names: distEmail and distPassword (this client's login), action (noRenew to delay the release,
        blockUser to block the user too), faxLineDID (`line`, international) or userEmail (`user_email`), and resultType, which
        is always XML.
        """
        if (line is None) == (user_email is None):
            raise InvalidArgument("faxLineDID", "give the line or the user's email (userEmail), and not both")
        fields = {
            "faxLineDID": None if line is None else check.international("faxLineDID", line),
            "userEmail": None if user_email is None else check.email("userEmail", user_email),
            "action": None if action is None else check.one_of("action", action, ("noRenew", "blockUser")),
        }
        return await self._act("releaseFaxLine.do", xml_codec.distributor_form(*self._login, fields), xml_codec.read_release)

    @property
    def _login(self) -> tuple[str, str]:
        return self.email, self._password.get_secret_value()

    async def _ask(self, path: str, form: dict[str, str], read: Callable[[bytes], A]) -> A:
        """Make a call that changes nothing at MyFax, so that an unusable answer is only a reason to ask again."""
        try:
            return classify(await make(self._asking, path, form, None, self._timeout), read)
        except InDoubt as error:
            raise NotTaken(str(error)) from None

    async def _act(
        self,
        path: str,
        form: dict[str, str],
        read: Callable[[bytes], A],
        files: list[tuple[str, Any]] | None = None,
        before_last: Callable[[], Awaitable[None]] | None = None,
    ) -> A:
        return classify(await make(self._acting, path, form, files, self._timeout, before_last), read)


def _following(answer: xml_codec.IncomingPage, page: int) -> int:
    """Return the page after this one; the same where this is the last."""
    following = answer.next_page
    if following is None and answer.pages is not None:
        following = page + 1
    # Pages count from 0. Beyond the last there is nothing, whatever a list calls its next page.
    if following is None or (answer.pages is not None and following >= answer.pages) or not answer.items:
        return page
    return following
