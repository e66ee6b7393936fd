"""The SMTP service: its listeners, and a stop that cuts off no accepted mail."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial

from mailbridge import log
from mailbridge.config import Config, SmtpTls, host_port, is_loopback
from mailbridge.errors import ConfigError
from mailbridge.runtime import Runtime
from mailbridge.submission.acceptance import Acceptance, ReadLetter
from mailbridge.submission.active_sessions import ActiveSessions
from mailbridge.submission.admission import Admission
from mailbridge.submission.connection_limits import ConnectionLimits
from mailbridge.submission.daily_limits import DailyLimits
from mailbridge.submission.implicit_tls import ImplicitTls
from mailbridge.submission.limits import DataLimits
from mailbridge.submission.log_lines import LogLines
from mailbridge.submission.login import Authenticator
from mailbridge.submission.session import Session
from mailbridge.submission.session_context import SessionOptions, SessionServices
from mailbridge.submission.trusted_networks import TrustedNetworks
from mailbridge.submission.turns import Turns

_HANDSHAKE_TIMEOUT = 5  # seconds, of implicit TLS
_BACKLOG = 512
# Connections that are accepted in one turn of the event loop. Each costs some 0.2 ms.
_ACCEPTED_AT_ONCE = 16
_TLS_VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


class SmtpService:
    """Listens for SMTP clients and runs a session for each.

    `read_letter` turns the path of a spooled mail into its Letter; it raises Refused or StoreUnavailable. `sockets` are listening
    sockets from systemd, and replace `smtp.listen`. `admission` and `acceptance` also serve mails that do
    not come by SMTP.
    """

    def __init__(self, config: Config, runtime: Runtime, read_letter: ReadLetter, sockets: Sequence[socket.socket] = ()) -> None:
        self._config, self._sockets = config, list(sockets)
        limits = DailyLimits(config.users, config.timezone, runtime)
        self.admission = Admission(config, limits)
        self.acceptance = Acceptance(self.admission, limits, read_letter, runtime, config.fax)
        self._services = SessionServices(
            daily_limits=limits,
            admission=self.admission,
            acceptance=self.acceptance,
            authenticator=Authenticator(config.users),
            networks=TrustedNetworks({name: user.networks for name, user in config.users.items()}),
            connections=ConnectionLimits(
                config.smtp.max_connections, config.smtp.max_connections_per_client, login_required=self._auth_required()
            ),
            active=ActiveSessions(),
            turns=Turns(),
            log_lines=LogLines(),
        )
        self._servers: list[asyncio.Server] = []

    async def start(self) -> list[tuple[str, int]]:
        """Open every listener and return the addresses, implicit TLS last. Raises ConfigError for what cannot be opened."""
        # aiosmtpd logs every command at INFO, with its addresses; mailbridge logs the events that matter itself.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        smtp = self._config.smtp
        context = _tls_context(smtp.tls)
        options = SessionOptions(
            hostname=smtp.hostname,
            data=DataLimits(max_size=smtp.max_size, idle_timeout=smtp.timeout),
            max_recipients=smtp.max_recipients,
            auth_offered=smtp.auth != "off",
            auth_required=self._auth_required(),
            starttls=context,
        )
        plain = partial(Session, options, self._services, implicit_tls=False)
        try:
            for listener in self._sockets:
                self._add(await _loop().create_server(plain, sock=listener, backlog=_ACCEPTED_AT_ONCE))
            for address in () if self._sockets else smtp.listen:
                await self._listen("smtp.listen", address, plain)
            for address in smtp.tls.listen:
                assert context is not None  # the configuration was checked for it
                await self._listen("smtp.tls.listen", address, partial(self._over_tls, options, context))
        except BaseException:
            await self.stop(0)
            raise
        return [listener.getsockname()[:2] for server in self._servers for listener in server.sockets]

    async def stop(self, grace: float) -> None:
        """Stop listening, let mails under way finish for up to `grace` seconds, and close the rest with 421."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        await self._services.active.close(grace)

    def _over_tls(self, options: SessionOptions, context: ssl.SSLContext) -> ImplicitTls:
        """Return the TLS of a new connection; its session begins after the handshake."""
        tls = ImplicitTls(Session(options, self._services, implicit_tls=True), context, _HANDSHAKE_TIMEOUT)
        tls.handshake.add_done_callback(partial(self._log_failure, tls))
        return tls

    def _log_failure(self, tls: ImplicitTls, handshake: asyncio.Future[None]) -> None:
        error = None if handshake.cancelled() else handshake.exception()
        if error is None or tls.refused or (tls.untouched and isinstance(error, ConnectionResetError)):
            return
        self._services.log_lines.write(log.tls_handshake_failed, tls.client, _loop().time(), **tls.fault(error))

    async def _listen(self, key: str, address: str, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Open one listener, named by its configuration key. Raises ConfigError."""
        host, port = host_port(address)
        try:
            server = await _loop().create_server(protocol, host, port, backlog=_ACCEPTED_AT_ONCE)
        except OSError as error:
            low_port = "choose a port from 1024 on, or let systemd open it (mailbridge.socket)"
            remedy = low_port if isinstance(error, PermissionError) else "free the port or choose another"
            raise ConfigError(key, f"cannot listen on {address} ({os.strerror(error.errno or 0)})", remedy) from None
        self._add(server)

    def _add(self, server: asyncio.Server) -> None:
        """Note a listener. Its queue in the kernel is longer than the number that asyncio accepts in one turn."""
        for listener in server.sockets:
            with socket.fromfd(listener.fileno(), listener.family, listener.type) as duplicate:
                duplicate.listen(_BACKLOG)
        self._servers.append(server)

    def _auth_required(self) -> bool:
        """Return whether clients must log in. Raises ConfigError for `off` on an address that other hosts can reach."""
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


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def _tls_context(tls: SmtpTls) -> ssl.SSLContext | None:
    if tls.certificate is None or tls.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _TLS_VERSIONS[tls.minimum]
    if context.minimum_version < ssl.TLSVersion.TLSv1_2:
        # OpenSSL 3 has no cipher for these versions at a higher level of security.
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "smtp.tls.certificate", f"cannot be used ({error})", "give a PEM certificate and the key that belongs to it"
        ) from None
    return context
