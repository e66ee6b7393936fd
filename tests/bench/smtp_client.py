"""A minimal SMTP client: blocking sockets, a thread for each connection, and mails prepared before the clock starts."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bench.mails import MailKind


class SmtpClient:
    """One SMTP connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect(b"220")
        self._command(b"EHLO bench.example\r\n", b"250")

    def send(self, kind: MailKind, recipient: bytes | None = None) -> None:
        """Send one mail, to a random number unless given; return after its 250. Raises RuntimeError for any other reply."""
        self._command(b"MAIL FROM:<anna@example.co.il>\r\n", b"250")
        self._command(b"RCPT TO:<%b>\r\n" % (recipient or b"03-9%06d@fax.local" % random.randrange(1_000_000)), b"250")
        self._command(b"DATA\r\n", b"354")
        self._socket.sendall(kind.head())
        self._command(kind.rest, b"250")

    def close(self) -> None:
        """Send QUIT and close."""
        self._command(b"QUIT\r\n", b"221")
        self._socket.close()

    def _command(self, data: bytes, reply: bytes) -> None:
        self._socket.sendall(data)
        self._expect(reply)

    def _expect(self, code: bytes) -> None:
        received = b""
        while not received.endswith(b"\r\n") or received[received.rfind(b"\n", 0, -1) + 1 :][3:4] == b"-":
            chunk = self._socket.recv(4096)
            if not chunk:
                raise RuntimeError(f"the server closed the connection after {received!r}")
            received += chunk
        if not received.startswith(code):
            raise RuntimeError(received.decode(errors="replace").strip())


@dataclass
class Load:
    """`mails` sent over `connections` at once. `seconds` is the time of all, `latencies` the times of each."""

    port: int
    kind: MailKind
    mails: int
    connections: int
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    _failed: list[BaseException] = field(default_factory=list)

    def run(self) -> Load:
        """Send all mails. Raises the first error of a connection."""
        clients = [SmtpClient(self.port) for _ in range(self.connections)]
        shares = [self.mails // self.connections + (number < self.mails % self.connections) for number in range(len(clients))]
        threads = [threading.Thread(target=self._send, args=pair) for pair in zip(clients, shares, strict=True)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds = time.perf_counter() - began
        if self._failed:
            raise self._failed[0]
        for client in clients:
            client.close()
        return self

    @property
    def rate(self) -> float:
        """Mails per second."""
        return self.mails / self.seconds

    def _send(self, client: SmtpClient, count: int) -> None:
        clock: Callable[[], float] = time.perf_counter
        try:
            for _ in range(count):
                began = clock()
                client.send(self.kind)
                self.latencies.append(clock() - began)
        except BaseException as error:
            self._failed.append(error)
