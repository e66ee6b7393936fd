"""The kind under which a file is faxed, by its content, its name and its type; a file that cannot be faxed is refused by name."""

from __future__ import annotations

from typing import Final

from mailbridge.submission.letter.document_types import CONVERTED, TYPES, declared_kind, says_nothing
from mailbridge.submission.letter.pictures import LOCKED, refusal

_TEXTS: Final = ("txt", "html")
_BINARY: Final = (*(kind for kind in TYPES if kind not in _TEXTS), *CONVERTED)
_ONLY: Final = "only PDF, TIFF, JPEG, PNG, Word, Excel, ODT, text and HTML can be; save it as PDF"
# Kinds of content that are known and cannot be faxed.
_REASONS: Final = {
    "locked": LOCKED,
    "encrypted": "it is encrypted (PGP); send it without encryption",
    "rtf": "it is Rich Text (RTF); save it as PDF",
    "presentation": "it is a PowerPoint presentation; save it as PDF",
    "message": "it is a mail that Outlook saved; forward that mail, or attach its files",
    "postscript": "it is PostScript; save it as PDF",
    "binhex": "it is packed with BinHex; attach the file itself",
    "applesingle": "a Mac packed it (AppleSingle); attach the file itself",
    "tnef": "Outlook packed it several times over; attach the file itself",
}
_ARCHIVES: Final = (".zip", ".rar", ".7z", ".gz", ".tgz", ".tar", ".bz2", ".xz")


def is_binary(kind: str | None) -> bool:
    """Return whether files of a kind have bytes that a change of line ends damages."""
    return kind not in (*_TEXTS, "rtf", "postscript", "binhex", "encrypted")


def kind_to_fax(name: str, content_type: str, content: bytes | memoryview, kind: str | None) -> str:
    """Return the kind under which a file is faxed; `kind` is that of its content.

    A document under the name of another kind is faxed as what it is. Text is believed to be a document only if name and type say
    so or say nothing: source code and damaged files are text too. Raises Refused (554 5.6.1).
    """
    declared = declared_kind(name, content_type)
    if kind in _BINARY:
        return kind
    if kind in _REASONS:
        raise refusal(name, _REASONS[kind])
    if not len(content):
        raise refusal(name, "it is empty; attach the file again")
    if name.lower().endswith(_ARCHIVES) or (kind == "archive" and (declared is not None or says_nothing(name, content_type))):
        raise refusal(name, "it is an archive (such as ZIP); attach the files that are in it")
    if kind in _TEXTS and declared in _TEXTS:
        return declared if kind == "txt" else kind
    if declared is not None and kind in _TEXTS:
        raise refusal(name, f"its content is {kind.upper()}, not {declared.upper()}; save it as PDF")
    if declared is not None:
        raise refusal(name, f"its content is not {declared.upper()}, or is damaged; save it as PDF")
    if kind in _TEXTS and says_nothing(name, content_type):
        return kind
    raise refusal(name, _ONLY)
