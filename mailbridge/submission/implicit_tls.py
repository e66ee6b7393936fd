"""Implicit TLS (RFC 8314): the connection is counted before its handshake, which nobody else may pay for."""

from __future__ import annotations

import asyncio
import ssl

from mailbridge import log
from mailbridge.submission.client_connection import ClientConnection
from mailbridge.tls_handshake import TlsProtocol


class ImplicitTls(TlsProtocol):
    """The TLS of a connection whose `session` begins after the handshake. `refused` says that there were too many connections."""

    def __init__(self, session: ClientConnection, context: ssl.SSLContext, timeout: int) -> None:
        super().__init__(session, context, session.do_handshake_step, timeout)
        self._session, self.refused = session, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, and begin the handshake. One too many is closed without a reply, which would need TLS."""
        self.refused = not self._session.connected(transport)
        super().connection_made(transport)
        if self.refused:
            self._session.log_line(log.connection_limit_reached)
            assert isinstance(transport, asyncio.Transport)
            transport.abort()

    def connection_lost(self, error: BaseException | None) -> None:
        """Stop counting a connection whose handshake did not succeed."""
        super().connection_lost(error)
        self._session.disconnected()
