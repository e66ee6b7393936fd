"""A server with MyFax's lists and documents, and an office that reads them: for the tests of the listing and of `incoming`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from mailbridge.config import Mailbox
from mailbridge.demo.http import HttpRequest, HttpServer
from mailbridge.model import Cursor, Event, Report, new_id
from mailbridge.myfax import MyFax
from mailbridge.report.document_download import Documents
from mailbridge.report.listing import Listing
from mailbridge.report.listing_recorder import Kind, ListingOptions
from mailbridge.report.received_document import SpooledMail, spool_document
from mailbridge.report.recorder import Recorder
from mailbridge.report.watcher_options import WatcherOptions
from mailbridge.runtime import Runtime
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sqlite import SqliteStore

ISRAEL = ZoneInfo("Asia/Jerusalem")
START = datetime(2026, 1, 4, 9, 0, tzinfo=UTC)
EVERY = timedelta(minutes=10)
PDF = b"%PDF-1.4 a received fax\n%%EOF\n"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt a voice"


@dataclass
class FakeMyFax:
    """Answers incoming.do from `listed`, and documents from `documents` by their path; `answers` has the next ones of a path."""

    listed: dict[str, list[dict[str, str]]] = field(default_factory=lambda: {"incoming": [], "voice": []})
    documents: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[tuple[int, dict[str, str], bytes]]] = field(default_factory=dict)
    asked: list[HttpRequest] = field(default_factory=list)
    page: int = 2
    down: bool = False

    async def start(self) -> None:
        self._http = HttpServer(self._answer)
        self.base = f"http://127.0.0.1:{await self._http.start()}"
        self.url = f"{self.base}/action/"

    async def stop(self) -> None:
        await self._http.stop()

    def add(
        self,
        at: datetime,
        source: str = "08-9999999",
        did: str = "+97239876543",
        *,
        kind: str = "incoming",
        document: bytes = PDF,
        url: str | None = None,
        zone: ZoneInfo = ISRAEL,
    ) -> str:
        """Put an item on the list, with its time as MyFax prints it; return its ID."""
        identity = new_id("item")
        self.documents[f"/documents/{identity}"] = document
        item = {
            "ID": identity,
            "TIME": at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S.0"),
            "DID": did,
            "SOURCE": source,
            "URL": url or f"{self.base}/documents/{identity}",
        }
        self.listed[kind].insert(0, item)
        return identity

    def fetched(self) -> list[str]:
        return [request.path for request in self.asked if request.method == "GET"]

    async def _answer(self, request: HttpRequest) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(request)
        if waiting := self.answers.get(request.path):
            return waiting.pop(0)
        if request.path == "/action/incoming.do":
            return (503, {}, b"") if self.down else self._list(request)
        document = self.documents.get(request.path)
        if document is None:
            return 404, {}, b""
        wanted = request.headers.get("range", "")
        if not wanted:
            return 200, {"Content-Type": "application/octet-stream"}, document
        begin = int(wanted.removeprefix("bytes=").rstrip("-"))
        if begin >= len(document):
            return 416, {"Content-Range": f"bytes */{len(document)}"}, b""
        return 206, {"Content-Range": f"bytes {begin}-{len(document) - 1}/{len(document)}"}, document[begin:]

    def whole_list(self) -> tuple[int, dict[str, str], bytes]:
        """The first page as a service answers that minds no date."""
        return self._answer_list({"listType": "incoming", "p": "0"})

    def _list(self, request: HttpRequest) -> tuple[int, dict[str, str], bytes]:
        return self._answer_list({name: values[0] for name, values in parse_qs(request.body.decode()).items()})

    def _answer_list(self, form: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        start, end, page = form.get("startDate", ""), form.get("endDate", "9999-12-31 23:59:59"), int(form["p"])
        items = [item for item in self.listed[form["listType"]] if start <= item["TIME"][:19] <= end or not item["TIME"]]
        pages = max(1, -(-len(items) // self.page))
        listed = "".join(
            "<ITEM>" + "".join(f"<{name}>{escape(value)}</{name}>" for name, value in item.items()) + "</ITEM>"
            for item in items[page * self.page : (page + 1) * self.page]
        )
        following = f"<NEXT_PAGE>{page + 1}</NEXT_PAGE>" if page + 1 < pages else ""
        body = f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><LIST>{listed}</LIST><PAGES>{pages}</PAGES>{following}</RESPONSE>"
        return 200, {}, body.encode()


@dataclass
class Office:
    """One state_dir with its store and spool, a mailbox's taker, and the time."""

    store: SqliteStore
    spool: LocalSpool
    myfax: FakeMyFax
    client: MyFax
    documents: Documents
    now: datetime = START
    uid: int = 0

    @property
    def runtime(self) -> Runtime:
        return Runtime(self.store, self.spool, lambda: self.now, lambda: 0.0)

    def listing(self, kind: Kind = "incoming") -> Listing:
        options = ListingOptions(account="office", kind=kind, every=EVERY.total_seconds(), zone=ISRAEL)
        return Listing(options, self.client, self.documents, self.runtime)

    async def rounds(self, listing: Listing, number: int = 1) -> None:
        """Let so many rounds pass."""
        for _ in range(number):
            self.now += EVERY
            await listing.compare()

    async def mail(
        self,
        at: datetime | None,
        sender: str = "08-9999999",
        to: str | None = "+97239876543",
        *,
        trusted: bool = True,
        document: bytes = PDF,
    ) -> bool:
        """Record a mail about a received fax; return whether its document is needed: not where an event had reported the fax."""
        self.uid += 1
        fax_id = new_id("fax")
        kept = spool_document(self.spool, fax_id, [document], "application/pdf", "fax.pdf")
        report = Report(kind="incoming", sender=sender, to=to, date=at, trusted=trusted, message_id=f"<{self.uid}@myfax.co.il>")
        mail = SpooledMail(self.uid, report, f"digest {self.uid}", fax_id, (kept,))
        mailbox = Mailbox(host="127.0.0.1", username="office", password=SecretStr("demo"))
        options = WatcherOptions(name="office", mailbox=mailbox, account="office", zone=ISRAEL)
        await Recorder(options, self.runtime).record([mail], Cursor(uidvalidity=1, last_uid=0))
        return str(kept["path"]) in self.files()

    async def events(self, type_: str = "fax.received") -> list[Event]:
        found = await self.store.run(lambda tx: tx.events.newest(limit=10_000))
        return [event for event in found[::-1] if event.type == type_]

    async def sources(self) -> list[tuple[str, str | None]]:
        """Return who raised each fax.received, and about which caller."""
        return [(event.data["source"], event.data["from"]) for event in await self.events()]

    def files(self) -> set[str]:
        return {str(path.relative_to(self.spool.root)) for path in (self.spool.root / "received").rglob("*") if path.is_file()}


@asynccontextmanager
async def office(path: Path, myfax: FakeMyFax | None = None, **more: Any) -> AsyncIterator[Office]:
    """Open an office; with the `myfax` of an earlier one, as after a restart."""
    async with AsyncExitStack() as stack:
        if myfax is None:
            myfax = FakeMyFax()
            await myfax.start()
            stack.push_async_callback(myfax.stop)
        describe: Callable[[Any], dict[str, Any]] = lambda fax: {}  # noqa: E731
        store = await stack.enter_async_context(SqliteStore(path, describe, lambda type_: ()))
        client = await stack.enter_async_context(MyFax("office@example.co.il", "demo", myfax.url, 5.0, ISRAEL))
        documents = await stack.enter_async_context(Documents(myfax.url, more.pop("timeout", 5.0), more.pop("limit", 10_000)))
        yield Office(store, LocalSpool(path / "spool"), myfax, client, documents, **more)
