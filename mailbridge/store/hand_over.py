"""Hands a new delivery to its dispatcher in the commit that adds it, so that no second transaction has to claim it first.

A dispatcher offers the places that it has free. A transaction that adds a delivery takes one of them and stores the delivery as
`sending`, with its first attempt counted, as `Deliveries.claim` would. Once that is durable the dispatcher gets it. After a crash
in between the next start makes it pending again. Without a free place it is stored as pending, and claimed as any other.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable

from mailbridge.model import Delivery, Event

Take = Callable[[Delivery, Event], None]


class HandOver:
    """What dispatchers offer. `reserve` and `hand` are for the store's thread, everything else for the event loop.

    `give_back` is called with a delivery whose dispatcher has ended meanwhile.
    """

    def __init__(self, give_back: Callable[[Delivery], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._give_back = give_back
        self._lock = threading.Lock()
        self._places: dict[str, int] = {}
        # Places that were taken, and of which the dispatcher does not know yet when it makes its next offer.
        self._reserved, self._on_the_way = Counter[str](), Counter[str]()
        self._takers: dict[str, Take] = {}

    def connect(self, endpoint: str, take: Take) -> None:
        """Let `take` be called with each delivery that is handed to this endpoint's dispatcher."""
        self._takers[endpoint] = take

    def disconnect(self, endpoint: str) -> None:
        """Hand nothing more to this endpoint's dispatcher."""
        self.offer(endpoint, 0)
        self._takers.pop(endpoint, None)

    def offer(self, endpoint: str, places: int) -> None:
        """Set how many deliveries this endpoint's dispatcher takes from now on, counting those that are on the way to it."""
        with self._lock:
            self._places[endpoint] = places - self._reserved[endpoint] - self._on_the_way[endpoint]

    def begin(self) -> None:
        """Begin a commit. Places that a failed one has taken are free with the next offer."""
        with self._lock:
            self._reserved.clear()

    def reserve(self, endpoint: str) -> bool:
        """Take a place if there is one."""
        with self._lock:
            if self._places.get(endpoint, 0) <= 0:
                return False
            self._places[endpoint] -= 1
            self._reserved[endpoint] += 1
            return True

    def hand(self, delivery: Delivery, event: Event) -> None:
        """Hand over a delivery that is durable."""
        with self._lock:
            self._reserved[delivery.endpoint] -= 1
            self._on_the_way[delivery.endpoint] += 1
        self._loop.call_soon_threadsafe(self._arrived, delivery, event)

    def _arrived(self, delivery: Delivery, event: Event) -> None:
        with self._lock:
            self._on_the_way[delivery.endpoint] -= 1
        take = self._takers.get(delivery.endpoint)
        if take is None:
            self._give_back(delivery)
        else:
            take(delivery, event)
