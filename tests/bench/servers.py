"""The two servers of the intake benchmark, each the program of a process: `mailbridge DIR` or `stock DIR`."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

from mailbridge import log
from mailbridge.config import Config
from mailbridge.model import new_id
from mailbridge.runtime import Runtime
from mailbridge.store.postgres import PostgresStore
from mailbridge.store.spools import open_spool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.submission.letter_reader import LetterReader
from mailbridge.submission.server import SmtpService
from mailbridge.webhook.payload import fax_data
from mailbridge.webhook.routing import Routes

_SECRET = "whsec_YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcy4uLi4="


async def serve_mailbridge(state: Path, url: str | None) -> None:
    """Serve the submission as `app` assembles it, with a webhook in the outbox, but without uploader and dispatcher.

    `url` is that of a PostgreSQL database with mailbridge's tables; without it there is SQLite in `state`.
    """
    account = {"email": "office@example.co.il", "password": "x"}
    webhook = {"url": "https://crm.example.co.il/hooks/fax", "secret": _SECRET}
    smtp = {"listen": ["127.0.0.1:0"], "max_connections_per_client": 500}
    config = Config.model_validate(
        {"account": {"office": account}, "webhook": {"crm": webhook}, "state_dir": state, "smtp": smtp, "log": {"format": "json"}}
    )
    log.setup(config.log.level, config.log.format)
    routes = Routes(config.webhooks).endpoints
    opened = SqliteStore(state, fax_data, routes) if url is None else PostgresStore(url, fax_data, routes)
    async with opened as store:
        spool = open_spool(state, store.bodies)
        letter_reader = LetterReader(spool, config.fax.page)
        await letter_reader.start()
        service = SmtpService(config, Runtime(store, spool, lambda: datetime.now(UTC), random.random), letter_reader)
        _print_port((await service.start())[0][1])
        await asyncio.to_thread(sys.stdin.read)
        await service.stop(5)
        await letter_reader.stop()


class StockHandler:
    """An aiosmtpd handler that answers 250 after the mail's file and its directory are synced."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Write and sync in a thread, which is faster than blocking the event loop."""
        await asyncio.get_running_loop().run_in_executor(None, self._store, envelope.content)
        return "250 OK"

    def _store(self, content: bytes) -> None:
        with open(self._directory / f"{new_id('env')}.eml", "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(directory)
        os.close(directory)


def serve_stock(directory: Path) -> None:
    """Serve a stock Controller, with every option off that costs time."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    controller = Controller(StockHandler(directory), hostname="127.0.0.1", port=port, server_hostname="bench.example")
    controller.start()
    _print_port(port)
    sys.stdin.read()
    controller.stop()


def _print_port(port: int) -> None:
    print(json.dumps({"port": port}), flush=True)


def main() -> None:
    """Serve until standard input ends."""
    which, directory = sys.argv[1], Path(sys.argv[2])
    if which == "stock":
        serve_stock(directory)
    else:
        asyncio.run(serve_mailbridge(directory, next(iter(sys.argv[3:]), None)))


if __name__ == "__main__":
    main()
