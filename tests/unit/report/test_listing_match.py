"""Mails and items of the list of `incoming.do`: the same fax is known as the same, and two faxes stay two."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.model import ReceivedItem, new_id
from mailbridge.report.listing_match import NEAR, nearest, number, pair, twin

NOW = datetime(2026, 1, 4, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def a_receipt(at: datetime = NOW, caller: str | None = "+97289999999", called: str | None = "+97239876543") -> ReceivedItem:
    return ReceivedItem(id=new_id("fax"), account="office", kind="incoming", caller=caller, called=called, at=at, noted_at=at)


@pytest.mark.parametrize("printed", ["08-9999999", "089999999", "+97289999999", "97289999999", "0097289999999", " 08 999 9999 "])
def test_local_and_international_numbers_are_one(printed: str) -> None:
    assert number(printed, "IL") == "+97289999999"


@pytest.mark.parametrize(
    ("printed", "told"), [(None, None), ("", None), ("anonymous", None), ("חסוי", None), ("*123", "*123"), ("000", None)]
)
def test_a_caller_without_a_number(printed: str | None, told: str | None) -> None:
    assert number(printed, "IL") == told


@pytest.mark.parametrize("gap", [timedelta(), MINUTE, -MINUTE, timedelta(hours=1), -timedelta(hours=3), NEAR, -NEAR])
def test_times_without_a_zone_may_be_hours_apart(gap: timedelta) -> None:
    listed, mailed = a_receipt(), a_receipt(NOW + gap)
    assert nearest(mailed, [listed]) == listed


def test_other_numbers_and_other_days_are_other_faxes() -> None:
    mailed = a_receipt()
    others = [a_receipt(caller=caller) for caller in ("+97281111111", None)]
    others += [a_receipt(called="+97231111111"), a_receipt(NOW + NEAR + MINUTE)]
    assert nearest(mailed, others) is None
    assert nearest(a_receipt(caller=None), [a_receipt(caller=None)]) is not None
    assert nearest(a_receipt(called=None), [a_receipt()]) is not None  # a mail need not say which line it came on


@pytest.mark.parametrize(
    ("by_list", "by_mail", "one"),
    [
        ("442071234567", "+442071234567", True),  # a list that leaves the plus out
        ("00442071234567", "+44 20 7123 4567", True),
        ("03-9999999", "08-9999999", False),
        ("*2700", "03-9992700", False),
        ("2700", "03-9992700", False),
    ],
)
def test_a_number_from_abroad_without_its_plus_is_no_second_fax(by_list: str, by_mail: str, one: bool) -> None:
    listed, mailed = (a_receipt(caller=number(printed, "IL")) for printed in (by_list, by_mail))
    assert (nearest(mailed, [listed]) == listed) is one


def test_a_second_fax_of_the_same_caller_is_one_of_its_own() -> None:
    first, second = a_receipt(NOW), a_receipt(NOW + 12 * MINUTE)
    assert nearest(a_receipt(NOW + 10 * MINUTE), [first, second]) == first  # a mail is not older than its fax
    assert nearest(a_receipt(NOW + 13 * MINUTE), [first, second]) == second
    mails = [a_receipt(NOW + MINUTE), a_receipt(NOW + 13 * MINUTE)]
    assert pair([second, first], mails) == [(first, mails[0]), (second, mails[1])]


def test_a_twin_has_the_very_document() -> None:
    listed, mailed = a_receipt(), replace(a_receipt(), sha256="ab")
    assert twin(listed, [mailed], "ab") == mailed
    assert twin(listed, [mailed], "cd") is None
    assert twin(listed, [replace(mailed, sha256=None)], None) is None


moments = st.lists(st.integers(0, 1440).map(lambda minutes: NOW + minutes * MINUTE), max_size=8)


@given(moments, moments)
def test_each_belongs_to_one_and_none_is_left_that_could_be_paired(listed: list[datetime], mailed: list[datetime]) -> None:
    items, mails = [a_receipt(at) for at in listed], [a_receipt(at) for at in mailed]
    found = pair(items, mails)
    assert len({one.id for one, _ in found}) == len({other.id for _, other in found}) == len(found)
    left = [one for one in items if one not in [first for first, _ in found]]
    alone = [other for other in mails if other not in [second for _, second in found]]
    assert not any(abs(one.at - other.at) <= NEAR for one in left for other in alone)
