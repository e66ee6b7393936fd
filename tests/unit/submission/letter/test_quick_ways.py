"""What takes a shorter way through a mail comes to the same as the long way: header fields, addresses, the pages of a PDF."""

from __future__ import annotations

import email.utils
from pathlib import Path

import pypdfium2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.errors import Refused
from mailbridge.submission.letter import headers, mime_headers
from mailbridge.submission.letter.document_check import pages_of
from mailbridge.submission.letter.mime_headers import Headers, read_headers
from mailbridge.submission.letter.pictures import DAMAGED, LOCKED
from tests.unit.submission.letter.letter_fixtures import LOCK, pdf_of

CORPUS = Path(__file__).parents[3] / "corpus"
MAILS = sorted(CORPUS.rglob("*.eml"))
PIECES = [
    *("Subject:", "subject :", "X-A: b", "Content-Type: text/plain;", "boundary=x:y", "From a b", ">From a b", "From :a b", ":"),
    *(
        "\r\n",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        "\r\n ",
        "\r\n\t",
        "\r\n \r\n",
        "\r\n\r\n",
        " ",
        "\t",
        "\v",
        "a",
        ";",
        "--b",
        "שלום",
        "\xa0",
    ),
]


def found(content: bytes, is_mail: bool) -> object:
    try:
        fields, body = read_headers(content, 0, len(content), "text/plain", is_mail=is_mail)
    except Refused as refused:
        return refused.reply
    return fields._fields, body


def by_line(content: bytes, is_mail: bool) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mime_headers, "_read_well_formed", lambda *_: None)
        return found(content, is_mail)


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3).map(lambda raw: raw.decode("latin-1")))), st.booleans())
def test_header_at_once_is_the_header_by_line(pieces: list[str], is_mail: bool) -> None:
    content = "".join(pieces)
    for raw in (content.encode("utf-8", "surrogatepass"), content.encode("latin-1", "replace")):
        assert found(raw, is_mail) == by_line(raw, is_mail)


@pytest.mark.parametrize("path", MAILS, ids=lambda path: path.name)
def test_headers_of_the_corpus_are_the_same_by_line(path: Path) -> None:
    content = path.read_bytes()
    for raw in (content, content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")):
        assert found(raw, True) == by_line(raw, True)


@pytest.mark.parametrize("size", [mime_headers.MAX_HEADERS - 1, mime_headers.MAX_HEADERS, mime_headers.MAX_HEADERS + 1])
def test_header_of_the_greatest_size_is_the_same_by_line(size: int) -> None:
    raw = b"Subject: ".ljust(size - 4, b"x") + b"\r\n\r\n"
    for content in (raw, raw + b"text"):
        assert found(content, True) == by_line(content, True)


def test_well_formed_header_is_read_at_once() -> None:
    content = b'From: a@b\r\nContent-Type: multipart/mixed;\r\n\tboundary="x"\r\nSubject: =?utf-8?q?a?=\r\n b\r\n\r\nbody'
    fields = Headers("text/plain")
    assert mime_headers._read_well_formed(content, 0, len(content), fields) == content.index(b"body")
    assert (fields.get("subject"), fields.get("content-type")) == ("=?utf-8?q?a?= b", 'multipart/mixed; boundary="x"')


NAMES = st.from_regex(r"[A-Za-z_ .,\"()<>@:;\\-]{0,12}", fullmatch=True)
ADDRESSES = st.from_regex(r"[A-Za-z0-9+_.-]{1,8}@[A-Za-z0-9_.-]{1,8}", fullmatch=True)


@given(NAMES, ADDRESSES, st.sampled_from(["{name} <{address}>", "<{address}>", "{address}", " {address} ", "{name}{address}"]))
def test_address_without_a_parser_is_that_of_the_parser(name: str, address: str, form: str) -> None:
    field = form.format(name=name, address=address)
    assert headers._addresses([field]) == email.utils.getaddresses([field])


def outcome(content: bytes) -> str:
    """Return the pages of a PDF, or why it is refused."""
    try:
        return str(pages_of("a.pdf", "pdf", content))
    except Refused as refused:
        return refused.reply.partition("faxed: ")[2]


def outcome_by_class(content: bytes) -> str:
    """Return the same by pypdfium2's class, which does not open a PDF without pages."""
    # For that it shows the error of whatever failed before, so this fails first.
    pypdfium2.raw.FPDF_LoadMemDocument64(b"x", 1, None)
    try:
        return str(len(pypdfium2.PdfDocument(content)))
    except pypdfium2.PdfiumError as error:
        return LOCKED if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD else DAMAGED


@given(st.integers(0, 3), st.integers(0, 400), st.integers(0, 40), st.binary(max_size=4))
def test_pages_of_a_pdf_are_those_of_the_class(pages: int, at: int, removed: int, added: bytes) -> None:
    whole = pdf_of(pages)
    content = b"%PDF" + (whole[:at] + added + whole[at + removed :])[4:]
    assert outcome(content) == outcome_by_class(content)


@pytest.mark.parametrize(("content", "expected"), [(pdf_of(0), DAMAGED), (pdf_of(2), "2"), (pdf_of(1, LOCK), LOCKED)])
def test_pdf_without_pages_is_damaged(content: bytes, expected: str) -> None:
    assert outcome(content) == outcome_by_class(content) == expected
