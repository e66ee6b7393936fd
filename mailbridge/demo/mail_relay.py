"""The demo's mail server: what mailbridge hands over to it goes into the demo's mailbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope


class MailRelay:
    """Takes mails by SMTP on loopback, and hands each to `deliver` before it answers."""

    def __init__(self, deliver: Callable[[bytes], Awaitable[None]]) -> None:
        self._deliver = deliver

    async def start(self) -> int:
        """Listen; return the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: SMTP(self, hostname="mail.demo", loop=loop), "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Stop listening."""
        self._server.close()

    async def handle_DATA(self, _: Any, __: Any, envelope: Envelope) -> str:
        """Take one mail (a hook of aiosmtpd)."""
        content = envelope.content
        await self._deliver(content if isinstance(content, bytes) else b"")
        return "250 2.0.0 delivered"
