"""A lean SMTP client: blocking sockets, a thread for each connection, mails that are made before the clock starts."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bench.mails import MailKind


class Line:
    """One SMTP connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect(b"220")
        self._say(b"EHLO bench.example\r\n", b"250")

    def send(self, kind: MailKind, recipient: bytes | None = None) -> None:
        """Send one mail, to any number where none is given; return at its 250. Raises RuntimeError for any other reply."""
        self._say(b"MAIL FROM:<anna@example.co.il>\r\n", b"250")
        self._say(b"RCPT TO:<%b>\r\n" % (recipient or b"03-9%06d@fax.local" % random.randrange(1_000_000)), b"250")
        self._say(b"DATA\r\n", b"354")
        self._socket.sendall(kind.head())
        self._say(kind.rest, b"250")

    def close(self) -> None:
        """Say goodbye."""
        self._say(b"QUIT\r\n", b"221")
        self._socket.close()

    def _say(self, words: bytes, reply: bytes) -> None:
        self._socket.sendall(words)
        self._expect(reply)

    def _expect(self, code: bytes) -> None:
        got = b""
        while not got.endswith(b"\r\n") or got[got.rfind(b"\n", 0, -1) + 1 :][3:4] == b"-":
            chunk = self._socket.recv(4096)
            if not chunk:
                raise RuntimeError(f"the server closed the connection after {got!r}")
            got += chunk
        if not got.startswith(code):
            raise RuntimeError(got.decode(errors="replace").strip())


@dataclass
class Load:
    """So many mails over so many connections at once. `seconds` is the time of the whole, `latencies` that of each mail."""

    port: int
    kind: MailKind
    mails: int
    connections: int
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    _failed: list[BaseException] = field(default_factory=list)

    def run(self) -> Load:
        """Send them all. Raises what a connection met first."""
        lines = [Line(self.port) for _ in range(self.connections)]
        shares = [self.mails // self.connections + (number < self.mails % self.connections) for number in range(len(lines))]
        threads = [threading.Thread(target=self._send, args=pair) for pair in zip(lines, shares, strict=True)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds = time.perf_counter() - began
        if self._failed:
            raise self._failed[0]
        for line in lines:
            line.close()
        return self

    @property
    def rate(self) -> float:
        """Mails a second."""
        return self.mails / self.seconds

    def _send(self, line: Line, count: int) -> None:
        clock: Callable[[], float] = time.perf_counter
        try:
            for _ in range(count):
                began = clock()
                line.send(self.kind)
                self.latencies.append(clock() - began)
        except BaseException as error:
            self._failed.append(error)
