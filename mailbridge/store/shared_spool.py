"""The spool in a database that several nodes share: bodies, and a directory as a cache of them (see `body_cache`)."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final, TypeVar

from mailbridge.errors import StoreUnavailable
from mailbridge.model import Document
from mailbridge.store.bodies import Bodies
from mailbridge.store.body_cache import BodyCache
from mailbridge.store.buffered_mail import MEMORY
from mailbridge.store.document_reader import DocumentReader
from mailbridge.store.shared_mail import SharedMail
from mailbridge.store.spool_paths import received_path
from mailbridge.store.stored_documents import open_document

T = TypeVar("T")
# Bodies that are put at a time: as many connections are there for bodies.
_THREADS: Final = 4
_CLOSING: Final = 2.0  # seconds for what is still to be deleted


class SharedSpool:
    """See `store.spool.Spool`. `root` is the directory of the cache, of this process alone.

    `memory` is how many more bytes of arriving mails may be in memory.
    """

    is_swept = True

    def __init__(self, root: Path, bodies: Bodies) -> None:
        self.bodies, self.cache = bodies, BodyCache(root, bodies)
        self.memory = MEMORY
        self._threads = ThreadPoolExecutor(_THREADS, "bodies")
        self._deleting: set[Future[None]] = set()

    def create(self, id: str) -> SharedMail:
        """See `Spool.create`."""
        mail = SharedMail(self, id)
        mail.create_file()
        return mail

    def receive(self, id: str, announced: int = 0) -> SharedMail:
        """See `Spool.receive`."""
        return SharedMail(self, id, announced)

    async def run(self, work: Callable[[], T]) -> T:
        """Run what reads or writes bodies in a thread of its own, and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def store_received(self, name: str, content: bytes | Iterable[bytes]) -> str:
        """See `Spool.store_received`."""
        path = received_path(name)
        self.bodies.put(path, [content] if isinstance(content, bytes) else content)
        return path

    def open(self, path: str) -> io.RawIOBase:
        """See `Spool.open`."""
        return self.cache.open(path)

    def open_document(self, document: Document) -> DocumentReader:
        """See `Spool.open_document`."""
        return open_document(self.open, document)

    async def open_to_upload(self, document: Document) -> DocumentReader:
        """See `Spool.open_to_upload`."""
        return await self.run(lambda: open_document(self.cache.open_here, document))

    async def fetch(self, path: str) -> None:
        """See `Spool.fetch`."""
        os.close(await self.run(lambda: self.cache.descriptor(path)))

    def open_descriptor(self, path: str) -> int:
        """See `Spool.open_descriptor`."""
        if os.path.isabs(path):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self.cache.descriptor(path)

    def delete(self, path: str) -> None:
        """See `Spool.delete`."""
        self.cache.forget([path])
        self.bodies.delete([path])

    def delete_later(self, path: str) -> None:
        """Delete what no record names, soon. If that fails, it is deleted when it is old."""

        def work() -> None:
            with contextlib.suppress(StoreUnavailable):
                self.delete(path)

        with contextlib.suppress(RuntimeError):  # no thread can be started, or the spool is closed
            deleting = self._threads.submit(work)
            self._deleting.add(deleting)
            deleting.add_done_callback(self._deleting.discard)

    def delete_all(self, wanted: Mapping[str, Sequence[str]]) -> set[str]:
        """See `Spool.delete_all`. What other nodes have in their caches, they delete within a minute."""
        paths = [path for of_key in wanted.values() for path in of_key]
        self.cache.forget(paths)
        self.bodies.delete(paths)
        return set(wanted)

    def retire_segments(self, deleted: Iterable[str]) -> list[str]:
        """Return nothing: each mail has a body of its own."""
        return []

    def probe(self) -> bool:
        """See `Spool.probe`."""
        return self.cache.probe()

    async def close(self) -> None:
        """See `Spool.close`. What is not deleted by then is deleted when it is old."""
        await asyncio.to_thread(wait, list(self._deleting), _CLOSING)
        self._threads.shutdown(wait=False, cancel_futures=True)
