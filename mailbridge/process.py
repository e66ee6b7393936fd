"""The process of the daemon: signals, reloads of the configuration, and notifications to systemd."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mailbridge import log, metrics, systemd
from mailbridge.app import Daemon
from mailbridge.config import Config, load
from mailbridge.config.warnings import config_warnings
from mailbridge.errors import ConfigError, MailbridgeError
from mailbridge.preload import keep_loaded
from mailbridge.threads import start_threads, watch_children_without_threads
from mailbridge.webhook.schemas import EVENTS


async def serve(config: Config, path: Path, environ: Mapping[str, str], *, catch_up: bool = False) -> None:
    """Run the daemon with the configuration, which was at `path`, until SIGTERM or SIGINT.

    SIGHUP loads it again; an invalid one is only logged. For `catch_up` see `Daemon`. Raises what `Daemon.run` raises.
    """
    await _Process(path, environ, catch_up).run(config)


class _Process:
    """A process with one daemon. Signal handlers only set events, so that no signal is lost, not even one during the start."""

    def __init__(self, path: Path, environ: Mapping[str, str], catch_up: bool) -> None:
        self._path, self._environ, self._catch_up = path, environ, catch_up
        self._stop, self._started, self._hung_up = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run(self, config: Config) -> None:
        loop = asyncio.get_running_loop()
        # The database's thread gives way to the event loop sooner than after the usual 5 ms. At 0.1 ms, taking turns costs a
        # fifth of the processor time of a fax.
        sys.setswitchinterval(0.001)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_terminate)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)
        loop.set_default_executor(start_threads())
        loop.set_exception_handler(_log_loop_error)
        watch_children_without_threads()
        log.observe = metrics.logged
        _apply_log_options(config)
        sockets = systemd.passed_sockets(self._environ)
        more = {"reload": self._reload_command}
        daemon = Daemon(config, self._environ, sockets, catch_up=self._catch_up, commands=more)
        self._daemon = daemon
        beside = [asyncio.create_task(work) for work in (systemd.watchdog(self._environ), self._reload_at_sighup())]
        try:
            await daemon.run(self._stop, self._on_started)
        finally:
            for task in beside:
                task.cancel()
        log.daemon_stopped("daemon")

    def _on_started(self) -> None:
        keep_loaded()
        self._started.set()
        systemd.notify("READY=1", self._environ)
        log.daemon_started("daemon", **_addresses(self._daemon))

    def _on_terminate(self) -> None:
        systemd.notify("STOPPING=1", self._environ)
        log.daemon_stopping("daemon")
        self._stop.set()

    async def _reload_at_sighup(self) -> None:
        await self._started.wait()
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            try:
                await self._reload()
            except Exception as error:  # the next SIGHUP must be obeyed
                log.event_loop_error("daemon", error=f"the reload failed: {error!r}")

    async def _reload_command(self) -> dict[str, Any]:
        """The command `reload`: return the errors, an empty list if the new configuration is in effect."""
        await self._started.wait()
        return {"errors": [str(error) for error in await self._reload()]}

    async def _reload(self) -> list[ConfigError]:
        """Change to the configuration in the file; return its errors, with which the present one stays in effect."""
        try:
            config = load(self._path, self._environ)
            await self._daemon.reload(config)
        except ConfigError as first:
            errors = [first, *first.others]
            for error in errors:
                log.config_rejected("daemon", error=str(error))
            return errors
        except (MailbridgeError, OSError) as error:
            log.config_rejected("daemon", error=str(error))
            return [ConfigError(str(self._path), f"cannot be applied ({error})", "reload again when the fault is corrected")]
        _apply_log_options(config)
        log.config_reloaded("daemon", file=str(self._path), **_addresses(self._daemon))
        return []


def _log_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio would print with a stack. It accepts connections again after a second."""
    message, error = context["message"], context.get("exception")
    if "accept" in message:
        log.connection_not_accepted("daemon", error=str(error))
    else:
        log.event_loop_error("daemon", error=f"{message}: {error!r}")


def _apply_log_options(config: Config) -> None:
    log.setup(config.log.level, config.log.format)
    for warning in config_warnings(config, EVENTS):
        log.config_warning("daemon", warning=str(warning))


def _addresses(daemon: Daemon) -> dict[str, str]:
    smtp = ", ".join(f"{host}:{port}" for host, port in daemon.smtp)
    return {"smtp": smtp, "http": f"{daemon.http[0]}:{daemon.http[1]}"}
