"""A spooled mail is parsed into a letter.

Which text becomes a page: a mail without documents is faxed as its text. Beside documents, `always` adds the text as a first page
and `auto` does so if the text says something that the documents do not (see `covering`).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from mailbridge.errors import Refused
from mailbridge.model import EXTERNAL, Document
from mailbridge.submission import body, page
from mailbridge.submission.attachments import find_documents
from mailbridge.submission.covering import deserves_page
from mailbridge.submission.derived import DerivedContent
from mailbridge.submission.letter import Letter
from mailbridge.submission.letter_headers import read_headers
from mailbridge.submission.mime import open_mail
from mailbridge.submission.mime_headers import Headers
from mailbridge.submission.mime_parameters import decode_words

MAX_TEXT = 100_000  # characters that become a page


def read_letter(spool_root: Path, relpath: str, page_mode: str) -> Letter:
    """Read the spooled mail at `relpath` and return what is to be faxed. Blocking; hostile mail is read in a worker only.

    `page_mode` is `fax.page`; the mail's own X-Mailbridge-Page overrides it. Raises Refused: 554 5.6.0 for a mail that cannot be
    read or has nothing to fax, 554 5.6.1 for a file that cannot be faxed.
    """
    with open_mail(spool_root / relpath) as mail:
        letter = read_headers(mail.headers)
        if letter.mail_loop or letter.auto_submitted:
            # Refused whatever it holds, so its parts are not read.
            return letter
        text, shown = body.read(mail)
        documents = tuple(find_documents(mail, relpath, shown))
        content_digest = _content_digest(text, documents)
        derived = DerivedContent(relpath)
        if _becomes_page(text, letter.page_mode or page_mode, documents):
            documents = (_text_page(text, mail.headers, letter.subject, derived), *documents)
        elif not documents:
            why = "its text is not to be faxed" if text.strip() else "it has no text"
            raise Refused(f"554 5.6.0 The mail has nothing to fax: no document is attached and {why}")
        return replace(letter, documents=documents, content_digest=content_digest, derived=derived.to_bytes())


def _content_digest(text: str, documents: tuple[Document, ...]) -> str:
    digests = [hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(), *(document.sha256 for document in documents)]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _becomes_page(text: str, page_mode: str, documents: tuple[Document, ...]) -> bool:
    # MyFax faxes a document that it fetches by URL only alone.
    if not text.strip() or page_mode == "never" or any(document.content_type == EXTERNAL for document in documents):
        return False
    return page_mode == "always" or not documents or deserves_page(text)


def _text_page(text: str, headers: Headers, subject: str, derived: DerivedContent) -> Document:
    if len(text) > MAX_TEXT:
        raise Refused(f"554 5.6.0 The mail's text is longer than {MAX_TEXT} characters; attach it as a document")
    sender, date = (decode_words(str(headers.get(name, ""))) for name in ("From", "Date"))
    content, pages = page.render(text, subject, sender, date)
    return derived.add("page.pdf", "application/pdf", content, pages)
