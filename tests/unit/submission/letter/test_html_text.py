"""HTML becomes the text that its reader sees, in linear time whatever it is."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.submission.letter import html_tokens
from mailbridge.submission.letter.html_text import text_of_html
from tests.work_counter import calls


def lines(source: str) -> list[str]:
    return text_of_html(source).split("\n")


def test_html_becomes_its_readable_text() -> None:
    source = (
        "<head><title>t</title><style>s{}</style></head><body><p>שלום&nbsp;<b>רב</b></p><script>x()</script><div>a<br>b</div>"
    )
    assert lines(source) == ["שלום\xa0רב", "", "a", "b"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # Gmail: a line is a <div>, an empty one holds a <br>.
        ("<div>a</div><div><br></div><div>b<br></div><div>c</div>", ["a", "", "b", "c"]),
        # Outlook: a line is a <p> with no space around it, an empty one holds a space.
        ("<p class=MsoNormal>a</p>\n<p class=MsoNormal><o:p>&nbsp;</o:p></p>\n<p class=MsoNormal>b</p>", ["a", "", "b"]),
        ("<p style='margin:0'>a</p><p style='margin:0'>b</p>", ["a", "b"]),
        ("<p>a</p><p>b</p>c<h1>d</h1>e", ["a", "", "b", "", "c", "", "d", "", "e"]),
        ("a<br><br><br><br>b", ["a", "", "b"]),
        ("  a \n <b> b</b>  c ", ["a b c"]),
        ("<pre>a  b\n  c</pre>", ["a\xa0\xa0b", "\xa0\xa0c"]),
        ("1 &lt; 2 &amp;amp; &euro; &#1488;", ["1 < 2 &amp; € א"]),
    ],
)
def test_html_blocks_become_lines(source: str, expected: list[str]) -> None:
    assert lines(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<ul><li>one</li><li>two</li></ul>", ["• one", "• two"]),
        ("a<ol><li>one<li>two<br>more</ol>b", ["a", "", "1. one", "2. two", "   more", "", "b"]),
        ("<ol start=7><li><p>x</p></li><li><p>y</p></li></ol>", ["7. x", "8. y"]),
        ("<ul><li>a<ol><li>b</ol><li>c</ul>", ["• a", "   1. b", "• c"]),
        ("<ul><li></li><li>b</li></ul>", ["• b"]),
        ("<li>loose", ["• loose"]),
    ],
)
def test_lists_keep_their_markers(source: str, expected: list[str]) -> None:
    assert lines(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "<h1>Order</h1><table><tr><td>Paper A4</td><td>20</td></tr><tr><td>Toner</td><td>3</td></tr></table>end",
            ["Order", "", "Paper A4\t20", "Toner\t3", "", "end"],
        ),
        ("<table><tr><th>a<th><th>c<tr><td><td>2<td>3</table>", ["a\t \tc", " \t2\t3"]),
        ("<table><tr><td>only</table>", ["only"]),
        ("<table><tr><td> </td></tr><tr><td>a</td><td>b</td></tr></table>", ["a\tb"]),
        # A layout: what stands in a cell of several lines is no column.
        (
            "<table><tr><td><p>Dear</p><p>text</p></td><td>menu</td></tr><tr><td>a</td><td>b</td></tr></table>",
            ["Dear", "", "text", "menu", "a  b"],
        ),
        ("<table><tr><td><table><tr><td>x</td><td>y</td></tr></table></td></tr></table>", ["x\ty"]),
        (f"<table><tr><td>{'long ' * 30}</td><td>b</td></tr></table>", [("long " * 30).strip() + "  b"]),
        ("<td>loose</td><td>cells</td>", ["loose", "cells"]),
        ("<table><tr><td>never ended", ["never ended"]),
    ],
)
def test_small_tables_keep_their_columns(source: str, expected: list[str]) -> None:
    assert lines(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('<div style="display:none;max-height:0">preheader<div>x</div></div>Hello', "Hello"),
        ('<img style="display: none">Hello', "Hello"),
        ("<!-- a --><!--[if mso]>b<![endif]--><![if !mso]>c<![endif]>", "c"),
        ("<STYLE>a</Style>b<title>c</title>", "b"),
    ],
)
def test_what_a_mail_program_hides_is_not_read(source: str, expected: str) -> None:
    assert text_of_html(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b, <3", "a < b, <3"),
        ("text <a", "text <a"),
        ('<a href="x>y">z', "z"),
        ('<a title="unclosed>z</a> end', "z end"),
        ("<script>not ended", "not ended"),
        ("<!-- not ended > text", "text"),
        ('<p style="display:none">not ended', "not ended"),
        ("</p></table></ul></td>text", "text"),
    ],
)
def test_broken_html_loses_no_text(source: str, expected: str) -> None:
    assert text_of_html(source) == expected


@given(
    st.lists(
        st.sampled_from(
            [
                "<table>",
                "<tr>",
                "<td>",
                "</td>",
                "</table>",
                "<ul>",
                "<li>",
                "</ul>",
                "<p>",
                "</p>",
                "<div>",
                "<br>",
                "<pre>",
                "</pre>",
            ]
        ),
        max_size=60,
    )
)
def test_every_word_comes_out_in_its_order(tags: list[str]) -> None:
    source = "".join(f"{tag}word{number} " for number, tag in enumerate(tags))
    written = [word for word in text_of_html(source).split() if word.startswith("word")]
    assert sorted(written) == sorted(f"word{number}" for number in range(len(tags)))


def steps(job: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many functions a job calls, and how many characters its searches pass over."""
    count = 0
    find = html_tokens.Source.find

    def counting(self: html_tokens.Source, what: re.Pattern[str], start: int) -> re.Match[str] | None:
        nonlocal count
        is_known = what.pattern in self.absent
        found = find(self, what, start)
        count += 1 if is_known else (found.end() if found else len(self.content)) - start
        return found

    with monkeypatch.context() as patch:
        patch.setattr(html_tokens.Source, "find", counting)
        called = calls(job)
    return called + count


@pytest.mark.parametrize(
    "piece",
    [
        *("<a ", '<a "', '<a ="x>"', '<a b="', "<a b='x\" ", "<a =   ", '<a ="">"', "</a", "<", "&"),
        *("<!--", "<!-- >", "<script>", "<script></script", "<pre>\n", "<br>", '<p style="display:none">'),
        *("<table>", "<table><tr><td>", "<table><tr><td>x</table>", "<td>", "<ul><li>"),
    ],
)
def test_the_work_grows_with_the_length_and_not_faster(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = (piece * (length // len(piece)) for length in (2_000, 8_000))
    assert steps(lambda: text_of_html(long), monkeypatch) < 4.5 * steps(lambda: text_of_html(short), monkeypatch) + 500


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Name: <input type=text value='Dana &amp; Co'><br><input type=hidden value=z>", ["Name: Dana & Co"]),
        ("<input type=checkbox checked>yes <input type='radio'>no", ["☑ yes ☐ no"]),
        ("<select><option>one<option selected>two</select> end", ["two end"]),
        ("<select><option>one<option>two", ["one"]),
        ("<textarea>free text</textarea>", ["free text"]),
    ],
)
def test_form_shows_what_was_filled_in(source: str, expected: list[str]) -> None:
    assert lines(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Price <s>100</s> <strike>90</strike> <del>85</del> 80", "Price ~100~ ~90~ ~85~ 80"),
        ("10<sup>5</sup> m<sup>2</sup> 25<sup>th</sup> <sup>1</sup>", "10^5 m^2 25th 1"),
    ],
)
def test_what_is_struck_out_or_raised_is_not_read_as_the_rest(source: str, expected: str) -> None:
    assert lines(source) == [expected]


def test_cell_of_several_columns_keeps_the_others_in_their_places() -> None:
    table = "<table><tr><th>a<th>b<th>c<tr><td colspan=2>sum<td>3<tr><td>x<td colspan='2'>y</table>"
    assert lines(table) == ["a\tb\tc", "sum\t \t3", "x\ty"]
    assert lines("<table><tr><td>a<td>b<tr><td colspan=2><p>long<p>text</table>") == [
        "a\xa0 b".replace("\xa0", " "),
        "long",
        "",
        "text",
    ]


@pytest.mark.parametrize("attributes", ["hidden", 'hidden=""', "style='visibility: hidden'", "style='display:none'"])
def test_hidden_text_is_left_out(attributes: str) -> None:
    assert lines(f"a<p {attributes}>b</p>c") == ["ac"]


def test_word_hidden_elsewhere_hides_nothing() -> None:
    assert lines("<p title='hidden fees' class=hidden data-hidden=1>b</p>") == ["b"]
