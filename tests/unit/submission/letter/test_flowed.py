"""format=flowed: lines become the paragraphs that were written (RFC 3676)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.submission.letter import body
from mailbridge.submission.letter.flowed import join_flowed
from mailbridge.submission.letter.mime import open_mail


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        (
            "שלום רב, מצורף הקובץ עם \nPDF של החשבונית, נא לאשר \nבהקדם. תודה\n",
            "שלום רב, מצורף הקובץ עם PDF של החשבונית, נא לאשר בהקדם. תודה\n",
        ),
        ("one \r\ntwo\r\nthree\r\n", "one two\nthree\n"),
        ("a\n\nb \n\nc", "a\n\nb \nc"),
        # A signature's separator ends a paragraph and is never joined, though it ends with a space.
        ("text \n-- \nDana \nCohen", "text \n-- \nDana Cohen"),
        # Quotations: only lines of one level are joined.
        ("> one \n> two\n>> deep \n> three \nmine", "> one two\n>> deep \n> three \nmine"),
        (">-- \n>a", "> -- \n> a"),
        # A space before the line is not part of it.
        (" From me \n >not quoted\n  indented", "From me >not quoted\n indented"),
        ("", ""),
    ],
)
def test_lines_become_paragraphs(text: str, joined: str) -> None:
    assert join_flowed(text, delete_space=False) == joined


def test_delsp_removes_the_space_at_the_break() -> None:
    assert join_flowed("日本 \n語 \ntext  \nend", delete_space=True) == "日本語text end"


@given(st.text(st.sampled_from("ab >-\n"), max_size=60))
def test_no_letter_is_lost_and_fixed_lines_stay(text: str) -> None:
    joined = join_flowed(text, delete_space=False)
    assert [letter for letter in joined if letter in "ab-"] == [letter for letter in text if letter in "ab-"]
    assert len(joined.split("\n")) <= len(text.split("\n"))


def test_the_text_of_a_mail_is_joined_where_it_says_so(tmp_path: Path) -> None:
    for parameters, text in (("format=flowed", "one two"), ("format=Flowed; delsp=yes", "onetwo"), ("format=fixed", "one \ntwo")):
        path = tmp_path / "a.eml"
        path.write_bytes(f"From: a@b.co\nContent-Type: text/plain; {parameters}\n\none \ntwo\n".encode())
        with open_mail(path) as mail:
            assert body.read_body(mail).texts == {0: text}
