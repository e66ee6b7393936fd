"""What a server's refusal (NO, BAD or BYE) means: a wrong login, a plea for patience, or something else. Pure.

Response codes are those of RFC 3501 section 7.1 and RFC 5530 section 3. Many servers send none, so their texts count too.
"""

from __future__ import annotations

import re
from typing import Final

from mailbridge.errors import MailboxError

# Seconds. A server that asks for more is asked again after this time.
LONGEST_PATIENCE: Final = 15 * 60.0

# The server cannot answer now, whatever it was asked for. Exchange and Yahoo say THROTTLED and TEMPFAIL, Gmail OVERQUOTA.
_CODE = re.compile(r"\[(?:UNAVAILABLE|INUSE|LIMIT|SERVERBUG|TEMPFAIL|THROTTLED|OVERQUOTA)\b", re.IGNORECASE)
_BUSY = re.compile(
    r"throttl|back-?off|temporar|overload|rate.?limit|(?:service|server|system|currently) (?:is )?(?:currently )?unavailable"
    r"|server (?:is )?busy|too busy|too many (?:simultaneous |concurrent )?(?:connections|sessions|requests|commands)"
    r"|(?:bandwidth|commands?|connections?) limits?|connections? (?:\S+ )?exceeded|(?:maximum|max) number of (?:\w+ )?connections"
    r"|(?:mailbox|folder|database) (?:is )?(?:\w+ )?(?:locked|in use|unavailable)|lock timeout|waiting for (?:a |the )?lock"
    r"|server (?:is )?(?:shutting down|restarting|down)|service (?:is )?not available",
    re.IGNORECASE,
)
# In an answer to a login these may be said of a wrong password too.
_AGAIN = re.compile(r"\b(?:try|retry|again)\b.{0,20}\b(?:again|later|in|after|moment)\b", re.IGNORECASE)
_TIME = re.compile(
    r"(?:back-?off time|\bin|\bafter|\bwait)\W{0,3}(\d{1,9})\s*(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)\b",
    re.IGNORECASE,
)
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}

# Texts that name no cause, with what is behind them.
_CAUSES: Final = (
    (
        "authenticated but not connected",  # Exchange Online, to SELECT and others after XOAUTH2 was accepted
        "the token is of another user than `username`, IMAP is off for this mailbox, or it is a shared mailbox that this user "
        "may not open",
    ),
)


def explained(text: str) -> str:
    """Return a server's text, with the cause behind it if it is one of those that name none."""
    causes = [cause for words, cause in _CAUSES if words in text.lower()]
    return "; ".join([text, *causes])


def patience(error: Exception) -> float | None:
    """Return the seconds that a server asks to wait, 0 if it does not say how long; None if it does not ask for patience.

    Such a refusal says nothing about the mail that was asked for.
    """
    text = str(error)
    if not isinstance(error, MailboxError) or not (_CODE.search(text) or _BUSY.search(text) or _AGAIN.search(text)):
        return None
    return _seconds(text)


def is_login_refusal(text: str) -> bool:
    """Whether the answer to a login refuses the user or the password. Trying again soon could lock the account."""
    return not (_CODE.search(text) or _BUSY.search(text))


def _seconds(text: str) -> float:
    found = _TIME.search(text)
    if found is None:
        return 0.0
    unit = found[2].lower()
    length = 0.001 if unit.startswith(("ms", "milli")) else _UNITS[unit[0]]
    return min(int(found[1]) * length, LONGEST_PATIENCE)
