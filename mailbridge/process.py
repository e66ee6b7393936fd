"""The process of the daemon: signals, reloads of the configuration, and notifications to systemd."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

from mailbridge import log, systemd
from mailbridge.app import Daemon
from mailbridge.config import Config, load
from mailbridge.config.warnings import config_warnings
from mailbridge.errors import ConfigError
from mailbridge.webhook.schemas import EVENTS


async def serve(path: Path, environ: Mapping[str, str], *, catch_up: bool = False) -> None:
    """Run the daemon with the configuration at `path` until SIGTERM or SIGINT.

    SIGHUP reloads the configuration; an invalid one is only logged. For `catch_up` see `Daemon`. Raises ConfigError and what
    `Daemon.run` raises.
    """
    await _Process(path, environ, catch_up).run(load(path, environ))


class _Process:
    """A process that runs one daemon after another: SIGHUP stops the daemon and starts one with the new configuration.

    Signal handlers only set `_pending` and `_stop`, so that no signal is lost, not even one during a start.
    """

    def __init__(self, path: Path, environ: Mapping[str, str], catch_up: bool) -> None:
        self._path, self._environ, self._catch_up = path, environ, catch_up
        # Kept open for the life of the process, so that clients can connect while the daemon is replaced.
        self._sockets = systemd.passed_sockets(environ)
        # The configuration to start next; None after SIGTERM.
        self._pending: Config | None = None
        # Ends the present daemon.
        self._stop = asyncio.Event()
        # Whether the present daemon has started.
        self._started = False

    async def run(self, config: Config) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_terminate)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload)
        watchdog = asyncio.create_task(systemd.watchdog(self._environ))
        try:
            await self._run_daemon(config)
            while (pending := self._pending) is not None:
                self._pending = None
                config = await self._run_reloaded(pending, config)
        finally:
            watchdog.cancel()
        log.daemon_stopped("daemon")

    async def _run_reloaded(self, new: Config, old: Config) -> Config:
        """Run the daemon with the new configuration, or with the old one if it cannot start; return the one that ran last.

        A valid configuration may still fail to start, for example because a port is in use.
        """
        try:
            await self._run_daemon(new)
        except Exception as error:
            if self._started:
                raise
            log.config_rejected("daemon", error=_message(error))
            # SIGTERM or SIGHUP arrived during the failed start: `run` acts on it instead.
            if not self._stop.is_set():
                await self._run_daemon(old)
            return old
        return new

    async def _run_daemon(self, config: Config) -> None:
        """Run one daemon until `_stop` is set."""
        self._stop.clear()
        self._started = False
        log.setup(config.log.level, config.log.format)
        for warning in config_warnings(config, EVENTS):
            log.config_warning("daemon", warning=str(warning))
        # The daemon closes its sockets at its end, so it gets duplicates.
        sockets = [passed.dup() for passed in self._sockets]
        daemon = Daemon(config, self._environ, sockets, catch_up=self._catch_up)
        await daemon.run(self._stop, lambda: self._on_started(daemon))

    def _on_started(self, daemon: Daemon) -> None:
        self._started = True
        systemd.notify("READY=1", self._environ)
        smtp = ", ".join(f"{host}:{port}" for host, port in daemon.smtp)
        log.daemon_started("daemon", smtp=smtp, http=f"{daemon.http[0]}:{daemon.http[1]}")

    def _on_terminate(self) -> None:
        systemd.notify("STOPPING=1", self._environ)
        log.daemon_stopping("daemon")
        self._pending = None
        self._stop.set()

    def _on_reload(self) -> None:
        try:
            config = load(self._path, self._environ)
        except ConfigError as first:
            for error in (first, *first.others):
                log.config_rejected("daemon", error=str(error))
            return
        terminating = self._stop.is_set() and self._pending is None
        if not terminating:
            self._pending = config
            log.config_reloaded("daemon", file=str(self._path))
            self._stop.set()


def _message(error: BaseException) -> str:
    """Return the message of an error, or of the first error in a group."""
    return _message(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else str(error)
