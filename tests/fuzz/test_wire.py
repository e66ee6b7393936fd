"""Whatever MyFax answers, reading it raises nothing but Unreadable, takes no time to speak of, and never mends what is cut."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.myfax import wire
from mailbridge.myfax.wire import Unreadable

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
READERS: list[Callable[[bytes], object]] = [
    wire.read_upload,
    wire.read_status,
    wire.read_register,
    wire.read_release,
    partial(wire.read_incoming, zone=ZoneInfo("Asia/Jerusalem")),
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


@settings(max_examples=400, deadline=None)
@given(mutated() | st.binary(max_size=300), st.sampled_from(READERS))
def test_only_our_own_error_is_raised(body: bytes, read: Callable[[bytes], object]) -> None:
    with contextlib.suppress(Unreadable):
        read(body)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_a_cut_answer_is_never_read_as_whole(body: bytes, data: st.DataObject) -> None:
    # Blanks and a UTF-16 code unit at the end are the only bytes that may be missing without loss.
    cut = body[: data.draw(st.integers(0, len(body) - 2))]
    with pytest.raises(Unreadable):
        wire.read_upload(cut)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(PIECES), st.sampled_from(SEEDS), st.integers(0, 60))
def test_repetition_costs_no_time(piece: bytes, seed: bytes, place: int) -> None:
    body = seed[:place] + piece * (200_000 // len(piece)) + seed[place:]
    begun = time.process_time()
    with contextlib.suppress(Unreadable):
        wire.read_upload(body)
    assert time.process_time() - begun < 1.0
