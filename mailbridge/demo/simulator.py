"""The stand-in of MyFax: all five actions over real HTTP, statuses that advance, outcomes chosen by number or by request.

The last digits of a number choose what becomes of a fax, unless `script` names that number:

    …01 busy         …02 no answer      …06 wrong number   …07 fails during transfer
    …91 reset        …92 hangs          …93 HTTP 500       …94 an HTML page
    …98 never final  …99 rejected (RESPONSE_CODE -5)       all others are delivered
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import struct
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mailbridge.web.server import WebService

_BY_LAST_DIGITS = {
    "01": "busy",
    "02": "no_answer",
    "06": "wrong_number",
    "07": "fail",
    "91": "reset",
    "92": "hang",
    "93": "http_500",
    "94": "html",
    "98": "never_final",
    "99": "rejected",
}
_FINAL_STATUS = {"delivered": 9, "busy": 3, "no_answer": 2, "wrong_number": 6, "fail": 7}
_UNDER_WAY = (0, 1, 4)
_PAGE = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj"
_PAGE += b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


@dataclass(slots=True)
class SimFax:
    """One fax that the stand-in took. `files` has name, size and sha256 of each part with content, `url` the fileURL."""

    fax_code: str
    number: str
    email: str
    outcome: str
    files: list[dict[str, Any]]
    began: float
    reported: bool = False
    url: str = ""

    @property
    def subject(self) -> str:
        """The first file's name, which the report mail calls the fax's subject."""
        return str(self.files[0]["name"]) if self.files else ""

    @property
    def status_code(self) -> int:
        """The code at the end."""
        return _FINAL_STATUS.get(self.outcome, 4)


class _Resettable(WebService):
    """A service that can break off one connection the hard way."""

    def reset(self, request: Request) -> None:
        """Send a RST on the connection of this request; what is answered afterwards goes nowhere."""
        for connection in list(self._server.server_state.connections):
            if request.client is not None and getattr(connection, "client", None) == tuple(request.client):
                transport: asyncio.Transport = connection.transport
                # With no time to linger, closing throws away what is unsent and resets.
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                transport.abort()


@dataclass(slots=True)
class Simulator:
    """Listens on loopback. A fax takes a step each `step` seconds and is final after three; then `on_final` is called."""

    email: str = "office@example.co.il"
    password: str = "demo"
    step: float = 0.1
    on_final: Callable[[SimFax], Awaitable[None]] | None = None
    on_upload: Callable[[SimFax], None] | None = None
    script: dict[str, str] = field(default_factory=dict)
    uploads: list[SimFax] = field(default_factory=list)
    incoming: dict[str, list[dict[str, str]]] = field(default_factory=lambda: {"incoming": [], "voice": []})
    credit: int = 1000
    _by_code: dict[str, SimFax] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _service: _Resettable = field(init=False)
    _base: str = field(init=False)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; return the URL for `myfax.url`. Raises OSError."""
        routes = [
            Route("/action/faxUpload.do", self._upload, methods=["POST"]),
            Route("/action/faxStatus.do", self._status, methods=["POST"]),
            Route("/action/incoming.do", self._incoming, methods=["POST"]),
            Route("/action/myFaxAllocateDistributer.do", self._register, methods=["POST"]),
            Route("/action/releaseFaxLine.do", self._release, methods=["POST"]),
            Route("/documents/{name}", self._document),
            Route("/_control/uploads", self._uploads),
            Route("/_control/script", self._set_script, methods=["POST"]),
            Route("/_control/incoming", self._plant, methods=["POST"]),
        ]
        self._service = _Resettable(host, port, Starlette(routes=routes))
        bound_host, bound_port = await self._service.start()
        self._base = f"http://{bound_host}:{bound_port}"
        return f"{self._base}/action/"

    async def stop(self) -> None:
        """Close the listener; reports not yet due are dropped."""
        self._stopping.set()
        for task in list(self._tasks):
            task.cancel()
        await self._service.stop()

    def _outcome(self, number: str) -> str:
        return self.script.get(number) or _BY_LAST_DIGITS.get(number[-2:], "delivered")

    def _known(self, form: FormData, prefix: str = "") -> bool:
        names = ("distEmail", "distPassword") if prefix else ("email", "password")
        return (form.get(names[0]), form.get(names[1])) == (self.email, self.password)

    async def _upload(self, request: Request) -> Response:
        async with request.form() as form:
            return await self._take(form, request)

    async def _take(self, form: FormData, request: Request) -> Response:
        if not self._known(form):
            return _xml(-1, "Wrong email or password")
        number = str(form.get("faxNumber", ""))
        files = [await _about(part) for _, part in form.multi_items() if isinstance(part, UploadFile) and part.filename]
        if not number.lstrip("+").replace("-", "").isdigit() or not (files or form.get("fileURL")):
            return _xml(-2, "faxNumber and a file are needed")
        outcome = self._outcome(number)
        if outcome == "rejected":
            return _xml(-5, "The fax was not accepted")
        url, began = str(form.get("fileURL") or ""), asyncio.get_running_loop().time()
        fax = SimFax(str(uuid.uuid4()), number, self.email, outcome, files, began, url=url)
        self.uploads.append(fax)
        self._by_code[fax.fax_code] = fax
        self.credit -= 1
        if self.on_upload is not None:
            self.on_upload(fax)
        if outcome == "hang":
            await self._stopping.wait()
        if outcome in ("hang", "reset"):
            self._service.reset(request)
        if outcome == "http_500":
            return Response("Internal error", 500)
        if outcome == "html":
            return Response("<html><body>Welcome to MyFax</body></html>", media_type="text/html")
        if outcome in _FINAL_STATUS:
            self._follow(fax)
        told = {"FAX_CODE": fax.fax_code, "FAX_STATUS": 0, "PRICE": "0.40", "CREDIT_LEFT": self.credit, "FAX_PAGES": 1}
        return _html_unless_asked(form, _xml(0, "OK", told))

    def _follow(self, fax: SimFax) -> None:
        async def report() -> None:
            await asyncio.sleep(self.step * len(_UNDER_WAY))
            if self.on_final is not None:
                await self.on_final(fax)
            fax.reported = True

        task = asyncio.create_task(report())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _status(self, request: Request) -> Response:
        form = await request.form()
        if not self._known(form):
            return _xml(-1, "Wrong email or password")
        fax = self._by_code.get(str(form.get("faxCode")))
        if fax is None:
            return _xml(-3, "Unknown fax")
        steps = int((asyncio.get_running_loop().time() - fax.began) / self.step) if self.step else len(_UNDER_WAY)
        final = steps >= len(_UNDER_WAY) and fax.outcome in _FINAL_STATUS
        status = fax.status_code if final else _UNDER_WAY[min(steps, len(_UNDER_WAY) - 1)]
        told = {"FAX_CODE": fax.fax_code, "FAX_STATUS": status, "FINAL_STATUS": str(final).lower()}
        return _xml(0, "OK", told | {"PRICE": "0.40", "CREDIT_LEFT": self.credit})

    async def _incoming(self, request: Request) -> Response:
        form = await request.form()
        if not self._known(form):
            return _xml(-1, "Wrong email or password")
        start, end = str(form.get("startDate", "")), str(form.get("endDate", "9999"))
        listed = [item for item in self.incoming[str(form.get("listType", "incoming"))] if start <= item["TIME"] <= end]
        page, size = int(str(form.get("p", 0))), 20
        pages = max(1, -(-len(listed) // size))
        items = "".join(f"<ITEM>{_tags(item)}</ITEM>" for item in listed[page * size : (page + 1) * size])
        more = f"<NEXT_PAGE>{page + 1}</NEXT_PAGE>" if page + 1 < pages else ""
        return _xml(0, "OK", rest=f"<LIST>{items}</LIST><PAGES>{pages}</PAGES>{more}")

    async def _register(self, request: Request) -> Response:
        form = await request.form()
        if not self._known(form, "dist"):
            return _xml(-1, "Wrong email or password")
        number = str(form.get("requestedNumber") or "+97239876543")
        told = {
            "USER_ID": 4711,
            "USER_FAX_NUMBER": number,
            "USER_EMAIL": form.get("email"),
            "PRICE": "10",
            "EXPIRE": "2027-01-01",
        }
        return _html_unless_asked(form, _xml(0, "OK", told))

    async def _release(self, request: Request) -> Response:
        form = await request.form()
        if not self._known(form, "dist"):
            return _xml(-1, "Wrong email or password")
        if not (form.get("faxLineDID") or form.get("userEmail")):
            return _xml(-2, "faxLineDID or userEmail is needed")
        return _html_unless_asked(form, _xml(0, "OK"))

    async def _document(self, _: Request) -> Response:
        return Response(_PAGE, media_type="application/pdf")

    async def _uploads(self, _: Request) -> Response:
        return JSONResponse([asdict(fax) for fax in self.uploads])

    async def _set_script(self, request: Request) -> Response:
        wanted = json.loads(await request.body())
        self.script[wanted["number"]] = wanted["outcome"]
        return Response(status_code=204)

    async def _plant(self, request: Request) -> Response:
        wanted = json.loads(await request.body())
        item = {"ID": str(uuid.uuid4()), "TIME": wanted["time"], "DID": wanted["did"], "SOURCE": wanted["source"]}
        item["URL"] = f"{self._base}/documents/{item['ID']}.pdf"
        self.incoming[wanted.get("type", "incoming")].append(item)
        return JSONResponse(item)


async def _about(part: UploadFile) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    while chunk := await part.read(1 << 16):
        digest.update(chunk)
        size += len(chunk)
    return {"name": part.filename, "size": size, "sha256": digest.hexdigest(), "content_type": part.content_type}


def _tags(fields: dict[str, Any]) -> str:
    return "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in fields.items())


def _xml(code: int, text: str, fields: dict[str, Any] | None = None, rest: str = "") -> Response:
    answer = _tags({"RESPONSE_CODE": code, "RESPONSE_TEXT": text, **(fields or {})})
    return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n<RESPONSE>{answer}{rest}</RESPONSE>', media_type="text/xml")


def _html_unless_asked(form: FormData, answer: Response) -> Response:
    """Register and release answer HTML to whoever does not ask for XML."""
    return answer if form.get("resultType") == "XML" else Response("<html><body>OK</body></html>", media_type="text/html")
