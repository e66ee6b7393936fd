"""HTTP connections: how many there may be, how long each may take for a request, and how they share the event loop.

Whoever connects and asks nothing must keep neither file descriptors nor others from being answered, and whoever asks all the time
must not slow down the rest of the daemon.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Any, Final, Protocol

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mailbridge.client_group import client_group
from mailbridge.tls_handshake import TlsProtocol, client_address
from mailbridge.web.turns import ClientTurns

MAX_CONNECTIONS: Final = 100
HANDSHAKE_TIMEOUT: Final = 5  # seconds for a TLS handshake
REQUEST_TIMEOUT: Final = 10.0  # seconds from the connection, or from the last answer, to the end of a whole request


# Bytes a second that the body of a request must come with at least; a file that a person sends may take its time.
MIN_SPEED: Final = 4_000


# Bytes of a request's line and fields.
MAX_HEAD: Final = 16_384
_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")


class Connection(Protocol):
    """One connection, as those that share the server see it."""

    @property
    def client_group(self) -> str:
        """What counts as its client."""
        ...

    @property
    def waits_for_request(self) -> bool:
        """Whether no whole request has arrived since the last answer."""
        ...

    def abort(self) -> None:
        """Close it at once."""

    def read(self) -> None:
        """Read the input that has arrived."""


class HttpConnections:
    """The open connections, at most `most`. Their clients read their input in turn."""

    def __init__(self, most: int = MAX_CONNECTIONS) -> None:
        self._most = most
        self.turns: Final = ClientTurns()
        # In the order in which they began to wait for a request.
        self._open: dict[Connection, None] = {}

    def add(self, connection: Connection) -> None:
        """Add a connection. One too many takes the place of the one that has waited longest for a request, or else is closed."""
        if len(self._open) >= self._most:
            victim = next((each for each in self._open if each.waits_for_request), connection)
            victim.abort()
            self.discard(victim)
            if victim is connection:
                return
        self._open[connection] = None

    def waits(self, connection: Connection) -> None:
        """Note that a connection waits for a request from now on."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def discard(self, connection: Connection) -> None:
        """Note that a connection ended."""
        self._open.pop(connection, None)

    def read_in_turn(self, connection: Connection) -> None:
        """Let a connection read its input, now or when the turn of its client comes."""
        self.turns.call(connection.client_group, lambda: connection.read() if connection in self._open else None)


class _QuickHttp(h11.Connection):
    """HTTP/1.1 that takes little time for one read of the socket, whatever that brings. Raises h11.RemoteProtocolError."""

    def next_event(self) -> Any:
        # h11 looks at the size of a head only while it is not whole, and 256 KB of fields take 0.3 s.
        unread = self.trailing_data[0] if self.their_state is h11.IDLE else b""
        if len(unread) > MAX_HEAD and not _END_OF_HEAD.search(unread, 0, MAX_HEAD):
            raise h11.RemoteProtocolError("the head of the request is too large", 431)
        event = super().next_event()
        # Browsers and proxies send a body with its length. One in chunks of a byte takes two seconds for 256 KB.
        if isinstance(event, h11.Request) and any(name == b"transfer-encoding" for name, _ in event.headers):
            raise h11.RemoteProtocolError("the body of the request has no length", 411)
        return event


class LimitedProtocol(H11Protocol):
    """One connection to uvicorn."""

    def __init__(self, connections: HttpConnections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.conn = _QuickHttp(h11.SERVER, MAX_HEAD)
        self._connections = connections
        self.client_group = ""
        self._timer: asyncio.TimerHandle | None = None
        self._is_waiting = False
        self._begun, self._received = 0.0, 0

    @property
    def waits_for_request(self) -> bool:
        """Whether no whole request has arrived since the last answer."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn names the kind of transport that it gets
        self.client_group = client_group(client_address(transport))
        self._connections.add(self)
        self._restart_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        self._connections.discard(self)
        self._stop_timer()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Read the input that has arrived in the connection's turn, also a request that was sent before the last answer."""
        unread, _ = self.conn.trailing_data
        if not unread:
            super().handle_events()
        elif not self._is_waiting:
            self._is_waiting = True
            self.flow.pause_reading()
            self._connections.read_in_turn(self)

    def read(self) -> None:
        """Read the input that has arrived."""
        self._is_waiting = False
        self.flow.resume_reading()
        super().handle_events()
        if not self.waits_for_request:
            self._stop_timer()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._connections.waits(self)
        self._restart_timer()
        super().on_response_complete()

    def _restart_timer(self) -> None:
        self._stop_timer()
        self._begun, self._received = self.loop.time(), 0
        self._timer = self.loop.call_later(REQUEST_TIMEOUT, self._end_if_late)

    def _end_if_late(self) -> None:
        """Close the connection unless its body has come quickly enough to have more time."""
        in_body = self.cycle is not None and self.cycle.more_body
        left = self._begun + REQUEST_TIMEOUT + self._received / MIN_SPEED - self.loop.time()
        if in_body and left > 0:
            self._timer = self.loop.call_later(left, self._end_if_late)
        else:
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Count the bytes, and read them."""
        self._received += len(data)
        super().data_received(data)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class TlsConnection(TlsProtocol):
    """The TLS of a connection to uvicorn, which begins after the handshake. The handshake counts as a connection, too."""

    def __init__(self, connections: HttpConnections, connection: LimitedProtocol, context: ssl.SSLContext) -> None:
        super().__init__(connection, context, self._take_turn, HANDSHAKE_TIMEOUT)
        self._connections = connections
        self._pending: Callable[[], None] | None = None
        self.handshake.add_done_callback(self._end_handshake)

    @property
    def client_group(self) -> str:
        """What counts as the client."""
        return client_group(self.client)

    @property
    def waits_for_request(self) -> bool:
        """Return True: whoever has not finished the handshake has asked nothing."""
        return True

    def abort(self) -> None:
        """Close the connection at once."""
        if self._below is not None:
            self._below.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, and begin the handshake."""
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, error: BaseException | None) -> None:
        """Stop counting the connection."""
        self._connections.discard(self)
        super().connection_lost(error)

    def _take_turn(self, step: Callable[[], None]) -> None:
        self._pending = step
        self._connections.read_in_turn(self)

    def read(self) -> None:
        """Do the step of the handshake for which input has arrived."""
        step, self._pending = self._pending, None
        if step is not None:
            step()

    def _end_handshake(self, handshake: asyncio.Future[None]) -> None:
        # A failed one is not logged: a browser that does not know the certificate says so to the person in front of it.
        self._connections.discard(self)
        if not handshake.cancelled():
            handshake.exception()
