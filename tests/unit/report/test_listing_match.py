"""Mails and items of the list of `incoming.do`: the same fax is known as the same, and two faxes stay two."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.model import ReceivedItem, new_id
from mailbridge.report.listing_match import MAX_GAP, canonical_number, closest_listed, same_faxes, with_same_document

NOW = datetime(2026, 1, 4, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def a_receipt(at: datetime = NOW, caller: str | None = "+97289999999", called: str | None = "+97239876543") -> ReceivedItem:
    return ReceivedItem(id=new_id("fax"), account="office", kind="incoming", caller=caller, called=called, at=at, noted_at=at)


@pytest.mark.parametrize("printed", ["08-9999999", "089999999", "+97289999999", "97289999999", "0097289999999", " 08 999 9999 "])
def test_local_and_international_spellings_are_one_number(printed: str) -> None:
    assert canonical_number(printed, "IL") == "+97289999999"


@pytest.mark.parametrize(
    ("printed", "caller"), [(None, None), ("", None), ("anonymous", None), ("חסוי", None), ("*123", "*123"), ("000", None)]
)
def test_a_caller_without_a_number_is_none_or_as_printed(printed: str | None, caller: str | None) -> None:
    assert canonical_number(printed, "IL") == caller


@pytest.mark.parametrize("gap", [timedelta(), MINUTE, -MINUTE, timedelta(hours=1), -timedelta(hours=3), MAX_GAP, -MAX_GAP])
def test_a_mail_and_an_item_hours_apart_are_one_fax(gap: timedelta) -> None:
    listed, mailed = a_receipt(), a_receipt(NOW + gap)
    assert closest_listed(mailed, [listed]) == listed


def test_other_numbers_and_other_days_are_other_faxes() -> None:
    mailed = a_receipt()
    others = [a_receipt(caller=caller) for caller in ("+97281111111", None)]
    others += [a_receipt(called="+97231111111"), a_receipt(NOW + MAX_GAP + MINUTE)]
    assert closest_listed(mailed, others) is None
    assert closest_listed(a_receipt(caller=None), [a_receipt(caller=None)]) is not None
    assert closest_listed(a_receipt(called=None), [a_receipt()]) is not None  # a mail need not say which line it came on


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
def test_a_foreign_number_without_its_plus_is_not_a_second_fax(by_list: str, by_mail: str, one: bool) -> None:
    listed, mailed = (a_receipt(caller=canonical_number(printed, "IL")) for printed in (by_list, by_mail))
    assert (closest_listed(mailed, [listed]) == listed) is one


def test_two_faxes_of_one_caller_stay_two() -> None:
    first, second = a_receipt(NOW), a_receipt(NOW + 12 * MINUTE)
    assert closest_listed(a_receipt(NOW + 10 * MINUTE), [first, second]) == first  # a mail is not older than its fax
    assert closest_listed(a_receipt(NOW + 13 * MINUTE), [first, second]) == second
    mails = [a_receipt(NOW + MINUTE), a_receipt(NOW + 13 * MINUTE)]
    assert same_faxes([second, first], mails) == [(first, mails[0]), (second, mails[1])]


def test_only_a_mail_with_the_same_document_is_found() -> None:
    listed, mailed = a_receipt(), replace(a_receipt(), sha256="ab")
    assert with_same_document(listed, [mailed], "ab") == mailed
    assert with_same_document(listed, [mailed], "cd") is None
    assert with_same_document(listed, [replace(mailed, sha256=None)], None) is None


moments = st.lists(st.integers(0, 1440).map(lambda minutes: NOW + minutes * MINUTE), max_size=8)


@given(moments, moments)
def test_each_is_in_one_pair_and_none_that_fits_is_left_over(listed: list[datetime], mailed: list[datetime]) -> None:
    items, mails = [a_receipt(at) for at in listed], [a_receipt(at) for at in mailed]
    found = same_faxes(items, mails)
    assert len({one.id for one, _ in found}) == len({other.id for _, other in found}) == len(found)
    left = [one for one in items if one not in [first for first, _ in found]]
    alone = [other for other in mails if other not in [second for _, second in found]]
    assert not any(abs(one.at - other.at) <= MAX_GAP for one in left for other in alone)
