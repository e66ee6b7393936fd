"""AUTH PLAIN and LOGIN (RFC 4954, RFC 4616): from the command to the name of a user whose password was checked."""

from __future__ import annotations

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping

from mailbridge import log
from mailbridge.config import User
from mailbridge.errors import Refused
from mailbridge.submission.limits import LoginDelays
from mailbridge.submission.password import UNKNOWN_USER, check_password

# Sends a challenge (base64) to the client and returns its answer.
Challenge = Callable[[bytes], Awaitable[bytes]]
# One check takes 16 MiB and 50 ms of a processor.
_CHECKS_AT_ONCE = 2


class LoginFailed(Refused):
    """The user name or the password was wrong (535)."""


class Authenticator:
    """Checks the logins of all sessions. A failed one is answered late, the later the more of them came from that address."""

    def __init__(self, users: Mapping[str, User]) -> None:
        self._users, self._delays = users, LoginDelays()
        self._checks = asyncio.Semaphore(_CHECKS_AT_ONCE)

    async def authenticate(self, arg: str, challenge: Challenge, client: str) -> str:
        """Return the name of the user who logs in with `AUTH arg`. Raises LoginFailed, and Refused for bad syntax."""
        name, password = await read_credentials(arg, challenge)
        async with self._checks:
            valid = await self._is_valid(name, password)
        if not valid:
            log.login_failed("smtp", client=client)
            await asyncio.sleep(self._delays.failed(client, asyncio.get_running_loop().time()))
            raise LoginFailed("535 5.7.8 Authentication failed: wrong user name or password")
        return name

    async def _is_valid(self, name: str, password: bytes) -> bool:
        """Check a password. An unknown user takes as long, so that the time does not show which names exist."""
        user = self._users.get(name)
        hash = (user.password_hash if user is not None else None) or UNKNOWN_USER
        valid = await asyncio.get_running_loop().run_in_executor(None, check_password, hash, password)
        return valid and user is not None


def check_syntax(arg: str | None) -> None:
    """Check AUTH's argument. Raises Refused with 501 or 504."""
    words = (arg or "").split()
    if not words or len(words) > 2:
        raise Refused("501 5.5.4 Syntax: AUTH mechanism")
    if words[0].upper() not in ("PLAIN", "LOGIN"):
        raise Refused("504 5.5.4 Unrecognized authentication mechanism; use PLAIN or LOGIN")


async def read_credentials(arg: str, challenge: Challenge) -> tuple[str, bytes]:
    """Return the user name and password in AUTH's argument, or in the client's answers to challenges.

    Raises Refused for what is not base64, also for the "*" with which a client cancels (RFC 4954 section 4).
    """
    mechanism, *initial = arg.split()
    try:
        first = initial[0].encode() if initial else None
        if mechanism.upper() == "PLAIN":
            # RFC 4616 section 2: authorization identity, user name and password, separated by NUL.
            _, name, password = _decode(first or await challenge(b"")).split(b"\0")
        else:
            name = _decode(first or await challenge(b"VXNlcm5hbWU6"))  # "Username:"
            password = _decode(await challenge(b"UGFzc3dvcmQ6"))  # "Password:"
        return name.decode(), password
    except (ValueError, binascii.Error):
        raise Refused("501 5.5.2 Invalid authentication data, or authentication cancelled") from None


def _decode(line: bytes) -> bytes:
    return b64decode(line.strip(), validate=True)
