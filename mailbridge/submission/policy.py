"""Who may fax what: numbers, senders, daily limits, loops. Pure; every refusal is an SMTP reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

import phonenumbers

from mailbridge.errors import Refused
from mailbridge.phone.israel import is_premium
from mailbridge.submission.letter.letter import Letter

# RFC 5321 section 6.3 asks for at least 100; a mail to a fax machine passes a handful of servers.
_MAX_RECEIVED = 50
_SHORTEST = 7
MAX_DELAY = timedelta(days=366)  # of X-Mailbridge-Send-At
_ISRAEL = 972


def check_send_at(send_at: datetime | None, now: datetime) -> None:
    """Refuse (554 5.6.0) a mail that is to be sent in more than a year: its files would be kept until then."""
    if send_at is not None and send_at - now > MAX_DELAY:
        raise Refused("554 5.6.0 The time in X-Mailbridge-Send-At is more than a year away; send the mail again nearer to it")


def check_number(number: str, allow: Sequence[str], deny: Sequence[str]) -> None:
    """Refuse (550 5.7.1) an E.164 number that no rule of `allow` names, or any of `deny` does.

    A rule is a region (`IL`), a prefix (`+9723`), or a class: `premium` (costs more per minute) or `short` (service and
    emergency numbers).
    """
    refusal = _refusal(number, tuple(allow), tuple(deny))
    if refusal is not None:
        raise Refused(refusal)


@lru_cache(maxsize=4096)
def _refusal(number: str, allow: tuple[str, ...], deny: tuple[str, ...]) -> str | None:
    parsed = _parsed(number)
    for rule in deny:
        if _matches(rule, number, parsed):
            return f"550 5.7.1 Faxing to {number} is not allowed here (numbers.deny: {rule})"
    if not any(_matches(rule, number, parsed) for rule in allow):
        return f"550 5.7.1 Faxing to {number} is not allowed here; allowed are {', '.join(allow) or 'none'}"
    return None


def _parsed(number: str) -> phonenumbers.PhoneNumber:
    national = number.removeprefix(f"+{_ISRAEL}")
    if national == number:
        return phonenumbers.parse(number)
    # In Israel no number has a leading zero that counts, so there is nothing to find out.
    return phonenumbers.PhoneNumber(country_code=_ISRAEL, national_number=int(national))


def _matches(rule: str, number: str, parsed: phonenumbers.PhoneNumber) -> bool:
    if rule.startswith("+"):
        return number.startswith(rule)
    if rule == "premium":
        return _is_premium(parsed)
    if rule == "short":
        return _is_short(parsed)
    return (phonenumbers.region_code_for_number(parsed) or _main_region(parsed)) == rule.upper()


def _main_region(number: phonenumbers.PhoneNumber) -> str:
    return str(phonenumbers.region_code_for_country_code(number.country_code or 0))


def _is_premium(number: phonenumbers.PhoneNumber) -> bool:
    """Return whether a number costs more per minute, also with digits behind it that the exchange would never listen to."""
    national = phonenumbers.national_significant_number(number)
    if number.country_code == _ISRAEL:
        return is_premium(national)
    for length in range(len(national), _SHORTEST, -1):
        kind = phonenumbers.number_type(phonenumbers.parse(f"+{number.country_code}{national[:length]}"))
        if kind != phonenumbers.PhoneNumberType.UNKNOWN:
            return bool(kind == phonenumbers.PhoneNumberType.PREMIUM_RATE)
    return False


def _is_short(number: phonenumbers.PhoneNumber) -> bool:
    national = phonenumbers.national_significant_number(number)
    if number.country_code == _ISRAEL:  # emergency numbers have three digits
        return len(national) < _SHORTEST
    return len(national) < _SHORTEST or phonenumbers.is_emergency_number(national, _main_region(number))


def check_sender(address: str, senders: Sequence[str]) -> None:
    """Refuse (553 5.7.1) a MAIL FROM or From address outside the user's `senders`: addresses, or domains as `@example.co.il`."""
    if not senders:
        return
    mine = address.casefold()
    for sender in (entry.casefold() for entry in senders):
        if mine == sender or ("@" not in sender.lstrip("@") and mine.rpartition("@")[2] == sender.lstrip("@")):
            return
    raise Refused(f"553 5.7.1 You may not send as {address or 'nobody'}; allowed senders are {', '.join(senders)}")


def check_recipients(count: int, limit: int) -> None:
    """Refuse (452 4.5.3) a recipient with which a mail would have more than `limit` numbers."""
    if count > limit:
        raise Refused(f"452 4.5.3 One mail takes at most {limit} recipients; send the rest in another")


def check_daily(limit: int | None, count: Callable[[], int], more: int = 1) -> None:
    """Refuse (452 4.7.1) when `more` faxes on top of today's `count` would pass the user's limit."""
    if limit is not None and count() + more > limit:
        raise Refused(f"452 4.7.1 Your daily limit of {limit} faxes is reached; it resets at midnight")


def check_null_sender(sender: str) -> None:
    """Refuse (550 5.7.1) a recipient of a mail from `<>`: bounces are never faxed (RFC 5321 section 4.5.5)."""
    if not sender:
        raise Refused("550 5.7.1 Bounces and automatic replies are not faxed")


def check_loop(letter: Letter) -> None:
    """Refuse mail loops (RFC 5321 section 6.3) and automatic mails (RFC 3834 section 5)."""
    if letter.mail_loop or letter.received_count > _MAX_RECEIVED:
        raise Refused("554 5.4.6 Mail loop detected")
    if letter.auto_submitted:
        raise Refused("550 5.7.1 Bounces and automatic replies are not faxed")
