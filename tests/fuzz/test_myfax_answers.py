"""Fuzzing the answers: reading one raises only Unreadable, is quick, and never completes a truncated one."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mailbridge.myfax import answers, values, xml_parser
from mailbridge.myfax.xml_parser import Unreadable
from tests.work_counter import hang_guard

ISRAEL = ZoneInfo("Asia/Jerusalem")
SPACED = """<?xml version="1.0" encoding="UTF-8"?>
<RESPONSE>
  <RESPONSE_CODE> 0 </RESPONSE_CODE>
  <RESPONSE_TEXT> הפקס התקבל </RESPONSE_TEXT>
  <FAX_CODE> 3cf6c2ae-7b76-4f2e</ FAX_CODE >
  <FAX_STATUS> 9</ FAX_STATUS >
  <FINAL_STATUS>true</FINAL_STATUS>
  < PRICE>0.40 </ PRICE>
  <CREDIT_LEFT>118</CREDIT_LEFT>
</RESPONSE>"""
LIST = """<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><RESPONSE_TEXT>OK</RESPONSE_TEXT><LIST><ITEM><ID>000000-7b76-0000</ID>
<TIME>2020-12-21 14:19:42.0</TIME><DID>+972700000000</DID><SOURCE>08-9999999</SOURCE><URL>https://x/</URL></ITEM></LIST>
<PAGES>2</PAGES><NEXT_PAGE>1</NEXT_PAGE></RESPONSE>"""
REFUSED = "<RESPONSE><RESPONSE_CODE> -5 </RESPONSE_CODE><RESPONSE_TEXT>שגיאה</RESPONSE_TEXT></RESPONSE>"
SEEDS = [text.encode(encoding) for text in (SPACED, LIST, REFUSED) for encoding in ("utf-8", "windows-1255", "utf-16")]
PIECES = [
    *(b"<", b">", b"</", b"/>", b" ", b"&", b"&#0;", b"&lt;", b"<!DOCTYPE a>", b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?xml"),
    *(b"<FAX_CODE>x</FAX_CODE>", b"<RESPONSE>", b"</RESPONSE>", b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"encoding='rot13'", b"-"),
    *(b"9" * 30, b"<ITEM>", b"< A" * 50, b"<A>" * 50),
]
Reader = Callable[[bytes], object]
READERS: list[Reader] = [
    answers.read_upload,
    answers.read_status,
    answers.read_register,
    answers.read_release,
    partial(answers.read_incoming, zone=ISRAEL),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    body = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 6))):
        place, cut = draw(st.integers(0, len(body))), draw(st.integers(0, 20))
        body = (
            body[:place] + draw(st.sampled_from(PIECES) | st.binary(max_size=8)) * draw(st.integers(1, 3)) + body[place + cut :]
        )
    return body


@settings(max_examples=400)
@given(mutated() | st.binary(max_size=300), st.sampled_from(READERS))
def test_a_mutated_answer_raises_only_unreadable(body: bytes, read: Callable[[bytes], object]) -> None:
    with contextlib.suppress(Unreadable):
        read(body)


@settings(max_examples=300)
@given(st.sampled_from(SEEDS), st.data())
def test_a_truncated_upload_answer_is_unreadable(body: bytes, data: st.DataObject) -> None:
    # Blanks and a UTF-16 code unit at the end are the only bytes that may be missing without loss.
    cut = body[: data.draw(st.integers(0, len(body) - 2))]
    with pytest.raises(Unreadable):
        answers.read_upload(cut)


WHOLE_READ = [(body, read, read(body)) for body in SEEDS for read in READERS]


@settings(max_examples=300)
@given(st.sampled_from(WHOLE_READ), st.data())
def test_a_truncated_answer_is_unreadable_to_every_reader(whole: tuple[bytes, Reader, object], data: st.DataObject) -> None:
    body, read, _ = whole
    with pytest.raises(Unreadable):
        read(body[: data.draw(st.integers(0, len(body) - 2))])


BLANKS = st.text(" \t\r\n", max_size=4)


@settings(max_examples=300)
@given(st.sampled_from(WHOLE_READ), st.data())
def test_blanks_in_tags_and_before_the_answer_change_nothing(whole: tuple[bytes, Reader, object], data: st.DataObject) -> None:
    body, read, result = whole
    encoding = "utf-16" if body[:2] == b"\xff\xfe" else "utf-8" if b"\xd7" in body or body.isascii() else "windows-1255"
    text = body.decode(encoding)
    declaration, _, rest = text.rpartition("?>")
    pieces = re.split(r"(<\s*/?\s*\w+\s*>)", rest)
    for place in range(1, len(pieces), 2):
        slash, name = re.findall(r"<\s*(/?)\s*(\w+)", pieces[place])[0]
        pieces[place] = f"<{data.draw(BLANKS)}{slash}{data.draw(BLANKS)}{name}{data.draw(BLANKS)}>"
    before = data.draw(st.sampled_from(["", "\ufeff"]) if encoding == "utf-8" else st.just("")) + data.draw(BLANKS)
    again = (before + declaration + ("?>" if declaration else "") + "".join(pieces)).encode(encoding)
    assert read(again) == result


@settings(max_examples=300)
@given(st.text(max_size=40) | st.from_regex(r"[0-9+:. TZ-]{0,30}", fullmatch=True), st.sampled_from(["IL", "US", "", "XX"]))
def test_a_printed_value_is_read_or_none(printed: str, region: str) -> None:
    read = values.moment(printed, ISRAEL)
    assert read is None or read.tzinfo is UTC
    number = values.e164(printed, region)
    assert number is None or re.fullmatch(r"\+[0-9]{4,17}", number)
    amount = values.money(printed)
    assert amount is None or amount == Decimal(printed)


@settings(max_examples=200)
@given(st.decimals(min_value=-(10**9), max_value=10**9, places=2))
def test_an_amount_keeps_its_printed_text(amount: Decimal) -> None:
    assert str(values.money(f"{amount:f}")) == f"{amount:f}"


@settings(max_examples=300)
@given(
    st.datetimes(datetime(1950, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.timedeltas(timedelta(), timedelta(hours=30)),
    st.floats(0, 1),
)
def test_a_time_in_a_range_is_between_its_wall_clock_bounds(start: datetime, length: timedelta, share: float) -> None:
    moment = (start + length * share).replace(microsecond=0)
    assume(start <= moment)
    printed = f"{moment.astimezone(ISRAEL):%Y-%m-%d %H:%M:%S}"
    first, last = (values.wall_clock(one, ISRAEL, end=one is not start) for one in (start, start + length))
    assert first <= printed <= last


@settings(max_examples=40)
@given(st.sampled_from(PIECES), st.sampled_from(SEEDS), st.integers(0, 60))
def test_a_repetitive_answer_is_read_in_proportion_to_its_length(piece: bytes, seed: bytes, place: int) -> None:
    body = seed[:place] + piece * (600_000 // len(piece)) + seed[place:]
    with hang_guard(20), patch.object(xml_parser, "MAX_ANSWER", len(body)), contextlib.suppress(Unreadable):
        answers.read_upload(body)
