"""The text of a mail: which parts are its text, what they say, and the files that are written into them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from mailbridge.errors import Refused
from mailbridge.page.text_page import clean
from mailbridge.submission.letter import uuencode
from mailbridge.submission.letter.charsets import decode_text, join_cut_lines
from mailbridge.submission.letter.cloud_files import has_link
from mailbridge.submission.letter.content_kind import kind_of_content
from mailbridge.submission.letter.enriched import enriched_to_html
from mailbridge.submission.letter.flowed import join_flowed
from mailbridge.submission.letter.html_text import text_with_marks, without_marks
from mailbridge.submission.letter.mime import Mail
from mailbridge.submission.letter.mime_part import Part
from mailbridge.submission.letter.picture_places import places_of_pictures

MAX_CONTENT = 64_000_000  # bytes of one decoded part
_MAX_TEXT = 2_000_000  # bytes of one part of the text, without the files in it
# Kinds of content that are text of a mail: what cannot be read is refused as such.
_TEXT_KINDS = ("txt", "html", "encrypted", "binhex", None)
_READABLE = ("text/plain", "text/html", "text/enriched", "text/richtext", "text/markdown")
CID_URL = re.compile(r"""cid:([^"'\s>)]+)""", re.IGNORECASE)
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset=["']?([\w.:-]{1,40})""", re.IGNORECASE)
_DATA_URI = re.compile(rb"data:(image/[a-z0-9.+-]{1,30}|application/pdf);base64,([A-Za-z0-9+/=\s]+)", re.IGNORECASE)
# What mail programs write for a picture in the plain text.
_PICTURE = re.compile(
    r"\[(?:cid|image|תמונה):[^\]\n]{0,200}\]|^[ \t]*(?:\[[^\[\]\n]{1,100}\.%s\]|<[^<>\n]{1,100}\.%s>)[ \t]*$"
    % ((r"(?:jpe?g|png|gif|bmp|heic|pdf)",) * 2),
    re.IGNORECASE | re.MULTILINE,
)
# Relays write `>From` for a line that begins with `From`, which separates the mails of an mbox.
_FROM = re.compile(r"^>From ", re.MULTILINE)
_NO_HTML = re.compile(
    r"(?:html|rich.?text).{0,80}(?:mail|e-?mail|program|client|reader|viewer|version|support|format|view)"
    r"|(?:mail|e-?mail|program|client|reader|viewer|support).{0,80}html|view (?:this|it) .{0,30}browser",
    re.IGNORECASE | re.DOTALL,
)
_SIGNED_BY_PGP, _SIGNATURE, _END_OF_SIGNATURE = (
    f"-----{mark}-----" for mark in ("BEGIN PGP SIGNED MESSAGE", "BEGIN PGP SIGNATURE", "END PGP SIGNATURE")
)
_WORD = re.compile(r"\w\w+")
_MAX_PICTURES, _LEAST_PICTURE = 100, 200  # pictures in HTML; the characters that one has at least
_MOST_MISSING_WORDS = 6  # of HTML, in the plain text beside it
_MOST_OF_NOTE = 400  # characters of a note that only says where the real text is


@dataclass(slots=True)
class Packed:
    """A file that was found in the text."""

    name: str
    content_type: str
    content: bytes


@dataclass(slots=True)
class Body:
    """The text of each mail by its number (0, and those of forwarded mails), and what was found in the texts.

    `parts` are the numbers of the parts that are text; `packed` are the files in them. `shown` are the Content-IDs of the
    pictures that HTML shows; those between sentences of the sender are also `in_letter`, and those in signatures `in_signature`.
    """

    texts: dict[int, str] = field(default_factory=dict)
    parts: set[int] = field(default_factory=set)
    packed: dict[int, list[Packed]] = field(default_factory=dict)
    shown: frozenset[str] = frozenset()
    in_letter: set[str] = field(default_factory=set)
    in_signature: set[str] = field(default_factory=set)
    has_html: bool = False
    has_cloud_link: bool = False


@dataclass(slots=True)
class _Text:
    part: Part
    number: int
    text: str
    is_html: bool


def read_body(mail: Mail) -> Body:
    """Read the text of the mail and of the mails forwarded in it.

    Of a text that comes in several renderings one counts, the plain one unless it says much less. Raises Refused for a text of
    more than 2 MB, and for a file in it that is cut off.
    """
    body, shown = Body(), set[str]()
    found = list(_read_texts(mail, body, shown))
    body.shown = frozenset(shown)
    for text in _chosen(found):
        before = body.texts.get(text.part.mail, "")
        body.texts[text.part.mail] = f"{before}\n{text.text}" if before.strip() else text.text
    return body


def _read_texts(mail: Mail, body: Body, shown: set[str]) -> Iterator[_Text]:
    named: set[int] = set()
    for number, part in enumerate(mail.parts):
        if not _may_be_text(part, is_first=part.mail not in named):
            continue
        content = mail.content(part, MAX_CONTENT)
        if part.encoding == "base64" and not content:
            # A program declared base64 and wrote plain text, which no decoder takes for base64. `DQo=` is an empty text.
            part = replace(part, encoding="identity")
            content = mail.content(part, MAX_CONTENT)
        kind = kind_of_content(content)
        if kind not in _TEXT_KINDS and not (kind == "pdf" and not content.lstrip().startswith(b"%PDF-")):
            continue
        named.add(part.mail)
        body.parts.add(number)
        is_html = kind == "html" or (part.content_type != "text/plain" and part.content_type != "text/markdown")
        content, packed = _unpack_html(content) if is_html else _unpack_plain(content, part.charset)
        body.packed[number] = packed
        if len(content) > _MAX_TEXT:
            raise Refused(f"554 5.6.0 The mail's text is larger than {_MAX_TEXT // 1_000_000} MB; attach it as a document")
        charset = part.charset or (_charset_in_html(content) if is_html else None)
        text = decode_text(join_cut_lines(content) if part.encoding == "identity" else content, charset)
        body.has_cloud_link = body.has_cloud_link or has_link(text)
        if is_html:
            body.has_html = True
            text = enriched_to_html(text) if part.content_type == "text/enriched" and kind != "html" else text
            shown.update(unquote(cid) for cid in CID_URL.findall(text))
            text, pictures = text_with_marks(text)
            places = places_of_pictures(text, [unquote(cid) for cid in pictures])
            body.in_letter |= places.in_letter
            body.in_signature |= places.in_signature
            text = without_marks(text)
        else:
            text = _FROM.sub("From ", text)
            text = join_flowed(text, part.delsp) if part.flowed else text
        yield _Text(part, number, _without_marks(clean(text, keep_controls=True)).strip("\n"), is_html)


def _may_be_text(part: Part, *, is_first: bool) -> bool:
    """Return whether a part is text of the mail itself rather than a file. The first text may have a name, if it is inline."""
    if part.content_type not in _READABLE or part.disposition == "attachment":
        return False
    return not part.filename or part.alternative or (is_first and part.disposition == "inline")


def _charset_in_html(content: bytes) -> str | None:
    found = _META_CHARSET.search(content[:2000])
    return found[1].decode() if found else None


def _unpack_plain(content: bytes, charset: str | None) -> tuple[bytes, list[Packed]]:
    try:
        content, files = uuencode.unpack(content)
    except uuencode.CutOff:
        raise Refused("554 5.6.0 A file in the mail's text (uuencode) is cut off; attach the file itself") from None
    return content, [Packed(decode_text(file.name, charset), "", file.content) for file in files]


def _unpack_html(content: bytes) -> tuple[bytes, list[Packed]]:
    """Take out the pictures that HTML has in itself. Raises Refused for too many."""
    packed: list[Packed] = []

    def take(found: re.Match[bytes]) -> bytes:
        raw = found[2].translate(None, b" \t\r\n=")
        if len(raw) < _LEAST_PICTURE:
            return b""
        if len(packed) == _MAX_PICTURES:
            raise Refused(f"554 5.6.0 The mail's text has more than {_MAX_PICTURES} pictures; send it as PDF")
        packed.append(Packed("", found[1].decode().lower(), base64.b64decode(raw[: len(raw) - (len(raw) % 4 == 1)] + b"==")))
        return b""

    return _DATA_URI.sub(take, content), packed


def _without_marks(text: str) -> str:
    """Remove what mail programs write around the text: marks of pictures, and the armour of a text that PGP signed."""
    text = _PICTURE.sub("", text) if "[" in text or "<" in text else text
    before, signed, rest = text.partition(f"{_SIGNED_BY_PGP}\n")
    own, signature, rest = rest.partition(f"\n{_SIGNATURE}\n")
    if not signed or not signature:
        return text
    # Headers of the armour come before an empty line; a hyphen at the start of a line is escaped (RFC 9580 section 7).
    own = re.sub(r"^- ", "", own.partition("\n\n")[2], flags=re.MULTILINE)
    return f"{before}{own}{rest.partition(_END_OF_SIGNATURE)[2]}"


def _chosen(found: list[_Text]) -> list[_Text]:
    """Return the texts without those that are only another rendering of one that is returned."""
    # An inner multipart/alternative has a higher number than the one around it.
    for group in sorted({group for text in found for group, _ in text.part.alternatives}, reverse=True):
        branches: dict[int, list[_Text]] = {}
        for text in found:
            if (branch := dict(text.part.alternatives).get(group)) is not None:
                branches.setdefault(branch, []).append(text)
        best = _best(list(branches.values()))
        kept = {text.number for text in best}
        found = [text for text in found if group not in dict(text.part.alternatives) or text.number in kept]
    return found


def _best(branches: list[list[_Text]]) -> list[_Text]:
    """Return the branch to fax: the first plain one with a text, or the first with HTML that says much more."""
    written = [branch for branch in branches if any(text.text.strip() for text in branch)]
    plain = next((branch for branch in written if not all(text.is_html for text in branch)), None)
    rich = next((branch for branch in written if any(text.is_html for text in branch)), None)
    if plain is None or (rich is not None and rich is not plain and _says_much_less(plain, rich)):
        return rich or []
    return plain


def _says_much_less(plain: list[_Text], rich: list[_Text]) -> bool:
    short, long = (" ".join(" ".join(text.text.split()) for text in branch) for branch in (plain, rich))
    if len(short) <= _MOST_OF_NOTE and _NO_HTML.search(short) is not None:
        return True
    # What stands only in the HTML is seen by the sender, whose mail program shows that.
    own, seen = (set(_WORD.findall(text.lower())) for text in (short, long))
    return len(long) > 3 * len(short) + 200 or len(seen - own) > _MOST_MISSING_WORDS + len(own) // 5
