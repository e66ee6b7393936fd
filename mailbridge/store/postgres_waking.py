"""Wakes the other nodes when there is work for them, by NOTIFY. Nothing depends on it: each node also looks now and then.

A commit with a NOTIFY takes a lock of the whole server, so it is a transaction of its own, after the one that made the work, and
there are few: what comes up meanwhile shares the next one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import psycopg
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

CHANNEL: Final = "mailbridge"
# The topic of a node that has ended, or has given a lease back.
NODES: Final = "nodes"
_NOTIFY: Final = text(f"SELECT pg_notify('{CHANNEL}', :payload)")
# Seconds: between two notifications; until the listener sees that it must end; between looks at everything, with a query that
# keeps the connection alive and shows that it is dead; and until it connects again, or looks without a connection.
_PAUSE: Final = 0.05
_LOOK: Final = 0.5
_PING: Final = 10.0
_RETRY: Final = 5.0

Connect = Callable[[], "psycopg.Connection[Any]"]


class Waking:
    """Wakes other nodes, and calls `wake` in its thread with the topics of theirs; with None when any topic may have work.

    `engine` has a connection for notifications alone, `connect` makes the one that listens; without it, nothing is heard.
    `node_id` is this node's.
    """

    def __init__(self, engine: Engine, connect: Connect | None, node_id: str, wake: Callable[[set[str] | None], None]) -> None:
        self._engine, self._connect, self._node_id, self._wake = engine, connect, node_id, wake
        self._topics: set[str] = set()
        self._lock = threading.Lock()
        self._waiting, self._tried, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=work, name="waking", daemon=True) for work in (self._notify, self._listen)]
        if connect is None:
            self._tried.set()
            del self._threads[1]

    def start(self) -> None:
        """Start both threads, blocking until this node hears the others, or cannot."""
        for thread in self._threads:
            thread.start()
        self._tried.wait()

    def stop(self) -> None:
        """End both threads, blocking."""
        self._ended.set()
        self._waiting.set()
        for thread in self._threads:
            thread.join()
        self._engine.dispose()

    def announce(self, topics: Iterable[str]) -> None:
        """Wake the other nodes soon."""
        with self._lock:
            self._topics.update(topics)
            if self._topics:
                self._waiting.set()

    def _notify(self) -> None:
        ended = False
        while not ended and self._waiting.wait():
            ended = self._ended.is_set()  # what was announced before the end is still sent
            with self._lock:
                topics, self._topics = self._topics, set()
                self._waiting.clear()
            # Without the server there is nobody to be woken.
            with contextlib.suppress(DBAPIError):
                self._send(topics)
            self._ended.wait(_PAUSE)

    def _send(self, topics: Collection[str]) -> None:
        if not topics:
            return
        with self._engine.begin() as connection:
            connection.execute(_NOTIFY, [{"payload": f"{self._node_id} {topic}"} for topic in sorted(topics)])

    def _listen(self) -> None:
        assert self._connect is not None
        while not self._ended.is_set():
            with contextlib.suppress(psycopg.Error), self._connect() as connection:
                connection.execute(f"LISTEN {CHANNEL}")
                if self._tried.is_set():
                    self._wake(None)  # what was notified meanwhile was not heard
                self._tried.set()
                self._hear(connection)
            self._tried.set()
            if not self._ended.wait(_RETRY):
                self._wake(None)  # a server or a pool that forbids LISTEN delays work, and no more

    def _hear(self, connection: psycopg.Connection[Any]) -> None:
        """Pass notifications on until this node ends, or the connection does: psycopg.Error."""
        pinged = time.monotonic()
        while not self._ended.is_set():
            for heard in connection.notifies(timeout=_LOOK, stop_after=1):
                sender, _, topic = heard.payload.partition(" ")
                if sender != self._node_id:
                    self._wake({topic})
            if time.monotonic() - pinged > _PING:
                connection.execute("SELECT 1")
                self._wake(None)  # what a node had to do that has ended, or was not heard
                pinged = time.monotonic()
