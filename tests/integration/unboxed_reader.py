"""Reads mails and shows pages in this process, as a worker does in its sandbox: for tests that need no worker."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from mailbridge.errors import Refused
from mailbridge.model import Document
from mailbridge.store.spool_paths import IN_MEMORY
from mailbridge.store.stored_files import open_descriptor
from mailbridge.submission import worker
from mailbridge.submission.letter.letter import Letter
from mailbridge.submission.letter_reader import checked_letter
from mailbridge.submission.worker_protocol import LetterRequest, PictureRequest, Request, Response


class UnboxedReader:
    """What `LetterReader` does, for the spool at `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def __call__(self, mail: str | bytes, line_ends_changed: bool = False, client: str = "") -> Letter:
        """Read a mail. Raises Refused."""
        path = IN_MEMORY if isinstance(mail, bytes) else mail
        request = LetterRequest(path=path, page_mode="auto", line_ends_changed=line_ends_changed)
        if isinstance(mail, bytes):
            return checked_letter(await asyncio.to_thread(worker.respond, request, [], mail), path)
        return checked_letter(await self._respond(request, path), path)

    async def picture(self, document: Document, number: int, width: int, viewer: str) -> Response:
        """Return a response with a page."""
        response = await self._respond(PictureRequest(document=document, number=number, width=width), document.path)
        if response.unavailable:
            raise Refused("451 4.3.0 " + response.unavailable)
        return response

    async def _respond(self, request: Request, relpath: str) -> Response:
        file = open_descriptor(self._root, relpath)
        try:
            return await asyncio.to_thread(worker.respond, request, [file])
        finally:
            os.close(file)
