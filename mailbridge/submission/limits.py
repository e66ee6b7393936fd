"""Limits of one SMTP session: its commands, failed logins, and the size and speed of DATA. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MAX_BAD_COMMANDS = 10  # of one session, since its last mail
MAX_REFUSALS = 20  # of MAIL and RCPT, likewise
MAX_COMMANDS = 100  # likewise, without the recipients that are accepted, or too many
MAX_RECIPIENT_COMMANDS = 1000  # likewise, beyond smtp.max_recipients
LOGGED_REFUSALS = 5  # likewise: so many have a line in the log, and one more line says that others have none
MAX_LINE = 65_536  # bytes of input without a line end, outside of DATA
MAX_FAILED_LOGINS = 3  # of one session
EXCESS_DELAY = 2.0  # seconds until a session that reached such a limit ends, except for bad commands
LOGIN_TIMEOUT = 30.0  # seconds from the connection to a login or an accepted MAIL

_BAD_COMMAND = ("500", "501", "502", "504")
# A failed login is answered after 0.2 s, the next one from that address after twice as long, up to 10 s.
_FIRST_DELAY, _MAX_DELAY = 0.2, 10.0
_DELAYS_END_AFTER = 900.0
_MAX_ADDRESSES = 10_000
# A mail over the limit is read to its end, so that the client gets the 552, but no more bytes beyond the limit than this.
_MAX_EXCESS = 1_000_000
# RFC 5321 section 4.5.3.2 gives a client minutes for each chunk; one slower than this (bytes a second) only blocks a connection.
_MIN_SPEED = 512
_MAX_DURATION = 7200.0


class SessionEnded(Exception):
    """The session must end; the text is its last reply, a 421."""


class LoginDelays:
    """Slows down guessing of passwords, by client or by user name. Times are seconds of any clock that is never set."""

    def __init__(self) -> None:
        # How many logins failed, when the last one did, and until when the next one must wait.
        self._failures: OrderedDict[str, tuple[int, float, float]] = OrderedDict()

    def failed(self, who: str, now: float) -> float:
        """Count a failed login; return the seconds that the next one has to wait. Forgotten after 15 minutes without one."""
        count, last, _ = self._failures.pop(who, (0, now, now))
        count = count + 1 if now - last < _DELAYS_END_AFTER else 1
        delay = float(min(_FIRST_DELAY * 2 ** min(count - 1, 16), _MAX_DELAY))
        self._failures[who] = (count, now, now + delay)
        if len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)
        return delay

    def waited(self, who: str, failed_at: float) -> None:
        """Note that the client has waited for the answer to the login that failed then: no more is owed for it."""
        count, last, _ = self._failures.get(who, (0, 0.0, 0.0))
        if count and last == failed_at:
            self._failures[who] = (count, last, last)

    def owed(self, who: str, now: float) -> float:
        """Return the seconds that have to pass before the next login, 0 if there is nothing to wait for."""
        _, _, until = self._failures.get(who, (0, now, now))
        return max(0.0, until - now)


class CommandLimits:
    """Counts what a session does without sending a mail. `max_recipients` is that of one mail."""

    def __init__(self, max_recipients: int) -> None:
        self._max_recipients = max_recipients
        self.mail_answered()

    def mail_answered(self) -> None:
        """Count anew: the client has sent a mail."""
        self._bad = self._commands = self._refusals = self._recipients = 0

    def count(self, command: str, code: str) -> str | None:
        """Count a reply `code` to a command; return what there is too much of, None while there is not."""
        if command == "RCPT" and code in ("250", "452"):
            self._recipients += 1
            return "recipients" if self._recipients >= self._max_recipients + MAX_RECIPIENT_COMMANDS else None
        self._commands += 1
        self._bad += code in _BAD_COMMAND
        self._refusals += command in ("MAIL", "RCPT") and code[0] in "45"
        if self._bad >= MAX_BAD_COMMANDS:
            return "bad commands"
        if self._refusals >= MAX_REFUSALS:
            return "rejected senders and recipients"
        return "commands without a mail" if self._commands >= MAX_COMMANDS else None

    @property
    def refusals(self) -> int:
        """How many MAIL and RCPT were refused."""
        return self._refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class DataLimits:
    """Limits of one mail's DATA: `max_size` in bytes, `idle_timeout` in seconds."""

    max_size: int
    idle_timeout: float

    def check_progress(self, size: int, elapsed: float) -> None:
        """Check a mail that has not ended after `size` bytes and `elapsed` seconds. Raises SessionEnded."""
        if size > self.max_size + _MAX_EXCESS:
            raise SessionEnded("421 4.3.4 The mail is far larger than the limit; closing connection")
        if elapsed > min(self.idle_timeout + size / _MIN_SPEED, _MAX_DURATION):
            raise SessionEnded("421 4.4.2 The data arrives too slowly; closing connection")
