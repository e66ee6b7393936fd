"""A TCP proxy that a test can make go silent: each connection, or from now on every packet, without a word to either side."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# socket(7). A filter of one instruction, "return 0": the kernel drops each packet that comes, and acknowledges none.
_ATTACH_FILTER, _DETACH_FILTER = 26, 27
_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0), 8)
_PROGRAM = struct.pack("HP", 1, ctypes.addressof(_DROP_ALL))


class Connection:
    """One connection through the proxy. `received` counts the bytes that its client has sent, which `has_ended` says no more."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.received, self.has_ended = 0, False
        self._most: int | None = None
        self._changed = threading.Condition()

    def hold(self, most: int | None) -> None:
        """Let no more than so many bytes of the client pass, all again with None."""
        with self._changed:
            self._most = most
            self._changed.notify_all()

    def forward(self) -> None:
        """Let the client's bytes pass until it ends."""
        self._pump(self.client, self.server, self._wait)
        self.has_ended = True

    def answer(self, gate: threading.Event) -> None:
        """Let the server's bytes pass, while the gate is open, until it ends."""
        self._pump(self.server, self.client, lambda _: gate.wait())

    def _wait(self, size: int) -> object:
        self.received += size
        with self._changed:
            return self._changed.wait_for(lambda: self._most is None or self.received <= self._most)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, wait: Callable[[int], object]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                wait(len(data))
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class TcpProxy:
    """Listens at `port` of 127.0.0.1 and leads to the address that `connect` connects to.

    `held` bytes of each new connection's client pass, all with None.
    """

    def __init__(self, connect: Callable[[], socket.socket], port: int = 0) -> None:
        self._connect = connect
        self._listener = socket.create_server(("127.0.0.1", port))
        # A client's body must not fit into buffers on its way.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[Connection] = []
        self.held: int | None = None
        self._gate = threading.Event()
        self._gate.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    connection = Connection(client, self._connect())
                except OSError:
                    client.close()
                    continue
                connection.hold(self.held)
                self.connections.append(connection)
                for pump, arguments in ((connection.forward, ()), (connection.answer, (self._gate,))):
                    threading.Thread(target=pump, args=arguments, daemon=True).start()

    def drop_packets(self) -> None:
        """Drop every packet to and from the clients from now on, new connections included, as a firewall does."""
        self._gate.clear()
        for one in self._sockets():
            one.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, _PROGRAM)

    def pass_packets(self) -> None:
        """Let packets pass again."""
        for one in self._sockets():
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)
        self._gate.set()

    def _sockets(self) -> list[socket.socket]:
        return [self._listener, *(connection.client for connection in self.connections)]

    def close(self) -> None:
        """End every connection, and take no more."""
        self._gate.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            connection.hold(None)
            for one in (connection.client, connection.server):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()


@contextmanager
def running_proxy(connect: Callable[[], socket.socket], port: int = 0) -> Iterator[TcpProxy]:
    """Run a proxy."""
    proxy = TcpProxy(connect, port)
    try:
        yield proxy
    finally:
        proxy.close()
