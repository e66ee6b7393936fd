"""TLS on the server's side of a connection, and in plain words why its handshake failed.

asyncio logs no failed handshake, and neither it nor OpenSSL's error says which TLS version a client offers.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from functools import partial
from typing import cast

# The head of a record, the head of its ClientHello, and the newest version up to TLS 1.2 that the client offers (RFC 5246 section
# 7.4.1.2). An SSL 2.0 hello (RFC 5246 appendix E.2) has the version nearer to its beginning.
_HELLO = 11
_VERSIONS = {
    b"\x00\x02": "SSL 2.0",
    b"\x03\x00": "SSL 3.0",
    b"\x03\x01": "TLS 1.0",
    b"\x03\x02": "TLS 1.1",
    b"\x03\x03": "TLS 1.2",
}
_VERSION_REFUSED = ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "NO_PROTOCOLS_AVAILABLE", "UNKNOWN_PROTOCOL", "WRONG_SSL_VERSION")
# By OpenSSL's name of an error, or of the alert with which a client ends the handshake (RFC 8446 section 6).
_FAULTS = {
    "HTTP_REQUEST": "speaks HTTP, not TLS",
    "HTTPS_PROXY_REQUEST": "speaks HTTP, not TLS",
    "NO_SHARED_CIPHER": "has no cipher in common with us",
    "UNKNOWN_CA": "does not trust our certificate",
    "BAD_CERTIFICATE": "does not trust our certificate",
    "CERTIFICATE_UNKNOWN": "does not trust our certificate",
    "UNSUPPORTED_CERTIFICATE": "does not support the kind of our certificate",
    "CERTIFICATE_EXPIRED": "says that our certificate has expired",
    "CERTIFICATE_REVOKED": "says that our certificate was revoked",
    "PROTOCOL_VERSION": "does not accept our TLS version",
    "HANDSHAKE_FAILURE": "refused the handshake without giving a reason",
}
_ALERT = re.compile(r".*ALERT_")


class TlsProtocol(SSLProtocol):
    """TLS between a transport and `session`, as asyncio's own servers have it; it calls `connection_made` after the handshake.

    `handshake` ends with None, or with the exception that `fault` explains. `step` is called with each step of the handshake, and
    does it now or soon. `timeout` is in seconds.
    """

    def __init__(
        self, session: asyncio.Protocol, context: ssl.SSLContext, step: Callable[[Callable[[], None]], None], timeout: int = 5
    ) -> None:
        loop = asyncio.get_running_loop()
        self.handshake: asyncio.Future[None] = loop.create_future()
        self.client = "local"
        self._context, self._step, self._start = context, step, b""
        self._below: asyncio.Transport | None = None
        super().__init__(loop, session, context, self.handshake, server_side=True, ssl_handshake_timeout=timeout)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self.client = client_address(transport)
        self._below = cast(asyncio.Transport, transport)
        super().connection_made(transport)

    def connection_lost(self, error: BaseException | None) -> None:
        """Note the end of the connection. Where the gateway itself ends it during the handshake, asyncio reports no error."""
        self._below = None
        super().connection_lost(error if error or self.handshake.done() else ConnectionAbortedError())

    def buffer_updated(self, nbytes: int) -> None:
        """Take input, and remember how the first of it began."""
        if len(self._start) < _HELLO:
            self._start += bytes(self.get_buffer(-1)[: min(nbytes, _HELLO)])
        if self.handshake.done() or self._below is None:
            super().buffer_updated(nbytes)
        else:
            # The input is in the buffer until its step is done.
            self._below.pause_reading()
            self._step(partial(self._do_step, nbytes))

    def _do_step(self, nbytes: int) -> None:
        if self._below is not None:
            super().buffer_updated(nbytes)
            self._below.resume_reading()

    @property
    def untouched(self) -> bool:
        """Whether the client has sent nothing, such as a monitor that only looks whether the port is open."""
        return not self._start

    def fault(self, error: BaseException | None) -> dict[str, str]:
        """Return the `reason` of a failed handshake, and OpenSSL's name of it if there is one, as facts for the log."""
        name = str(getattr(error, "reason", None) or "")
        minimum = self._context.minimum_version.name.replace("TLSv", "").replace("_", ".")
        reason = f"the client {_fault(error, name, self._start, minimum)}"
        return {"reason": reason, "openssl": name} if name else {"reason": reason}


def client_address(transport: asyncio.BaseTransport) -> str:
    """Return the client's IP address, `local` for a Unix socket."""
    peer = transport.get_extra_info("peername")
    # A dual-stack socket shows an IPv4 client as an IPv4-mapped address (RFC 4291 section 2.5.5.2).
    return str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else "local"


def is_tls(start: bytes) -> bool:
    """Return whether input begins as a TLS handshake does (RFC 8446 section 5.1), or as the hello of SSL 2.0."""
    if start[:1] == b"\x16":
        return start[1:2] in (b"", b"\x03")
    return len(start) >= 5 and start[0] >= 0x80 and start[2] == 1 and start[3:5] in _VERSIONS


def _fault(error: BaseException | None, name: str, start: bytes, minimum: str) -> str:
    known = _FAULTS.get(_ALERT.sub("", name))
    if known is not None:
        return known
    if start and not is_tls(start):
        return "does not speak TLS"
    if name in _VERSION_REFUSED:
        offered = _VERSIONS.get(start[9:11] if start[:1] == b"\x16" else start[3:5], "an older version")
        return f"offers only {offered}; smtp.tls.minimum is {minimum}"
    if name:
        return "sent an invalid handshake"
    if isinstance(error, ConnectionAbortedError):
        return "did not finish the handshake in time" if start else "sent nothing; perhaps it does not speak TLS"
    return "closed the connection during the handshake" + ("; perhaps it does not trust our certificate" if start else "")
