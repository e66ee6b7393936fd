"""The five actions of the MyFax simulator, without HTTP: form in, XML out."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from starlette.datastructures import FormData, UploadFile

from mailbridge.demo import faults
from mailbridge.demo.accounts import BAD_PARAMETER, NOT_ACCEPTED, UNKNOWN, Accounts, Refusal, required
from mailbridge.demo.page_count import count_pages
from mailbridge.myfax.values import e164

BY_LAST_DIGITS = {
    **{"01": "busy", "02": "no_answer", "06": "wrong_number", "07": "fail", "98": "never_final", "99": "rejected"},
    **{"81": "reset_in_body", "82": "close", "83": "redirect", "84": "endless"},
    **{"85": "spaced", "86": "bom", "87": "blank_lines", "88": "windows_1255"},
    **{"91": "reset", "92": "hang", "93": "http_500", "94": "html", "95": "truncated", "96": "no_code", "97": "dtd"},
}
FINAL_STATUS = {"delivered": 9, "busy": 3, "no_answer": 2, "wrong_number": 6, "fail": 7}
PAGE_SIZE = 20
# FAX_STATUS before the final one: init, confirm, connect.
_PENDING = (0, 1, 4)
_NUMBER = re.compile(r"\+?[0-9][0-9() .\-]{2,39}", re.ASCII)


@dataclass(slots=True)
class SimFax:
    """One accepted fax. `files` has name, size, sha256, content_type and pages of each file, `url` is the fileURL."""

    fax_code: str
    number: str
    email: str
    outcome: str
    files: list[dict[str, Any]]
    began: float
    reported: bool = False
    url: str = ""

    @property
    def pages(self) -> int:
        """The pages of all files; 1 for a URL, which is not fetched."""
        return sum(file["pages"] for file in self.files) or 1

    @property
    def subject(self) -> str:
        """The first file's name, which report mails have as X-Fax-Subject."""
        return str(self.files[0]["name"]) if self.files else ""

    @property
    def status_code(self) -> int:
        """The final FAX_STATUS; 4 if it is never final."""
        return FINAL_STATUS.get(self.outcome, 4)


@dataclass(slots=True)
class Actions:
    """The state of the simulator. A fax's status changes every `step` seconds, and the third change is final.

    `on_upload` is called for each accepted fax, and `on_final` when one becomes final. `script` maps numbers, in any notation, to
    outcomes; for other numbers the last two digits decide. `incoming` has the lists of received faxes and of voicemails. `clock`
    returns seconds.
    """

    email: str = "office@example.co.il"
    password: str = "demo"
    step: float = 0.1
    on_final: Callable[[SimFax], Awaitable[None]] | None = None
    on_upload: Callable[[SimFax], None] | None = None
    script: dict[str, str] = field(default_factory=dict)
    uploads: list[SimFax] = field(default_factory=list)
    incoming: dict[str, list[dict[str, str]]] = field(default_factory=lambda: {"incoming": [], "voice": []})
    credit: int = 1000
    clock: Callable[[], float] = time.monotonic
    accounts: Accounts = field(init=False)
    _by_code: dict[str, SimFax] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.accounts = Accounts(self.email, self.password)

    async def answer(self, action: str, fields: dict[str, str], form: FormData) -> str:
        """Carry out an action and return its XML answer."""
        try:
            return await self.actions[action](fields, form)
        except Refusal as refusal:
            return xml(refusal.code, refusal.text)

    @property
    def actions(self) -> dict[str, Callable[[dict[str, str], FormData], Awaitable[str]]]:
        """The five actions by path."""
        return {
            "myFaxAllocateDistributer.do": self._register,
            "faxUpload.do": self._send,
            "faxStatus.do": self._status,
            "incoming.do": self._incoming,
            "releaseFaxLine.do": self._release,
        }

    def outcome(self, number: str) -> str:
        """Return the outcome of a fax to this number."""
        canonical = e164(number) or number
        scripted = next((outcome for key, outcome in self.script.items() if (e164(key) or key) == canonical), None)
        return scripted or BY_LAST_DIGITS.get(canonical[-2:], "delivered")

    async def _send(self, fields: dict[str, str], form: FormData) -> str:
        email, number = self.accounts.login(fields), required(fields, "faxNumber")
        if not _NUMBER.fullmatch(number):
            raise Refusal(BAD_PARAMETER, "faxNumber is not a phone number")
        files = [await _file_facts(part) for _, part in form.multi_items() if isinstance(part, UploadFile) and part.filename]
        url = fields.get("fileURL", "")
        if not (files or url):
            raise Refusal(BAD_PARAMETER, "theFile or fileURL is needed")
        if not files and not url.startswith(("http://", "https://")):
            raise Refusal(BAD_PARAMETER, "fileURL is not the address of a file")
        outcome = self.outcome(number)
        if outcome == "rejected":
            raise Refusal(NOT_ACCEPTED, "The fax was not accepted")
        outcome = "delivered" if outcome in faults.READABLE else outcome
        fax = SimFax(str(uuid.uuid4()), number, email, outcome, files, self.clock(), url=url)
        self.uploads.append(fax)
        self._by_code[fax.fax_code] = fax
        self.credit -= 1
        if self.on_upload is not None:
            self.on_upload(fax)
        if outcome in FINAL_STATUS:
            self._start_task(self._finish(fax))
        answer = {"FAX_CODE": fax.fax_code, "FAX_STATUS": 0, "PRICE": "0.40", "CREDIT_LEFT": self.credit, "FAX_PAGES": fax.pages}
        return xml(0, "OK", answer)

    async def _finish(self, fax: SimFax) -> None:
        await asyncio.sleep(self.step * len(_PENDING))
        if self.on_final is not None:
            await self.on_final(fax)
        fax.reported = True

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _status(self, fields: dict[str, str], _: FormData) -> str:
        email, fax = self.accounts.login(fields), self._by_code.get(required(fields, "faxCode"))
        if fax is None or fax.email != email:
            raise Refusal(UNKNOWN, "Unknown fax")
        steps = int((self.clock() - fax.began) / self.step) if self.step else len(_PENDING)
        final = steps >= len(_PENDING) and fax.outcome in FINAL_STATUS
        status = fax.status_code if final else _PENDING[min(steps, len(_PENDING) - 1)]
        answer = {"FAX_CODE": fax.fax_code, "FAX_STATUS": status, "FINAL_STATUS": str(final).lower()}
        return xml(0, "OK", answer | {"PRICE": "0.40", "CREDIT_LEFT": self.credit})

    async def _incoming(self, fields: dict[str, str], _: FormData) -> str:
        self.accounts.login(fields)
        kind, page = fields.get("listType") or "incoming", fields.get("p") or "0"
        if kind not in self.incoming:
            raise Refusal(BAD_PARAMETER, "listType must be incoming or voice")
        if not re.fullmatch("[0-9]{1,6}", page, re.ASCII):
            raise Refusal(BAD_PARAMETER, "p is not a page")
        start, end = (_time(fields, name) for name in ("startDate", "endDate"))
        listed = [
            item
            for item in self.incoming[kind]
            if (start is None or parse_time(item["TIME"]) >= start) and (end is None or parse_time(item["TIME"]) <= end)
        ]
        first, pages = int(page) * PAGE_SIZE, max(1, -(-len(listed) // PAGE_SIZE))
        items = "".join(f"<ITEM>{_tags(item)}</ITEM>" for item in listed[first : first + PAGE_SIZE])
        more = f"<NEXT_PAGE>{int(page) + 1}</NEXT_PAGE>" if int(page) + 1 < pages else ""
        return xml(0, "OK", rest=f"<LIST>{items}</LIST><PAGES>{pages}</PAGES>{more}")

    async def _register(self, fields: dict[str, str], _: FormData) -> str:
        return xml(0, "OK", self.accounts.register(fields))

    async def _release(self, fields: dict[str, str], _: FormData) -> str:
        self.accounts.release(fields)
        return xml(0, "OK")


async def _file_facts(part: UploadFile) -> dict[str, Any]:
    content = await part.read()
    return {
        "name": part.filename,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "content_type": part.content_type,
        "pages": count_pages(content),
    }


def parse_time(printed: str) -> datetime:
    """Return the TIME of an item, which has no zone. Raises ValueError."""
    time = datetime.fromisoformat(printed.removesuffix(".0"))
    if time.tzinfo is not None:
        raise ValueError("MyFax's times have no zone; write 2026-01-04 09:00:00")
    return time


def _time(fields: Mapping[str, str], name: str) -> datetime | None:
    if not (printed := fields.get(name, "")):
        return None
    try:
        return datetime.strptime(printed, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - MyFax's times have no zone
    except ValueError:
        raise Refusal(BAD_PARAMETER, f"{name} is not like yyyy-MM-dd HH:mm:ss") from None


def _tags(fields: dict[str, Any]) -> str:
    return "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in fields.items())


def xml(code: int, text: str, fields: dict[str, Any] | None = None, rest: str = "") -> str:
    """Return an answer as MyFax's document describes it."""
    answer = _tags({"RESPONSE_CODE": code, "RESPONSE_TEXT": text, **(fields or {})})
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<RESPONSE>{answer}{rest}</RESPONSE>'
