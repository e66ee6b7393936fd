"""A mail's text: when it becomes a page, and a mail with nothing to fax."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.unit.submission.letter.letter_fixtures import PDF, mail, read, refused

LONG = "Dear sirs,\nplease find the contract.\nCall me on Sunday.\n"


@pytest.mark.parametrize(
    ("mode", "text", "becomes_page"),
    [
        ("auto", "see attached", False),
        ("auto", "see attached\n-- \nDana\nLaw office\n03-9876543\n", False),
        ("auto", "see\n> one\n> two\n> three\n", False),
        ("auto", LONG, True),
        ("auto", "word " * 50, True),
        ("never", LONG, False),
        ("always", "see attached", True),
        ("always", "", False),
    ],
)
def test_text_beside_a_document_becomes_a_page_by_mode_and_content(
    tmp_path: Path, mode: str, text: str, becomes_page: bool
) -> None:
    message = mail(text, ("a.pdf", "application/pdf", PDF))
    for _ in range(2):
        letter = read(tmp_path, message, mode)
        assert [document.name for document in letter.documents] == [*(["page.pdf"] if becomes_page else []), "a.pdf"]
        message["X-Mailbridge-Page"], mode = mode, "auto"


def test_text_alone_is_a_page_and_nothing_at_all_is_refused(tmp_path: Path) -> None:
    letter = read(tmp_path, mail("שלום"))
    (page,) = letter.documents
    assert (page.path, page.pages, letter.derived[:5]) == ("mail/m.derived", 1, b"%PDF-")
    assert (page.size, page.sha256) == (len(letter.derived), hashlib.sha256(letter.derived).hexdigest())
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["m.eml"]
    assert refused(tmp_path, mail("  \n")).startswith("554 5.6.0 The mail has nothing to fax")
    reply = refused(tmp_path, mail("hello", **{"X-Mailbridge-Page": "never"}))
    assert reply.endswith("its text is not to be faxed; attach a document, such as a PDF")


def test_attack_5_a_text_of_more_than_fifty_pages_is_refused_with_what_to_do(tmp_path: Path) -> None:
    letter = read(tmp_path, mail("a\n" * 2_000))
    assert letter.documents[0].pages == 47
    assert refused(tmp_path, mail("a\n" * 2_300)) == "554 5.6.0 The mail's text is longer than 50 pages; attach it as a document"
