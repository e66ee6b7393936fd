"""Pages of a list, by the last id of the page before."""

from __future__ import annotations

import pytest

from mailbridge.console.paging import page_of, read_before


def test_a_page_names_the_id_below_which_the_next_one_begins() -> None:
    ids = [f"fax_{number:026d}" for number in range(9, 0, -1)]
    first = page_of(ids[:4], str, 3)
    assert (first.rows, first.older) == (tuple(ids[:3]), ids[2])
    assert page_of(ids[:3], str, 3).older is None
    assert page_of([], str, 3) == page_of((), str, 3)


@pytest.mark.parametrize("given", ["", None, "x", "fax_1", "fax_01KE3Y0000000000000000000'", "fax_01ke3y00000000000000000000"])
def test_an_address_that_makes_no_sense_is_the_first_page(given: str | None) -> None:
    assert read_before(given) is None


def test_an_id_is_read() -> None:
    assert read_before("fax_01KE3Y00000000000000000000") == "fax_01KE3Y00000000000000000000"
