"""File names: readable, and never a path."""

from __future__ import annotations

import pytest

from mailbridge.submission.letter.file_name import safe_name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("דוח שנתי.pdf", "דוח שנתי.pdf"),
        ("../../etc/passwd.pdf", "passwd.pdf"),
        ("C:\\temp\\a.pdf", "a.pdf"),
        ("a\x00b\r\n.pdf", "ab.pdf"),
        ("inv\u202efdp.exe", "invfdp.exe"),
        ("x" * 10_000 + ".pdf", "x" * 96 + ".pdf"),
        ("", "fallback"),
        (None, "fallback"),
        ("..", "fallback"),
        ("CON", "_CON"),
        ("con.pdf", "_con.pdf"),
        ('a<b>:"c"?.pdf', "a_b___c__.pdf"),
    ],
)
def test_file_names_are_readable_and_never_paths(raw: str | None, name: str) -> None:
    assert safe_name(raw, "fallback") == name
