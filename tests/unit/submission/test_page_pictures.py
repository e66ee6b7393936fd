"""Pictures of pages in the daemon: one at a time, remembered, and a hostile document costs nobody else anything."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.model import EXTERNAL, Document
from mailbridge.page.confirmation_text import ConfirmationText
from mailbridge.page.text_page import render
from mailbridge.store.local_spool import LocalSpool
from mailbridge.submission import page_pictures
from mailbridge.submission.letter_reader import LetterReader
from mailbridge.submission.page_pictures import PagePictures
from mailbridge.submission.worker_process import Job
from mailbridge.submission.worker_protocol import Response
from tests.wait_helpers import PATIENCE

pytestmark = pytest.mark.usefixtures("preloaded_fork_server")

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 100
MAIL = b"From: a@b.co\nSubject: s\n\nhello\n"


def document(**changes: Any) -> Document:
    facts: dict[str, Any] = {"name": "a.pdf", "content_type": "application/pdf", "sha256": "ab", "path": "mail/a", "offset": 0}
    return Document(**{**facts, "size": 10, "length": 10, **changes})


class Worker:
    """Counts what it is asked, and answers with `response`."""

    def __init__(self, response: Response | Exception) -> None:
        self.response = response
        self.asked: list[tuple[int, int]] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self, document: Document, number: int, width: int, viewer: str) -> Response:
        self.asked.append((number, width))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if isinstance(self.response, Exception):
            raise self.response
        return self.response


def test_a_picture_is_made_once_and_kept() -> None:
    worker = Worker(Response(page=PNG, pages=3))
    pictures = PagePictures(worker)

    async def run() -> None:
        shown = await asyncio.gather(*(pictures(document(), 1, 300, "dana") for _ in range(5)))
        assert {(one.png, one.pages, one.not_shown) for one in shown} == {(PNG, 3, None)}
        others = [(document(), 2, 300), (document(), 1, 900), (document(offset=9), 1, 300)]
        await asyncio.gather(*(pictures(*other, "dana") for other in others))

    asyncio.run(run())
    assert worker.asked == [(1, 300), (2, 300), (1, 900), (1, 300)]
    assert worker.most_at_once == 1


def test_attack_5_pictures_that_take_long_delay_their_viewer_alone() -> None:
    asked, go = list[str](), asyncio.Event()

    async def slow(document: Document, number: int, width: int, viewer: str) -> Response:
        asked.append(viewer)
        if viewer == "dana":
            await go.wait()
        return Response(page=PNG, pages=9)

    async def run() -> None:
        pictures = PagePictures(slow)
        waiting = [asyncio.create_task(pictures(document(), number, 300, "dana")) for number in (1, 2)]
        await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            assert (await pictures(document(), 3, 300, "office")).png == PNG
            assert (await pictures(document(), 1, 300, "office")).png == PNG
        assert asked == ["dana", "office", "office"]
        go.set()
        await asyncio.gather(*waiting)
        assert asked == ["dana", "office", "office", "dana"]
        # The page that both looked at counts once.
        assert pictures._size == sum(len(picture.png) + 200 for picture in pictures._kept.values())
        assert not pictures._turns

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["picture", "confirmation"])
def test_attack_5_whose_page_ran_out_of_time_rests_and_others_do_not(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients: list[str] = []

    async def ask(reader: LetterReader, job: Job) -> Response:
        clients.append(job.client)
        return Response(page=PNG, pages=1)

    monkeypatch.setattr(LetterReader, "_ask", ask)

    async def run() -> None:
        reader, text = LetterReader(LocalSpool(tmp_path), "auto"), ConfirmationText(title="", rows=())
        (tmp_path / "a.pdf").write_bytes(b"")
        for who in ("dana", "office"):
            if kind == "picture":
                await reader.picture(document(path="a.pdf"), 1, 300, who)
            else:
                await reader.confirmation(text, document(path="a.pdf"), who)

    asyncio.run(run())
    # Workers are shared by these names (see `worker_shares`).
    assert clients == [f"{kind}s of dana", f"{kind}s of office"]


def test_memory_stays_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_pictures, "_KEPT", 1000)
    pictures = PagePictures(Worker(Response(page=PNG, pages=1)))

    async def run() -> None:
        for number in range(1, 50):
            await pictures(document(), number, 300, "dana")

    asyncio.run(run())
    assert len(pictures._kept) == 1000 // (len(PNG) + 200)
    assert pictures._size <= 1000


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (Response(page=b"", not_shown="locked"), "locked"),
        (Refused("554 5.6.0 limits"), "limits"),
        (Response(refused="554 5.6.0 no"), "damaged"),
        (Response(page=b"<script>alert(1)</script>", pages=1), "damaged"),
        (Response(page=PNG + b"x" * 400_000, pages=1), "damaged"),
        (Response(page=PNG, pages=10**9), "damaged"),
        (Response(page=PNG), "damaged"),
        (Response(), "damaged"),
    ],
)
def test_what_cannot_be_shown_is_asked_once(response: Response | Exception, reason: str) -> None:
    worker = Worker(response)
    pictures = PagePictures(worker)

    async def run() -> None:
        for _ in range(3):
            shown = await pictures(document(), 1, 300, "dana")
            assert (shown.png, shown.not_shown) == (b"", reason)

    asyncio.run(run())
    assert len(worker.asked) == 1


def test_no_worker_is_asked_for_what_is_not_here() -> None:
    worker = Worker(Response(page=PNG, pages=1))
    pictures = PagePictures(worker)

    async def why(**changes: Any) -> str | None:
        return (await pictures(document(**changes), 1, 300, "dana")).not_shown

    assert asyncio.run(why(path="")) == "deleted"
    assert asyncio.run(why(content_type=EXTERNAL)) == "elsewhere"
    assert asyncio.run(why(size=60_000_000)) == "limits"
    assert worker.asked == []


def test_what_fails_for_the_moment_is_asked_again() -> None:
    worker = Worker(StoreUnavailable("no worker"))
    pictures = PagePictures(worker)

    async def run() -> None:
        with pytest.raises(StoreUnavailable):
            await pictures(document(), 1, 300, "dana")
        worker.response = Response(page=PNG, pages=1)
        assert (await pictures(document(), 1, 300, "dana")).png == PNG

    asyncio.run(run())


def with_reader(root: Path, work: Callable[[LetterReader, PagePictures], Any], workers: int = 1) -> None:
    async def run() -> None:
        async with asyncio.timeout(PATIENCE):
            reader = LetterReader(LocalSpool(root), "auto", workers=workers)
            await reader.start()
            try:
                await work(reader, PagePictures(reader.picture))
            finally:
                await reader.stop()

    asyncio.run(run())


def spooled(root: Path, name: str, content: bytes) -> Document:
    (root / name).write_bytes(b"before" + content)
    return document(sha256=name, path=name, offset=6, size=len(content), length=len(content))


def test_a_page_is_made_in_a_worker(tmp_path: Path) -> None:
    page = spooled(tmp_path, "page", render("hello " * 2000)[0])

    async def work(reader: LetterReader, pictures: PagePictures) -> None:
        shown = await pictures(page, 2, 300, "dana")
        assert Image.open(io.BytesIO(shown.png)).width == 300
        assert shown.pages > 1
        assert (await pictures(page, 99, 300, "dana")).not_shown == "page"
        assert (await pictures(replace(page, path="gone"), 1, 300, "dana")).not_shown == "deleted"

    with_reader(tmp_path, work)


def loop_forever() -> bytes:
    """Return a PDF whose page draws a form that draws itself many times over, at every level."""
    forms = 24
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>"]
    names = b"/XObject<</F 4 0 R>>"
    objects.append(b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Resources<<" + names + b">>/Contents 30 0 R>>")
    for index in range(forms):
        inside = b"/F Do " * 12 if index < forms - 1 else b"0 0 600 800 re f "
        resources = b"/Resources<</XObject<</F %d 0 R>>>>" % (index + 5)
        objects.append(
            b"<</Type/XObject/Subtype/Form/BBox[0 0 600 800]"
            + resources
            + b"/Length %d>>stream\n%s\nendstream" % (len(inside), inside)
        )
    content = b"/F Do"
    while len(objects) < 29:
        objects.append(b"null")
    objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(content), content))
    body = b"".join(b"%d 0 obj%s endobj\n" % (number, one) for number, one in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer<</Root 1 0 R>>\n%%EOF"


def test_a_document_that_is_never_drawn_is_over_the_limits_and_mail_is_read_meanwhile(tmp_path: Path) -> None:
    """Its worker ends by its limit of processor time; the other one reads the mails, however long that takes."""
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "a.eml").write_bytes(MAIL)
    hostile = spooled(tmp_path, "hostile", loop_forever())

    async def work(reader: LetterReader, pictures: PagePictures) -> None:
        showing = asyncio.create_task(pictures(hostile, 1, 900, "dana"))
        while not any(worker.jobs for worker in reader._workers):
            await asyncio.sleep(0)
        (drawing,) = [worker.pid for worker in reader._workers if worker.jobs]
        assert drawing is not None
        os.kill(drawing, signal.SIGSTOP)
        for _ in range(5):
            assert (await reader("mail/a.eml", client="192.0.2.1")).subject == "s"
        assert not showing.done()
        os.kill(drawing, signal.SIGCONT)
        assert (await showing).not_shown == "limits"
        assert (await pictures(hostile, 1, 900, "dana")).not_shown == "limits"

    with_reader(tmp_path, work, workers=2)
