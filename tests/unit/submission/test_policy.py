"""Policy: which numbers, which senders, how many a day, and what machines write to each other."""

from __future__ import annotations

import dataclasses

import pytest

from mailbridge.errors import Refused
from mailbridge.submission import policy
from mailbridge.submission.letter.letter import Letter

LETTER = Letter(message_id="<1@x>", subject="", sender="a@example.co.il", documents=())


@pytest.mark.parametrize(
    ("number", "allow", "deny"),
    [
        ("+97239876543", ["IL"], ["premium", "short"]),
        ("+972501234567", ["il"], []),
        ("+12125551234", ["IL", "US"], []),
        ("+12125551234", ["+1212"], ["+1900"]),
        ("+9721700123456", ["IL"], ["premium"]),
        ("+972391234567", ["IL"], ["premium"]),
    ],
)
def test_number_within_allow_and_deny_passes(number: str, allow: list[str], deny: list[str]) -> None:
    policy.check_number(number, allow, deny)


@pytest.mark.parametrize(
    ("number", "allow", "deny"),
    [
        ("+12125551234", ["IL"], []),
        ("+97239876543", [], []),
        ("+97239876543", ["IL"], ["+9723"]),
        ("+97239876543", ["IL"], ["IL"]),
        ("+9721900123456", ["IL"], ["premium"]),
        ("+97219001234567", ["IL"], ["premium"]),
        ("+972190012345678", ["IL"], ["premium"]),
        ("+972121299991234", ["IL"], ["premium"]),
        ("+972100", ["IL"], ["short"]),
        ("+39876543", ["IT"], ["short"]),
    ],
)
def test_number_outside_allow_or_in_deny_is_refused(number: str, allow: list[str], deny: list[str]) -> None:
    with pytest.raises(Refused, match=r"^550 5\.7\.1 "):
        policy.check_number(number, allow, deny)


def test_sender_must_be_an_address_or_in_a_domain_of_the_list() -> None:
    for sender in ("Anna@Example.co.il", "x@other.co.il", "y@third.co.il"):
        policy.check_sender(sender, ["anna@example.co.il", "@other.co.il", "third.co.il"])
    policy.check_sender("anybody@anywhere", [])
    for sender in ("bob@example.co.il", "x@sub.other.co.il", "x@evilother.co.il", ""):
        with pytest.raises(Refused, match=r"^553 5\.7\.1 "):
            policy.check_sender(sender, ["anna@example.co.il", "@other.co.il", "third.co.il"])


def test_daily_limit_counts_the_faxes_of_the_mail_too() -> None:
    policy.check_daily(None, lambda: 10**6)
    policy.check_daily(3, lambda: 2)
    with pytest.raises(Refused, match=r"^452 4\.7\.1 .*3 .*midnight"):
        policy.check_daily(3, lambda: 2, more=2)


def test_mail_in_a_loop_is_refused() -> None:
    policy.check_loop(LETTER)
    policy.check_loop(dataclasses.replace(LETTER, received_count=50))
    for change in ({"mail_loop": True}, {"received_count": 51}):
        with pytest.raises(Refused, match=r"^554 5\.4\.6 "):
            policy.check_loop(dataclasses.replace(LETTER, **change))
    with pytest.raises(Refused, match=r"^550 5\.7\.1 "):
        policy.check_loop(dataclasses.replace(LETTER, auto_submitted=True))
    policy.check_null_sender("a@b")
    with pytest.raises(Refused, match=r"^550 5\.7\.1 "):
        policy.check_null_sender("")
