"""The MyFax simulator: all five actions over real HTTP, statuses that advance, and faults on request.

The last two digits of a number choose the outcome of its fax, unless `script` names that number:

    01 busy              81 reset_in_body     91 reset
    02 no_answer         82 close             92 hang
    06 wrong_number      83 redirect          93 http_500
    07 fail              84 endless           94 html
    98 never_final       85 spaced            95 truncated
    99 rejected          86 bom               96 no_code
    all others are       87 blank_lines       97 dtd
    delivered            88 windows_1255

`faults.py` and `mailbridge simulator --help` explain these names. `misbehave` applies the same faults to the next calls of one
action or of any; `refuse` accepts no connections for a while. A fax whose answer is lost by its number is never final; one whose
answer is lost by `misbehave` has the outcome of its number.

Errors have a RESPONSE_CODE below 0, as in MyFax's document: -1 wrong login, -2 missing or wrong parameter, -3 unknown fax, line
or user, -4 number not free or already released, -5 not accepted.
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
from mailbridge.demo.actions import FINAL_STATUS, Actions, SimFax, parse_time, xml
from mailbridge.web.server import WebService

__all__ = ["SimFax", "Simulator"]

_HTML_BY_DEFAULT = ("faxUpload.do", "myFaxAllocateDistributer.do", "releaseFaxLine.do")
_NUMBER_PART = re.compile(rb'name="faxNumber"\r\n\r\n([^\r\n]{0,50})\r\n')
_PAGE = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj"
_PAGE += b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


class _Server(WebService):
    """A server that can close or reset the connection of one request."""

    def disconnect(self, request: Request, *, reset: bool) -> None:
        """Close the connection of this request, with a RST or without; its answer is discarded."""
        for connection in list(self._server.server_state.connections):
            if request.client is not None and getattr(connection, "client", None) == tuple(request.client):
                transport: asyncio.Transport = connection.transport
                if reset:
                    # With SO_LINGER 0, closing discards unsent data and sends a RST.
                    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    transport.abort()
                else:
                    transport.close()


@dataclass(slots=True)
class _PendingFault:
    """A fault for the next `times` calls of `action`, or of any action if it is empty."""

    fault: str
    times: int
    action: str


@dataclass(slots=True)
class Simulator(Actions):
    """Listens on loopback. `redirects_followed` counts requests to the target of the fault `redirect`."""

    redirects_followed: int = 0
    _pending_faults: list[_PendingFault] = field(default_factory=list)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _service: _Server = field(init=False)
    _address: tuple[str, int] = field(init=False)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; return the URL for `myfax.url`. Raises OSError."""
        routes = [
            Route("/action/{action}", self._answer_action, methods=["POST"]),
            Route("/documents/{name}", self._document),
            Route("/elsewhere", self._redirect_target, methods=["GET", "POST"]),
            Route("/_control/uploads", self._uploads),
            Route("/_control/lines", self._lines),
            *(
                Route(f"/_control/{name}", _control_endpoint(change), methods=["POST"])
                for name, change in (
                    ("script", self._set_script),
                    ("misbehave", self._set_fault),
                    ("refuse", self._set_refusal),
                    ("incoming", self._add_incoming),
                )
            ),
        ]
        # No limits: the turns of clients would slow down the one client that it has.
        self._service = _Server(host, port, Starlette(routes=routes), most=None)
        self._address = await self._service.start()
        return f"{self._base}/action/"

    async def stop(self) -> None:
        """Close the listener; reports that are not due yet are dropped."""
        self._stopping.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._service.stop()

    def misbehave(self, fault: str, times: int = 1, action: str = "") -> None:
        """Apply a fault to the next `times` calls of one action, such as `faxUpload.do`, or of any. Raises ValueError."""
        if not faults.is_known(fault):
            raise ValueError(f"unknown fault {fault!r}")
        if action and action not in self.actions:
            raise ValueError(f"unknown action {action!r}")
        if times < 1:
            raise ValueError("times must be at least 1")
        self._pending_faults.append(_PendingFault(fault, times, action))

    async def refuse(self, seconds: float) -> None:
        """Close every connection, and refuse new ones for this many seconds."""
        stopping, self._stopping = self._stopping, asyncio.Event()
        stopping.set()  # ends the calls that hang, which stopping the server would wait for
        # Shielded, because `stop` may cancel this task and still needs the server.
        await asyncio.shield(self._service.stop())
        await asyncio.sleep(seconds)
        await self.start(*self._address)

    @property
    def _base(self) -> str:
        return "http://{}:{}".format(*self._address)

    def _next_fault(self, action: str) -> str | None:
        pending = next((one for one in self._pending_faults if one.action in ("", action)), None)
        if pending is None:
            return None
        pending.times -= 1
        if pending.times <= 0:
            self._pending_faults.remove(pending)
        return pending.fault

    async def _answer_action(self, request: Request) -> Response:
        action = request.path_params["action"]
        if action not in self.actions:
            return Response("Not found", 404)
        fault = self._next_fault(action)
        number, request = await _read_number(request)
        if (fault or (number and self.outcome(number))) == "reset_in_body":
            self._service.disconnect(request, reset=True)
            return Response()
        async with request.form() as form:
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
            if fault is None and action == "faxUpload.do":
                fault = self._fault_by_number(fields.get("faxNumber", ""))
            carried_out = faults.carries_out(fault)
            answer = await self.answer(action, fields, form) if carried_out else xml(NOT_ACCEPTED, "It was not accepted")
        if fault == "hang":
            await self._stopping.wait()
        if fault in ("hang", "reset", "close"):
            self._service.disconnect(request, reset=fault != "close")
        if action in _HTML_BY_DEFAULT and fields.get("resultType") != "XML":
            return faults.html_page("See resultType")
        return faults.faulty_answer(fault, answer, self._stopping)

    def _fault_by_number(self, number: str) -> str | None:
        """Return the fault that a number chooses, except `rejected`: that one comes after the login and the parameters."""
        outcome = self.outcome(number)
        return outcome if faults.is_known(outcome) and outcome != "rejected" else None

    async def _document(self, _: Request) -> Response:
        return Response(_PAGE, media_type="application/pdf")

    async def _redirect_target(self, _: Request) -> Response:
        self.redirects_followed += 1
        return Response(xml(0, "OK", {"FAX_CODE": str(uuid.uuid4())}), media_type="text/xml")

    async def _uploads(self, _: Request) -> Response:
        return JSONResponse([asdict(fax) for fax in self.uploads])

    async def _lines(self, _: Request) -> Response:
        return JSONResponse([asdict(line) for line in self.accounts.lines.values()])

    def _set_script(self, body: dict[str, Any]) -> None:
        outcome = body["outcome"]
        if outcome not in (*FINAL_STATUS, "never_final") and not faults.is_known(outcome):
            raise ValueError(f"unknown outcome {outcome!r}")
        self.script[body["number"]] = outcome

    def _set_fault(self, body: dict[str, Any]) -> None:
        self.misbehave(body["fault"], int(body.get("times", 1)), body.get("action", ""))

    def _set_refusal(self, body: dict[str, Any]) -> None:
        seconds = float(body["seconds"])
        if not 0 <= seconds <= 3600:
            raise ValueError("seconds must be from 0 to 3600")
        self._start_task(self.refuse(seconds))

    def _add_incoming(self, body: dict[str, Any]) -> dict[str, str]:
        time = f"{parse_time(body['time']):%Y-%m-%d %H:%M:%S}.0"
        item = {"ID": str(uuid.uuid4()), "TIME": time, "DID": body["did"], "SOURCE": body["source"] or ""}
        item["URL"] = f"{self._base}/documents/{item['ID']}.pdf"
        self.incoming[body.get("type", "incoming")].append(item)
        return item


def _control_endpoint(change: Callable[[dict[str, Any]], Any]) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a control request, which answers 400 with the reason if `change` does not accept its JSON."""

    async def answer(request: Request) -> Response:
        try:
            result = change(json.loads(await request.body()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Response(f"invalid request: {type(error).__name__}: {error}\n", 400)
        return Response(status_code=204) if result is None else JSONResponse(result)

    return answer


async def _read_number(request: Request) -> tuple[str, Request]:
    """Read a multipart body as far as its faxNumber; return that number, and a request that can be read from the start."""
    received: list[Message] = []
    start = b""
    while True:
        received.append(await request.receive())
        start += received[-1].get("body", b"")
        found = _NUMBER_PART.search(start)
        if found or not received[-1].get("more_body") or len(start) > 65536:
            break

    async def receive() -> Message:
        return received.pop(0) if received else await request.receive()

    return found[1].decode(errors="replace") if found else "", Request(request.scope, receive)
