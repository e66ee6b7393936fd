"""The process around the daemon: signals, what systemd is told, and the configuration read again on SIGHUP."""

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


class _Process:
    """One run of the process: a daemon, and on SIGHUP the next one with the configuration as it is then."""

    def __init__(self, path: Path, environ: Mapping[str, str], catch_up: bool) -> None:
        self._path, self._environ, self._catch_up = path, environ, catch_up
        self._sockets = systemd.passed_sockets(environ)
        self._next: Config | None = None
        self._stop = asyncio.Event()
        self._is_ready = False

    async def run(self, config: Config) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        watchdog = asyncio.create_task(systemd.watchdog(self._environ))
        try:
            await self._serve(config)
            while (following := self._next) is not None:
                self._next = None
                config = await self._replace(config, following)
        finally:
            watchdog.cancel()
        log.daemon_stopped("daemon")

    async def _replace(self, old: Config, new: Config) -> Config:
        """Serve with the new configuration; where that cannot even start (a port is taken, say), with the old one."""
        try:
            await self._serve(new)
        except Exception as error:
            if self._is_ready:
                raise
            log.config_rejected("daemon", error=_words(error))
            # A signal that came meanwhile, to end or to read again, counts.
            if not self._stop.is_set():
                await self._serve(old)
            return old
        return new

    async def _serve(self, config: Config) -> None:
        self._stop.clear()
        self._is_ready = False
        log.setup(config.log.level, config.log.format)
        for warning in config_warnings(config, EVENTS):
            log.config_warning("daemon", warning=str(warning))
        # Each daemon closes its sockets; those that systemd handed over are kept, so that nobody is refused meanwhile.
        sockets = [kept.dup() for kept in self._sockets]
        daemon = Daemon(config, self._environ, sockets, catch_up=self._catch_up)
        await daemon.run(self._stop, lambda: self._ready(daemon))

    def _ready(self, daemon: Daemon) -> None:
        self._is_ready = True
        systemd.notify("READY=1", self._environ)
        smtp = ", ".join(f"{host}:{port}" for host, port in daemon.smtp)
        log.daemon_started("daemon", smtp=smtp, http=f"{daemon.http[0]}:{daemon.http[1]}")

    def _end(self) -> None:
        systemd.notify("STOPPING=1", self._environ)
        log.daemon_stopping("daemon")
        self._next = None
        self._stop.set()

    def _reload(self) -> None:
        try:
            config = load(self._path, self._environ)
        except ConfigError as error:
            for mistake in (error, *error.others):
                log.config_rejected("daemon", error=str(mistake))
            return
        if not self._ending():
            self._next = config
            log.config_reloaded("daemon", file=str(self._path))
            self._stop.set()

    def _ending(self) -> bool:
        return self._stop.is_set() and self._next is None


def _words(error: BaseException) -> str:
    """Return an error's words, and those of a group's first."""
    return _words(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else str(error)


async def serve(path: Path, environ: Mapping[str, str], *, catch_up: bool = False) -> None:
    """Run the daemon with the configuration at `path` until SIGTERM or SIGINT; SIGHUP reads it anew, and a bad one is only told.

    `catch_up` see `Daemon`. Raises ConfigError and what `Daemon.run` raises.
    """
    await _Process(path, environ, catch_up).run(load(path, environ))
