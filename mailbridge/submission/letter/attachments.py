"""The attachments of a mail: which of its files are faxed, in which order, and which are passed over.

Nothing is left out silently: a file is faxed, or it is a known companion of mail and named, or the whole mail is refused, because
nobody notices what is missing in a fax.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from urllib.parse import unquote

from mailbridge.errors import Refused
from mailbridge.model import Document
from mailbridge.submission.letter import tnef
from mailbridge.submission.letter.body import CID_URL, MAX_CONTENT, Body
from mailbridge.submission.letter.charsets import decode_text
from mailbridge.submission.letter.companions import AttachedFile, accompanies, is_larger_than_logo, is_logo
from mailbridge.submission.letter.content_kind import kind_of_content
from mailbridge.submission.letter.derived import DerivedContent
from mailbridge.submission.letter.document_check import pages_of
from mailbridge.submission.letter.document_kind import is_binary, kind_to_fax
from mailbridge.submission.letter.document_types import CONVERTED, TYPES, declared_kind, name_of_kind
from mailbridge.submission.letter.encoded_text import find_encoded, is_base64
from mailbridge.submission.letter.external_document import external_document
from mailbridge.submission.letter.file_name import safe_name
from mailbridge.submission.letter.mime import Mail
from mailbridge.submission.letter.mime_part import Part
from mailbridge.submission.letter.pictures import image_size, refusal, to_png
from mailbridge.submission.letter.wrappers import check_wrapper

_TNEF_TYPES = ("application/ms-tnef", "application/vnd.ms-tnef")
_TRACKING_PIXELS = 50
MAX_FILES = 100  # of a mail, those that are packed in others included
MAX_PIXELS = 200_000_000  # of all pictures that are converted: some 16 photographs of a phone, which take 12 s
_MAX_TEXT = 2_000_000  # bytes of a text that are looked at


class Attachments:
    """Collects the documents of the mail at `relpath`; what is not a stretch of it goes to `derived`.

    `passed_over` names the files that are not faxed. `messages` are those of winmail.dat, by the number of their mail.
    `line_ends_changed` says that bytes of the mail were changed on its way here.
    """

    def __init__(self, mail: Mail, body: Body, relpath: str, derived: DerivedContent, *, line_ends_changed: bool) -> None:
        self._mail, self._body, self._relpath, self._derived = mail, body, relpath, derived
        self._line_ends_changed = line_ends_changed
        self._logos: list[AttachedFile] = []
        self._branches: dict[str, list[dict[int, int]]] = {}
        self._files = self._pixels = 0
        self.documents: list[Document] = []
        self.passed_over: list[str] = []
        self.messages: list[tuple[int, tnef.Message]] = []

    def collect(self) -> None:
        """Look at every part that is not text. Raises Refused, with 554 5.6.1 naming the file that cannot be faxed."""
        for part in self._mail.parts:
            if part.url is None:
                check_wrapper(part)
        if any(part.url is not None for part in self._mail.parts):
            others = [part for number, part in enumerate(self._mail.parts) if number not in self._body.parts]
            self.documents.append(external_document(others, self._relpath))
            return
        for number, part in enumerate(self._mail.parts):
            if number not in self._body.parts:
                self._take(self._file_of(part, number + 1))
            for packed in self._body.packed.get(number, ()):
                kind = kind_of_content(packed.content)
                self._take(
                    AttachedFile(
                        name=safe_name(packed.name, f"document-{number + 1}"),
                        content_type=packed.content_type,
                        content=packed.content,
                        kind=kind,
                        part=part,
                        is_part=False,
                        is_shown=bool(packed.content_type),
                        is_attached=not packed.content_type,
                    )
                )

    def take_logos(self, *, has_text: bool) -> None:
        """Fax the small pictures too, since the mail has no document; beside a text only those that are larger than a logo."""
        for file in self._logos:
            size = image_size(file.content)
            if size is None or min(size) < _TRACKING_PIXELS:
                continue
            if not has_text or (is_larger_than_logo(file) and file.part.cid not in self._body.in_signature):
                self.passed_over.remove(file.name)
                self._fax(file)

    def _file_of(self, part: Part, number: int) -> AttachedFile:
        content = self._mail.content(part, MAX_CONTENT)
        name = safe_name(part.filename, f"document-{number}")
        # Gmail and Exchange give attachments a Content-ID too; HTML text would show a logo by its Content-ID.
        marked = part.disposition == "attachment" and (part.cid is None or self._body.has_html)
        named = part.filename is not None and part.disposition is None and part.cid is None and not part.related
        declared = declared_kind(name, part.content_type)
        kind = kind_of_content(content, declared)
        if kind == "txt" and part.encoding == "identity" and declared not in (None, "txt", "html") and is_base64(content):
            part = replace(part, encoding="base64")
            content = self._mail.content(part, MAX_CONTENT)
            kind = kind_of_content(content, declared)
        return AttachedFile(
            name=name,
            content_type=part.content_type,
            content=content,
            kind=kind,
            part=part,
            is_shown=part.cid in self._body.shown,
            is_in_letter=part.cid in self._body.in_letter,
            is_in_signature=part.cid in self._body.in_signature,
            is_attached=marked or named or len(self._mail.parts) == 1,
        )

    def _take(self, file: AttachedFile, depth: int = 0) -> None:
        self._files += 1
        if self._files > MAX_FILES:
            raise Refused(f"554 5.6.0 The mail has more than {MAX_FILES} files; send some of them in another mail")
        if depth == 0 and (file.kind == "tnef" or file.content_type in _TNEF_TYPES or file.name.lower() == "winmail.dat"):
            self._check_bytes(file)
            self._take_tnef(file)
        elif accompanies(file) or self._is_rendering(file):
            self.passed_over.append(file.name)
        elif is_logo(file):
            self.passed_over.append(file.name)
            self._logos.append(file)
        else:
            self._fax(file)

    def _take_tnef(self, file: AttachedFile) -> None:
        try:
            message = tnef.read(file.content)
        except tnef.Malformed as error:
            reason = f"{error}; send the mail as HTML or plain text, not as Rich Text"
            raise refusal(file.name, reason) from None
        self.messages.append((file.part.mail, message))
        shown = {unquote(cid) for cid in CID_URL.findall(message.html)}
        for number, attached in enumerate(message.attachments, 1):
            name = safe_name(attached.name, f"document-{number}")
            if attached.is_object or attached.content is None:
                raise refusal(name, "Outlook embedded it in the text, or only linked it; attach it as a file")
            is_shown = attached.is_hidden or attached.cid in shown
            self._take(
                AttachedFile(
                    name=name,
                    content_type=attached.content_type or "application/octet-stream",
                    content=attached.content,
                    kind=kind_of_content(attached.content, declared_kind(name, attached.content_type)),
                    part=file.part,
                    is_part=False,
                    is_shown=is_shown,
                    is_attached=not is_shown,
                ),
                depth=1,
            )
        if not message.attachments:
            self.passed_over.append(file.name)

    def _is_rendering(self, file: AttachedFile) -> bool:
        """Return whether a part is the mail's text once more, in a format such as RTF (RFC 2046 section 5.1.4)."""
        is_text = file.kind == "rtf" or (file.kind in ("txt", "html", None) and file.part.disposition != "attachment")
        return file.is_part and file.part.alternative and is_text and bool(self._body.texts.get(file.part.mail, "").strip())

    def _fax(self, file: AttachedFile) -> None:
        self._check_bytes(file)
        kind = kind_to_fax(file.name, file.content_type, file.content, file.kind)
        if kind in ("txt", "html"):
            _check_text(file)
        name, content = name_of_kind(file.name, "png" if kind in CONVERTED else kind), file.content
        if kind in CONVERTED:
            width, height = image_size(content) or (0, 0)
            self._pixels += width * height
            if self._pixels > MAX_PIXELS:
                raise refusal(file.name, "the pictures up to it are too large together; send them as JPEG or PDF")
            kind, content = "png", to_png(file.name, kind, content)
        digest = hashlib.sha256(content).hexdigest()
        if self._is_in_other_branch(digest, file.part):
            return
        pages = pages_of(file.name, kind, content)
        if content is not file.content or not file.is_part or file.part.source != 0:
            self.documents.append(self._derived.add(name, TYPES[kind], content, pages))
            return
        self.documents.append(
            Document(
                name=name,
                content_type=TYPES[kind],
                size=len(content),
                sha256=digest,
                path=self._relpath,
                offset=file.part.offset,
                length=file.part.length,
                encoding=file.part.encoding,
                pages=pages,
            )
        )

    def _check_bytes(self, file: AttachedFile) -> None:
        if self._line_ends_changed and file.part.encoding == "identity" and file.is_part and is_binary(file.kind):
            raise Refused(
                f"554 5.6.0 The mail has raw bytes in {file.name}, which were damaged on the way; let the program send base64"
            )

    def _is_in_other_branch(self, digest: str, part: Part) -> bool:
        """Return whether another rendering of the same text brought the same document."""
        branches = dict(part.alternatives)
        earlier = self._branches.setdefault(digest, [])
        is_again = any(branches[group] != branch for other in earlier for group, branch in other.items() if group in branches)
        earlier.append(branches)
        return is_again


def _check_text(file: AttachedFile) -> None:
    text = decode_text(bytes(file.content[:_MAX_TEXT]), file.part.charset)
    if (what := find_encoded(text.replace("\r\n", "\n"))) is not None:
        raise refusal(file.name, f"it holds {what}; attach the file itself")
