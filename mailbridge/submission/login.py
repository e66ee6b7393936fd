"""AUTH PLAIN and LOGIN (RFC 4954, RFC 4616): from the command to the name of a user whose password was checked."""

from __future__ import annotations

import asyncio
import binascii
import math
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from mailbridge import log
from mailbridge.client_group import client_group
from mailbridge.config import User
from mailbridge.errors import Refused
from mailbridge.submission.limits import LoginDelays
from mailbridge.submission.password import UNKNOWN_USER, check_password

# Sends a challenge (base64) to the client and returns its answer.
Challenge = Callable[[bytes], Awaitable[bytes]]
# One check takes 16 MiB and 50 ms of a processor.
_CHECKS_AT_ONCE = 2
_MAX_KNOWN = 10_000  # pairs of a user and a client that are remembered


class LoginFailed(Refused):
    """The user name or the password was wrong (535)."""


class _Failure(NamedTuple):
    """A login that failed: when, the seconds until it is answered, and for whom it was counted."""

    at: float
    delay: float
    counted: list[str]


class Authenticator:
    """Checks the logins of all sessions, and of the console.

    A failed one is answered late, the later the more of them came from that client.

    Until then, no other password from that client, or for that user from anywhere else, is checked at all: a client that hangs up
    instead of waiting gains nothing. Clients from which a user has logged in before do not wait for those who guess his password.
    """

    def __init__(self, users: Mapping[str, User]) -> None:
        self._users, self._delays = users, LoginDelays()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._checks = asyncio.Semaphore(_CHECKS_AT_ONCE)

    async def authenticate(self, arg: str, challenge: Challenge, client: str) -> str:
        """Return the name of the user who logs in with `AUTH arg`. Raises LoginFailed, and Refused (501, 454)."""
        name, password = await read_credentials(arg, challenge)
        await self.log_in(name, password, client)
        return name

    async def log_in(self, name: str, password: bytes, client: str, service: str = "smtp") -> None:
        """Check a password of a client of this `service`. Raises LoginFailed, and Refused (454) if it is too soon to check."""
        check = asyncio.create_task(self._check(name, password, client, service))
        check.add_done_callback(lambda it: it.cancelled() or it.exception())
        # A check is finished and counted even if its client hangs up.
        outcome = await asyncio.shield(check)
        if isinstance(outcome, Refused):
            raise outcome
        if outcome is not None:
            await asyncio.sleep(outcome.delay)
            for who in outcome.counted:
                self._delays.waited(who, outcome.at)
            raise LoginFailed("535 5.7.8 Authentication failed: wrong user name or password")

    async def _check(self, name: str, password: bytes, client: str, service: str) -> _Failure | Refused | None:
        """Return None for the right password, and Refused where it is too soon to check one."""
        group = client_group(client)
        if refusal := self._too_soon(name, group):
            return refusal
        async with self._checks:
            # Another login may have failed meanwhile.
            if refusal := self._too_soon(name, group):
                return refusal
            valid = await self._is_valid(name, password)
            if valid:
                self._remember(name, group)
                return None
            now = asyncio.get_running_loop().time()
            counted = [group] if (name, group) in self._known else [f"user {name}", group]
            delays = [self._delays.failed(who, now) for who in counted]
        log.login_failed(service, client=client)
        return _Failure(now, delays[-1], counted)

    def _remember(self, name: str, group: str) -> None:
        self._known[name, group] = None
        self._known.move_to_end((name, group))
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)

    def _too_soon(self, name: str, group: str) -> Refused | None:
        now = asyncio.get_running_loop().time()
        owed = self._delays.owed(group, now)
        if (name, group) not in self._known:
            owed = max(owed, self._delays.owed(f"user {name}", now))
        return Refused(f"454 4.7.0 Too many failed logins; try again in {math.ceil(owed)} s") if owed > 0 else None

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
