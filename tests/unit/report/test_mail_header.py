"""Header fields as text."""

from __future__ import annotations

import pytest

from mailbridge.report.mail_header import decode


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("=?utf-8?B?16nXnNeV150=?=", "שלום"),
        ("=?windows-1255?Q?=F9=EC=E5=ED?= invoice", "שלום invoice"),
        ("=?no-such-charset?Q?abc?=", "abc"),
        ("=?utf-8?B?!!!?=", "=?utf-8?B?!!!?="),
        ("two\r\n lines", "two lines"),
        ("", ""),
    ],
)
def test_a_header_value_becomes_text(raw: str, text: str) -> None:
    assert decode(raw) == text
