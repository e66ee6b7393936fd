"""A spooled mail is parsed into a letter.

Which text becomes a page: a mail without documents is faxed as its text. Beside documents, `always` adds the text as a first page
and `auto` does so if the text says something that the documents do not (see `covering`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from mailbridge.errors import Refused
from mailbridge.model import EXTERNAL, Document
from mailbridge.page import text_page as page
from mailbridge.submission.letter.attachments import Attachments
from mailbridge.submission.letter.body import read_body
from mailbridge.submission.letter.cloud_files import links_to_file, only_covers_link
from mailbridge.submission.letter.covering import is_only_of_device
from mailbridge.submission.letter.derived import DerivedContent
from mailbridge.submission.letter.encoded_text import find_encoded
from mailbridge.submission.letter.headers import author_line, date_line, read_headers, recipient_line
from mailbridge.submission.letter.letter import Letter
from mailbridge.submission.letter.mime import Mail, open_mail
from mailbridge.submission.letter.mime_headers import Headers
from mailbridge.submission.letter.text import LetterText, read_texts

MAX_TEXT = 100_000  # characters that become a page
MAX_PAGES = 50  # of the text
_SHARE = 10  # one letter of so many may be unreadable
_FEW = 5  # letters
# Words in a charset that a program could not write.
_QUESTION_MARKS = re.compile(r"(?<!\S)\?{2,}(?=[ ,.:;\-\n])")
_MOST_NAMES, _MOST_OF_NAME = 3, 50  # files in a reply, and the characters of each name


def read_letter(mail: Path | int | bytes, relpath: str, page_mode: str, *, line_ends_changed: bool = False) -> Letter:
    """Read a mail, given as a path, a descriptor or its content, and return what is to be faxed. Blocking; a worker's job.

    `relpath` is where the spool has the mail, for the documents. `page_mode` is `fax.page`; the mail's own X-Mailbridge-Page
    overrides it. `line_ends_changed` says that the mail came with line ends that no mail may have. Raises Refused: 554 5.6.0 for
    a mail that cannot be read or has nothing to fax, 554 5.6.1 for a file that cannot be faxed.
    """
    with open_mail(mail) as opened:
        letter = read_headers(opened.headers)
        if letter.mail_loop or letter.auto_submitted:
            # Refused whatever it holds, so its parts are not read.
            return letter
        return _read_parts(opened, letter, relpath, letter.page_mode or page_mode, line_ends_changed=line_ends_changed)


def _read_parts(opened: Mail, letter: Letter, relpath: str, page_mode: str, *, line_ends_changed: bool) -> Letter:
    """Return the letter with its documents, one of them a page of its text where it needs one."""
    body, derived = read_body(opened), DerivedContent(relpath)
    attachments = Attachments(opened, body, relpath, derived, line_ends_changed=line_ends_changed)
    attachments.collect()
    texts = read_texts(opened, body, attachments.messages)
    if all(is_only_of_device(text.text) for text in texts):
        texts = []
    is_page_needed = not attachments.documents
    if is_page_needed:
        attachments.take_logos(has_text=bool(texts))
    documents = tuple(attachments.documents)
    text = "\n\n".join(map(str, texts))
    content_digest = _content_digest(text, documents)
    if is_page_needed and not documents and body.has_cloud_link and all(only_covers_link(text.text) for text in texts):
        raise Refused("554 5.6.0 The mail has only a link to a file on the web, not the file itself; attach the file")
    if _becomes_page(texts, page_mode, documents, is_needed=is_page_needed):
        _check_readable(text)
        attachments.passed_over += _check_letters(text)
        documents = (_text_page(text, opened.headers, letter.subject, derived), *documents)
    elif not documents:
        raise Refused(_nothing_to_fax(attachments.passed_over, has_text=bool(texts)))
    else:
        _check_readable("\n".join(text.own for text in texts))
    passed_over = tuple(attachments.passed_over)
    return replace(
        letter, documents=documents, content_digest=content_digest, derived=derived.to_bytes(), passed_over=passed_over
    )


def _content_digest(text: str, documents: tuple[Document, ...]) -> str:
    digests = [hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(), *(document.sha256 for document in documents)]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _becomes_page(texts: list[LetterText], page_mode: str, documents: tuple[Document, ...], *, is_needed: bool) -> bool:
    # MyFax faxes a document that it fetches by URL only alone.
    if not texts or page_mode == "never" or any(document.content_type == EXTERNAL for document in documents):
        return False
    if page_mode == "always" or is_needed:
        return True
    return any(text.deserves_page(is_first=number == 0) or links_to_file(text.text) for number, text in enumerate(texts))


def _nothing_to_fax(passed_over: list[str], *, has_text: bool) -> str:
    why = "its text is not to be faxed" if has_text else "it has no text"
    names = ", ".join(name[:_MOST_OF_NAME] for name in passed_over[:_MOST_NAMES])
    beside = f" ({names} cannot be faxed)" if names else ""
    return f"554 5.6.0 The mail has nothing to fax: no document is attached and {why}{beside}; attach a document, such as a PDF"


def _check_readable(text: str) -> None:
    if (what := find_encoded(text[:MAX_TEXT])) is not None:
        raise Refused(f"554 5.6.0 The mail's text holds {what}, which cannot be faxed; attach the file itself, such as a PDF")


def _check_letters(text: str) -> list[str]:
    """Return a note of letters for which the page shows boxes. Raises Refused if they are many, or the charset was wrong."""
    most = sum(map(str.isalnum, text)) // _SHARE
    lacking = page.letters_lacking(text)
    lost = text.count("\ufffd") + sum(len(found[0]) for found in _QUESTION_MARKS.finditer(text))
    if lost > max(most, _FEW):
        raise Refused("554 5.6.0 The mail's text has damaged letters; send it from another program, or attach it as PDF")
    some = "".join(sorted(lacking)[:_FEW])
    if sum(letter in lacking for letter in text) > most:
        raise Refused(f"554 5.6.0 The mail's text has letters that cannot be printed, such as {some}; attach it as PDF")
    return [f"letters that cannot be printed: {some}"] if lacking else []


def _text_page(text: str, headers: Headers, subject: str, derived: DerivedContent) -> Document:
    if len(text) > MAX_TEXT:
        raise Refused(f"554 5.6.0 The mail's text is longer than {MAX_TEXT} characters; attach it as a document")
    head = subject, author_line(headers), date_line(headers), recipient_line(headers)
    try:
        content, pages = page.render(text, *head, most_pages=MAX_PAGES)
    except page.TooManyPages:
        raise Refused(f"554 5.6.0 The mail's text is longer than {MAX_PAGES} pages; attach it as a document") from None
    return derived.add("page.pdf", "application/pdf", content, pages)
