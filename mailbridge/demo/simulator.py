"""The stand-in of MyFax: all five actions over real HTTP, statuses that advance, and every way to misbehave.

The last two digits of a number choose what becomes of its fax, unless `script` names that number:

    01 busy              81 reset_in_body     91 reset
    02 no_answer         82 close             92 hang
    06 wrong_number      83 redirect          93 http_500
    07 fail              84 endless           94 html
    98 never_final       85 spaced            95 truncated
    99 rejected          86 bom               96 no_code
    all others are       87 blank_lines       97 dtd
    delivered            88 windows_1255

What these words mean stands in `faults.py` and in `mailbridge simulator --help`. `misbehave` lets the next calls of one action
or of any go wrong in the same ways; `refuse` takes no connection for a while. What is taken with its answer lost is never final
when the number chose that, and fares by its number when `misbehave` did.

Errors are as the document has them, a RESPONSE_CODE below 0 with its text: -1 wrong login, -2 a parameter is missing or wrong,
-3 no such fax, line or user, -4 not free or released already, -5 not accepted.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message

from mailbridge.demo import faults
from mailbridge.demo.accounts import NOT_ACCEPTED
from mailbridge.demo.actions import FINAL_STATUS, Actions, SimFax, printed, xml
from mailbridge.web.server import WebService

__all__ = ["SimFax", "Simulator"]

_HTML_UNLESS_ASKED = ("faxUpload.do", "myFaxAllocateDistributer.do", "releaseFaxLine.do")
_NUMBER_PART = re.compile(rb'name="faxNumber"\r\n\r\n([^\r\n]{0,50})\r\n')
_PAGE = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj"
_PAGE += b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


class _Resettable(WebService):
    """A service that can break off one connection."""

    def end(self, request: Request, *, reset: bool) -> None:
        """Close the connection of this request, with a RST or without; what is answered afterwards goes nowhere."""
        for connection in list(self._server.server_state.connections):
            if request.client is not None and getattr(connection, "client", None) == tuple(request.client):
                transport: asyncio.Transport = connection.transport
                if reset:
                    # With no time to linger, closing throws away what is unsent and resets.
                    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    transport.abort()
                else:
                    transport.close()


@dataclass(slots=True)
class _Due:
    """A fault of the next `times` calls of one action, or of any where `action` is empty."""

    fault: str
    times: int
    action: str


@dataclass(slots=True)
class Simulator(Actions):
    """Listens on loopback. `followed` counts the redirects that somebody has followed."""

    followed: int = 0
    _due: list[_Due] = field(default_factory=list)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _service: _Resettable = field(init=False)
    _address: tuple[str, int] = field(init=False)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; return the URL for `myfax.url`. Raises OSError."""
        routes = [
            Route("/action/{action}", self._act, methods=["POST"]),
            Route("/documents/{name}", self._document),
            Route("/elsewhere", self._elsewhere, methods=["GET", "POST"]),
            Route("/_control/uploads", self._uploads),
            Route("/_control/lines", self._lines),
            *(
                Route(f"/_control/{name}", self._told(tell), methods=["POST"])
                for name, tell in (
                    ("script", self._set_script),
                    ("misbehave", self._set_fault),
                    ("refuse", self._set_refusal),
                    ("incoming", self._plant),
                )
            ),
        ]
        self._service = _Resettable(host, port, Starlette(routes=routes))
        self._address = await self._service.start()
        return f"{self._base}/action/"

    async def stop(self) -> None:
        """Close the listener; reports not yet due are dropped."""
        self._stopping.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._service.stop()

    def misbehave(self, fault: str, times: int = 1, action: str = "") -> None:
        """Let the next `times` calls go wrong: of one action, such as `faxUpload.do`, or of any. Raises ValueError."""
        if not faults.known(fault):
            raise ValueError(f"there is no fault {fault!r}")
        if action and action not in self.actions:
            raise ValueError(f"there is no action {action!r}")
        if times < 1:
            raise ValueError("times is at least 1")
        self._due.append(_Due(fault, times, action))

    async def refuse(self, seconds: float) -> None:
        """Refuse every connection for so long, and close those that there are."""
        over, self._stopping = self._stopping, asyncio.Event()
        over.set()  # what hangs would be waited for
        # Cancelled itself it must not cancel the service, which `stop` still waits for.
        await asyncio.shield(self._service.stop())
        await asyncio.sleep(seconds)
        await self.start(*self._address)

    @property
    def _base(self) -> str:
        return "http://{}:{}".format(*self._address)

    def _fault(self, action: str) -> str | None:
        due = next((one for one in self._due if one.action in ("", action)), None)
        if due is None:
            return None
        due.times -= 1
        if due.times <= 0:
            self._due.remove(due)
        return due.fault

    async def _act(self, request: Request) -> Response:
        action = request.path_params["action"]
        if action not in self.actions:
            return Response("Not found", 404)
        fault = self._fault(action)
        number, request = await _begun(request)
        if (fault or (number and self.outcome(number))) == "reset_in_body":
            self._service.end(request, reset=True)
            return Response()
        async with request.form() as form:
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
            if fault is None and action == "faxUpload.do":
                fault = self._fault_of(fields.get("faxNumber", ""))
            taken = faults.takes(fault)
            answer = await self.answer(action, fields, form) if taken else xml(NOT_ACCEPTED, "It was not accepted")
        if fault == "hang":
            await self._stopping.wait()
        if fault in ("hang", "reset", "close"):
            self._service.end(request, reset=fault != "close")
        if action in _HTML_UNLESS_ASKED and fields.get("resultType") != "XML":
            return faults.page("See resultType")
        return faults.spoil(fault, answer, self._stopping)

    def _fault_of(self, number: str) -> str | None:
        """Return the fault that a number chooses; a rejection is among the outcomes, after the login and the parameters."""
        outcome = self.outcome(number)
        return outcome if faults.known(outcome) and outcome != "rejected" else None

    async def _document(self, _: Request) -> Response:
        return Response(_PAGE, media_type="application/pdf")

    async def _elsewhere(self, _: Request) -> Response:
        self.followed += 1
        return Response(xml(0, "OK", {"FAX_CODE": str(uuid.uuid4())}), media_type="text/xml")

    async def _uploads(self, _: Request) -> Response:
        return JSONResponse([asdict(fax) for fax in self.uploads])

    async def _lines(self, _: Request) -> Response:
        return JSONResponse([asdict(line) for line in self.accounts.lines.values()])

    def _told(self, tell: Callable[[dict[str, Any]], Any]) -> Callable[[Request], Awaitable[Response]]:
        """Answer a control request: 400 with the reason where it cannot be followed."""

        async def answer(request: Request) -> Response:
            try:
                told = tell(json.loads(await request.body()))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                return Response(f"this cannot be done: {type(error).__name__}: {error}\n", 400)
            return Response(status_code=204) if told is None else JSONResponse(told)

        return answer

    def _set_script(self, wanted: dict[str, Any]) -> None:
        outcome = wanted["outcome"]
        if outcome not in (*FINAL_STATUS, "never_final") and not faults.known(outcome):
            raise ValueError(f"there is no outcome {outcome!r}")
        self.script[wanted["number"]] = outcome

    def _set_fault(self, wanted: dict[str, Any]) -> None:
        self.misbehave(wanted["fault"], int(wanted.get("times", 1)), wanted.get("action", ""))

    def _set_refusal(self, wanted: dict[str, Any]) -> None:
        seconds = float(wanted["seconds"])
        if not 0 <= seconds <= 3600:
            raise ValueError("seconds is from 0 to 3600")
        self._spawn(self.refuse(seconds))

    def _plant(self, wanted: dict[str, Any]) -> dict[str, str]:
        time = f"{printed(wanted['time']):%Y-%m-%d %H:%M:%S}.0"
        item = {"ID": str(uuid.uuid4()), "TIME": time, "DID": wanted["did"], "SOURCE": wanted["source"] or ""}
        item["URL"] = f"{self._base}/documents/{item['ID']}.pdf"
        self.incoming[wanted.get("type", "incoming")].append(item)
        return item


async def _begun(request: Request) -> tuple[str, Request]:
    """Read on until a multipart body tells its faxNumber; return it, and the request that can be read from its start."""
    held: list[Message] = []
    start = b""
    while True:
        held.append(await request.receive())
        start += held[-1].get("body", b"")
        found = _NUMBER_PART.search(start)
        if found or not held[-1].get("more_body") or len(start) > 65536:
            break

    async def receive() -> Message:
        return held.pop(0) if held else await request.receive()

    return found[1].decode(errors="replace") if found else "", Request(request.scope, receive)
