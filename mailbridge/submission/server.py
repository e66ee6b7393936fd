"""The SMTP service: its listeners, from opening to an end in which no accepted mail is cut off."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Sequence

from mailbridge.config import Config, SmtpTls, host_port, is_loopback
from mailbridge.errors import ConfigError
from mailbridge.store.interface import Store
from mailbridge.store.spool import Spool
from mailbridge.submission.acceptance import Acceptance, Clock, ReadLetter
from mailbridge.submission.limits import ConnectionLimits
from mailbridge.submission.session import Session, Shared

_HANDSHAKE = 15.0
_BACKLOG = 512
_CLOSING = "421 4.3.2 The gateway is closing; please send the mail again in a moment"


class SmtpService:
    """Listens, and hands what is admitted to the store.

    `read_letter` turns a spooled mail's path into its Letter; it raises Refused or StoreUnavailable. `sockets` are listening
    sockets that systemd handed over; they replace `smtp.listen`. `acceptance` puts mails into the store, however they came.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        spool: Spool,
        read_letter: ReadLetter,
        clock: Clock,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        self._config, self._sockets = config, list(sockets)
        self.acceptance = Acceptance(config, store, spool, read_letter, clock)
        self._servers: list[asyncio.Server] = []

    async def start(self) -> list[tuple[str, int]]:
        """Open every listener and return the addresses, implicit TLS last. Raises ConfigError for what cannot be opened."""
        # aiosmtpd tells every command at INFO, with its addresses; mailbridge has its own words for what happens.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        smtp = self._config.smtp
        context = _tls_context(smtp.tls)
        self._shared = Shared(
            config=self._config,
            acceptance=self.acceptance,
            limits=ConnectionLimits(smtp.max_connections, smtp.max_connections_per_client),
            auth_required=self._auth_required(),
            starttls=context,
        )
        try:
            for listener in self._sockets:
                self._servers.append(await self._loop().create_server(self._plain, sock=listener, backlog=_BACKLOG))
            for address in () if self._sockets else smtp.listen:
                await self._listen(address, None)
            for address in smtp.tls.listen:
                await self._listen(address, context)
        except BaseException:
            await self.stop(0)
            raise
        return [listener.getsockname()[:2] for server in self._servers for listener in server.sockets]

    async def stop(self, grace: float) -> None:
        """Stop listening, let mails under way finish for up to `grace` seconds, and close the rest with 421."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        if not hasattr(self, "_shared"):
            return
        deadline = self._loop().time() + grace
        while self._hang_up_idle() and await self._wait_for_activity(deadline):
            pass
        for session in list(self._shared.sessions):
            session.hang_up(_CLOSING)
        if self._shared.commits:
            # What is being committed is waited for: its client may send again, and finds the mail taken or not, never half.
            await asyncio.wait(self._shared.commits, timeout=max(deadline - self._loop().time(), 5.0))
        # hang_up cuts after five seconds what does not close by itself.
        while self._shared.sessions and await self._wait_for_activity(self._loop().time() + 6.0):
            pass

    async def _wait_for_activity(self, deadline: float) -> bool:
        """Wait until a session ends or a mail is answered; False when the time is up."""
        self._shared.activity.clear()
        try:
            async with asyncio.timeout_at(deadline):
                await self._shared.activity.wait()
        except TimeoutError:
            return False
        return True

    def _hang_up_idle(self) -> bool:
        """Close the sessions that have no mail under way; True while others have."""
        busy = [session for session in self._shared.sessions if session.busy]
        for session in list(self._shared.sessions):
            if not session.busy:
                session.hang_up(_CLOSING)
        return bool(busy)

    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def _plain(self) -> Session:
        return Session(self._shared, implicit_tls=False)

    def _over_tls(self) -> Session:
        return Session(self._shared, implicit_tls=True)

    async def _listen(self, address: str, context: ssl.SSLContext | None) -> None:
        host, port = host_port(address)
        key = "smtp.listen" if context is None else "smtp.tls.listen"
        try:
            if context is None:
                server = await self._loop().create_server(self._plain, host, port, backlog=_BACKLOG)
            else:
                server = await self._loop().create_server(
                    self._over_tls, host, port, backlog=_BACKLOG, ssl=context, ssl_handshake_timeout=_HANDSHAKE
                )
        except OSError as error:
            low = "choose a port from 1024 on, or let systemd open it (mailbridge.socket)"
            remedy = low if isinstance(error, PermissionError) else "free the port or choose another"
            raise ConfigError(key, f"cannot listen on {address} ({os.strerror(error.errno or 0)})", remedy) from None
        self._servers.append(server)

    def _auth_required(self) -> bool:
        """Whether clients must log in. Raises ConfigError for `off` on a socket that others reach."""
        smtp = self._config.smtp
        addresses = smtp.tls.listen if self._sockets else (*smtp.listen, *smtp.tls.listen)
        hosts = [host_port(address)[0] for address in addresses]
        hosts += [str(listener.getsockname()[0]) for listener in self._sockets if listener.family != socket.AF_UNIX]
        public = [host for host in hosts if not is_loopback(host)]
        if smtp.auth == "off" and public:
            raise ConfigError(
                "smtp.auth",
                f'"off" would let anyone who reaches {public[0]}, where systemd listens, fax at your expense',
                'write smtp.auth = "auto", or let mailbridge.socket listen on 127.0.0.1 only',
            )
        return bool(public) if smtp.auth == "auto" else smtp.auth == "required"


def _tls_context(tls: SmtpTls) -> ssl.SSLContext | None:
    if tls.certificate is None or tls.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "smtp.tls.certificate", f"cannot be used ({error})", "give a PEM certificate and the key that belongs to it"
        ) from None
    return context
