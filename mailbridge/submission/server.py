"""The SMTP service: its listeners, and a stop that cuts off no accepted mail."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mailbridge import log
from mailbridge.config import Config, Smtp, SmtpTls, host_port, is_loopback
from mailbridge.descriptors import allowed_connections
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
# Connections that are accepted in one turn of the event loop. Each costs half a millisecond.
_ACCEPTED_AT_ONCE = 8
# A listener by its configuration key and address, or a socket of systemd by its number.
_Listener = tuple[str, str]
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
    not come by SMTP, and `authenticator` other logins.
    """

    def __init__(self, config: Config, runtime: Runtime, read_letter: ReadLetter, sockets: Sequence[socket.socket] = ()) -> None:
        self._runtime, self._read_letter, self._sockets = runtime, read_letter, list(sockets)
        smtp = config.smtp
        self._connections = ConnectionLimits(
            _most_connections(smtp), smtp.max_connections_per_client, login_required=self._auth_required(smtp)
        )
        self._active, self._turns, self._log_lines = ActiveSessions(), Turns(), LogLines()
        self._listeners: dict[_Listener, asyncio.Server] = {}
        self._options: SessionOptions | None = None
        self._configure(config)

    def _configure(self, config: Config) -> None:
        """Use a configuration for the sessions that begin from now on."""
        self._config = config
        limits = DailyLimits(config.users, config.timezone, self._runtime)
        self.admission = Admission(config, limits)
        self.daily_limits = limits
        self.acceptance = Acceptance(self.admission, limits, self._read_letter, self._runtime, config.fax)
        self.authenticator = Authenticator(config.users)
        self._services = SessionServices(
            daily_limits=limits,
            admission=self.admission,
            acceptance=self.acceptance,
            authenticator=self.authenticator,
            networks=TrustedNetworks({name: user.networks for name, user in config.users.items()}),
            connections=self._connections,
            active=self._active,
            turns=self._turns,
            log_lines=self._log_lines,
        )

    async def start(self) -> list[tuple[str, int]]:
        """Open every listener and return the addresses, implicit TLS last. Raises ConfigError for what cannot be opened."""
        # aiosmtpd logs every command at INFO, with its addresses; mailbridge logs the events that matter itself.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        self._options = self._session_options(self._config)
        try:
            self._listeners = await self._open(self._config, {})
        except BaseException:
            await self.stop(0)
            raise
        return self.addresses

    async def reload(self, config: Config) -> None:
        """Change to another configuration: sessions go on as they began, and listeners whose address stays are kept.

        Raises ConfigError for what cannot be opened; the present configuration then stays in effect.
        """
        smtp, options = config.smtp, self._session_options(config)
        listeners = await self._open(config, self._listeners)
        removed = [server for key, server in self._listeners.items() if key not in listeners]
        self._listeners, self._options = listeners, options
        most = _most_connections(smtp)
        self._connections.change(most, smtp.max_connections_per_client, login_required=self._auth_required(smtp))
        self._configure(config)
        for server in removed:
            server.close()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The addresses of all listeners, implicit TLS last; of a Unix socket its path, and port 0."""
        names = [listener.getsockname() for server in self._listeners.values() for listener in server.sockets]
        return [name[:2] if isinstance(name, tuple) else (os.fsdecode(name), 0) for name in names]

    def _session_options(self, config: Config) -> SessionOptions:
        smtp = config.smtp
        return SessionOptions(
            hostname=smtp.hostname,
            data=DataLimits(max_size=smtp.max_size, idle_timeout=smtp.timeout),
            max_recipients=smtp.max_recipients,
            auth_offered=smtp.auth != "off",
            auth_required=self._auth_required(smtp),
            starttls=_tls_context(smtp.tls),
        )

    async def _open(self, config: Config, present: Mapping[_Listener, asyncio.Server]) -> dict[_Listener, asyncio.Server]:
        """Return the listeners of a configuration: those of `present` that it has too, and new ones. Raises ConfigError."""
        keys: list[_Listener] = [("systemd", str(number)) for number in range(len(self._sockets))]
        keys += [] if self._sockets else [("smtp.listen", address) for address in config.smtp.listen]
        keys += [("smtp.tls.listen", address) for address in config.smtp.tls.listen]
        opened: dict[_Listener, asyncio.Server] = {}
        try:
            for key in keys:
                opened[key] = present[key] if key in present else await self._listen(key)
        except BaseException:
            for key in opened.keys() - present.keys():
                opened[key].close()
            raise
        return opened

    async def stop(self, grace: float) -> None:
        """Stop listening, let mails under way finish for up to `grace` seconds, and close the rest with 421."""
        for server in self._listeners.values():
            server.close()
        self._listeners = {}
        await self._active.close(grace)

    def _session(self, *, implicit_tls: bool = False) -> Session:
        assert self._options is not None  # nothing accepts a connection before
        return Session(self._options, self._services, implicit_tls=implicit_tls)

    def _over_tls(self) -> ImplicitTls:
        """Return the TLS of a new connection; its session begins after the handshake."""
        session = self._session(implicit_tls=True)
        assert self._options is not None
        assert self._options.starttls is not None  # the configuration was checked for it
        tls = ImplicitTls(session, self._options.starttls, _HANDSHAKE_TIMEOUT)
        tls.handshake.add_done_callback(partial(self._log_failure, tls))
        return tls

    def _log_failure(self, tls: ImplicitTls, handshake: asyncio.Future[None]) -> None:
        error = None if handshake.cancelled() else handshake.exception()
        if error is None or tls.refused or (tls.untouched and isinstance(error, ConnectionResetError)):
            return
        self._log_lines.write(log.tls_handshake_failed, tls.client, _loop().time(), **tls.fault(error))

    async def _listen(self, listener: _Listener) -> asyncio.Server:
        """Open one listener. Raises ConfigError."""
        key, address = listener
        if key == "systemd":
            sock = self._sockets[int(address)]
            return _lengthened(await _loop().create_server(self._session, sock=sock, backlog=_ACCEPTED_AT_ONCE))
        host, port = host_port(address)
        protocol: Callable[[], asyncio.BaseProtocol] = self._session if key == "smtp.listen" else self._over_tls
        try:
            return _lengthened(await _loop().create_server(protocol, host, port, backlog=_ACCEPTED_AT_ONCE))
        except OSError as error:
            low_port = "choose a port from 1024 on, or let systemd open it (mailbridge.socket)"
            remedy = low_port if isinstance(error, PermissionError) else "free the port or choose another"
            raise ConfigError(key, f"cannot listen on {address} ({os.strerror(error.errno or 0)})", remedy) from None

    def _auth_required(self, smtp: Smtp) -> bool:
        """Return whether clients must log in. Raises ConfigError for `off` on an address that other hosts can reach."""
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


def _most_connections(smtp: Smtp) -> int:
    """Return how many connections there may be, so that some file descriptors are left for the spool and the database."""
    allowed = allowed_connections()
    if allowed.smtp < smtp.max_connections:
        log.descriptors_short("smtp", limit=allowed.limit, max_connections=allowed.smtp)
    return min(smtp.max_connections, allowed.smtp)


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def _lengthened(server: asyncio.Server) -> asyncio.Server:
    """Return the listener. Its queue in the kernel is longer than the number that asyncio accepts in one turn."""
    for listener in server.sockets:
        with socket.fromfd(listener.fileno(), listener.family, listener.type) as duplicate:
            duplicate.listen(_BACKLOG)
    return server


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
