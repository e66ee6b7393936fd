"""What the stores on SQLite and on PostgreSQL share: both run transactions in the thread of one `Writer`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import Self, TypeVar

from sqlalchemy import Engine

from mailbridge.errors import StoreUnavailable
from mailbridge.store.bodies import Bodies
from mailbridge.store.events import Describe, Route
from mailbridge.store.faults import Faults
from mailbridge.store.hand_over import HandOver
from mailbridge.store.interface import Transaction
from mailbridge.store.node import Member, Node
from mailbridge.store.notices import NoticePlan
from mailbridge.store.writer import Writer

T = TypeVar("T")


class SqlStore(ABC):
    """A Store (see `store.interface`). A subclass opens the database, and calls `_start` and `_stop`.

    `created_at` is when the database was created, None if that is unknown; it is set when the store is open.
    `describe` returns the data of an event about a fax, `route` the endpoints of an event type, and `plan` decides on notices
    (None: there are none). Where several daemons share the database, `shared_clock` returns its time, `member` is this daemon as
    one of them, and `bodies` is where they share mails and documents.
    """

    created_at: datetime | None
    member: Member | None = None
    shared_clock: Callable[[], datetime] | None = None
    bodies: Bodies | None = None

    def __init__(self, describe: Describe, route: Route, plan: NoticePlan | None) -> None:
        self._describe, self._route, self._plan = describe, route, plan
        self._subscribed: dict[str, asyncio.Event] = {}
        self._closed = False

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(self, *_: object) -> None: ...

    def _start(self, engine: Engine, faults: Faults, node: Node | None = None) -> None:
        self._engine = engine
        self._writer = Writer(engine, faults, self._describe, self._route, self._plan, self._notify, node)

    async def _stop(self) -> None:
        """Finish what was submitted."""
        self._closed = True
        await self._writer.close()
        await asyncio.to_thread(self._engine.dispose)

    async def run(self, work: Callable[[Transaction], T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        # A caller that is cancelled cancels the future, not the transaction: the writer sets no result then.
        return await self._writer.submit(work)

    @property
    def healthy(self) -> bool:
        """Whether the last transaction could be written."""
        return self._writer.healthy

    @property
    def hand_over(self) -> HandOver:
        """Where dispatchers offer to take new deliveries."""
        return self._writer.hand_over

    def subscribe(self, topic: str) -> asyncio.Event:
        return self._subscribed.setdefault(topic, asyncio.Event())

    def _notify(self, topics: set[str]) -> None:
        for topic in topics:
            self.subscribe(topic).set()
