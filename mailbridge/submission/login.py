"""AUTH PLAIN and LOGIN (RFC 4954, RFC 4616): from the command to a name and a password, and whether these are right."""

from __future__ import annotations

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping

from mailbridge.config import User
from mailbridge.errors import Refused
from mailbridge.submission.password import NOBODY, check_password

Ask = Callable[[bytes], Awaitable[bytes]]


def check_syntax(arg: str | None) -> None:
    """Check AUTH's argument. Raises Refused with 501 or 504."""
    words = (arg or "").split()
    if not words or len(words) > 2:
        raise Refused("501 5.5.4 Syntax: AUTH mechanism")
    if words[0].upper() not in ("PLAIN", "LOGIN"):
        raise Refused("504 5.5.4 AUTH is PLAIN or LOGIN here")


async def read_login(arg: str, ask: Ask) -> tuple[str, bytes]:
    """Return the name and password that AUTH brings, or those asked for: `ask` sends a challenge and returns the client's line.

    Raises Refused for what cannot be read, also for the "*" by which a client gives up (RFC 4954 section 4).
    """
    mechanism, *initial = arg.split()
    try:
        if mechanism.upper() == "PLAIN":
            _, name, password = _decoded(initial[0].encode() if initial else await ask(b"")).split(b"\0")
        else:
            name = _decoded(initial[0].encode() if initial else await ask(b"VXNlcm5hbWU6"))
            password = _decoded(await ask(b"UGFzc3dvcmQ6"))
        return name.decode(), password
    except (ValueError, binascii.Error):
        raise Refused("501 5.5.2 The login cannot be read") from None


async def is_right(users: Mapping[str, User], name: str, password: bytes) -> bool:
    """Whether a user of this name has this password; to find out that nobody has the name takes as long."""
    user = users.get(name)
    hash = user.password_hash if user is not None else NOBODY
    right = await asyncio.get_running_loop().run_in_executor(None, check_password, hash, password)
    return right and user is not None


def _decoded(line: bytes) -> bytes:
    return b64decode(line.strip(), validate=True)
