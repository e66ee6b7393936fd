"""Times, numbers and amounts as MyFax prints them, also when Israel's clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from mailbridge.myfax.values import currency, e164, moment, money, wall_clock

ISRAEL = ZoneInfo("Asia/Jerusalem")


@pytest.mark.parametrize(
    ("printed", "utc"),
    [
        ("2020-12-21 14:19:42.0", "2020-12-21T12:19:42"),
        ("2020-07-21 14:19:42", "2020-07-21T11:19:42"),
        ("2020-07-21T14:19:42+00:00", "2020-07-21T14:19:42"),
        ("2027-01-01", "2026-12-31T22:00:00"),
        # 27 March 2026: 02:00 becomes 03:00, so 02:30 does not exist; it is read as if the clocks had not changed yet.
        ("2026-03-27 01:59:59.0", "2026-03-26T23:59:59"),
        ("2026-03-27 02:30:00.0", "2026-03-27T00:30:00"),
        ("2026-03-27 03:00:00.0", "2026-03-27T00:00:00"),
        # 25 October 2026: 02:00 becomes 01:00 again; the first of both times counts.
        ("2026-10-25 00:59:59.0", "2026-10-24T21:59:59"),
        ("2026-10-25 01:30:00.0", "2026-10-24T22:30:00"),
        ("2026-10-25 02:00:00.0", "2026-10-25T00:00:00"),
    ],
)
def test_a_printed_time_is_converted_to_utc(printed: str, utc: str) -> None:
    read = moment(printed, ISRAEL)
    assert read is not None
    assert (read.tzinfo, read.isoformat()) == (UTC, f"{utc}+00:00")


OUT_OF_REACH = ["0001-01-01 00:00:00", "0001-01-01 02:30:00.0", "9999-12-31 23:59:59.0", "9999-12-31T23:59:59Z"]


@pytest.mark.parametrize("printed", [None, "", "yesterday", "2026-13-01 00:00:00", "21/12/2020 14:19", *OUT_OF_REACH])
def test_moment_is_none_for_a_text_that_is_not_a_time(printed: str | None) -> None:
    assert moment(printed, ISRAEL) is None


@pytest.mark.parametrize(
    ("utc", "start", "end"),
    [
        ("2026-01-04T22:30:00", "2026-01-05 00:30:00", "2026-01-05 00:30:00"),
        ("2026-07-04T22:30:59", "2026-07-05 01:30:59", "2026-07-05 01:30:59"),
        ("2026-07-04T22:30:59.500000", "2026-07-05 01:30:59", "2026-07-05 01:31:00"),
        # 00:30 UTC on 27 March is 03:30: the hour before it is skipped.
        ("2026-03-27T00:30:00", "2026-03-27 03:30:00", "2026-03-27 03:30:00"),
        # The first 01:30 of 25 October, after which clocks will show 01:00 again, and the second, before which they showed 01:59.
        ("2026-10-24T22:30:00", "2026-10-25 00:30:00", "2026-10-25 01:30:00"),
        ("2026-10-24T23:30:00", "2026-10-25 01:30:00", "2026-10-25 02:30:00"),
    ],
)
def test_the_bounds_of_a_range_are_printed_in_local_time(utc: str, start: str, end: str) -> None:
    time = datetime.fromisoformat(f"{utc}+00:00")
    assert (wall_clock(time, ISRAEL, end=False), wall_clock(time, ISRAEL, end=True)) == (start, end)


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-5))])
def test_local_time_of_a_zone_without_summer_time_is_not_adjusted(zone: tzinfo) -> None:
    time = datetime(2026, 10, 24, 22, 30, tzinfo=UTC)
    assert wall_clock(time, zone, end=True) == f"{time.astimezone(zone):%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize(
    ("printed", "number"),
    [
        ("+972700000000", "+972700000000"),
        ("08-9999999", "+97289999999"),
        ("03 987 6543", "+97239876543"),
        ("(03) 987-6543", "+97239876543"),
        ("97239876543", "+97239876543"),
        ("0097239876543", "+97239876543"),
        ("077-4702961", "+972774702961"),
        (" +1 212 555 0100 ", "+12125550100"),
        *(
            (printed, None)
            for printed in (None, "", "anonymous", "100", "*2700", "+", "+9727", "03-9876543;1", "٠٣٩٨٧٦٥٤٣", "9" * 60)
        ),
    ],
)
def test_a_printed_number_is_converted_to_e164_or_none(printed: str | None, number: str | None) -> None:
    assert e164(printed) == number


def test_a_local_number_belongs_to_the_region() -> None:
    assert e164("212 555 0100", "US") == "+12125550100"
    assert e164("212 555 0100", "") is None


@pytest.mark.parametrize(
    ("printed", "amount"),
    [
        ("0.40", Decimal("0.40")),
        ("118", Decimal(118)),
        ("-3.5", Decimal("-3.5")),
        ("0.000000", Decimal("0.000000")),
        *(
            (printed, None)
            for printed in (None, "", "0,40", "1e9", "NaN", "Infinity", "0.40 GBP", "ILS", "٣", "1" * 40, "0.1234567", "1_0")
        ),
    ],
)
def test_an_amount_is_exact_and_keeps_its_printed_text(printed: str | None, amount: Decimal | None) -> None:
    read = money(printed)
    assert read == amount
    assert read is None or str(read) == printed


@pytest.mark.parametrize(
    ("printed", "amount", "code"),
    [
        ("0.40 ₪", "0.40", "ILS"),
        ("₪0.40", "0.40", "ILS"),
        ("0.40 NIS", "0.40", "ILS"),
        ("0.40 nis", "0.40", "ILS"),
        ('0.40 ש"ח', "0.40", "ILS"),
        ("ILS 12", "12", "ILS"),
        ("$1.50", "1.50", "USD"),
        ("1.50 EUR", "1.50", "EUR"),
        ("0.40", "0.40", None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_a_price_is_read_with_its_currency_where_it_is_printed(printed: str | None, amount: str | None, code: str | None) -> None:
    assert money(printed) == (amount and Decimal(amount))
    assert currency(printed) == code
