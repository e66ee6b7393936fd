"""A leaf of a mail, and what its headers say of it (RFC 2045, 2046, 2183), as mail programs really write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypedDict, Unpack

from mailbridge.errors import Refused
from mailbridge.model import EXTERNAL, Encoding
from mailbridge.submission.letter.mime_headers import Headers
from mailbridge.submission.letter.mime_parameters import parameter, value_of

# Without punctuation, since programs write `8-bit`, `"base64"` and `Quoted_Printable`.
_ENCODINGS: Final[dict[str, Encoding]] = {
    **dict.fromkeys(("", "7bit", "8bit", "binary", "7bits", "8bits", "7", "8", "16bit"), "identity"),
    **dict.fromkeys(("utf8", "ascii", "usascii", "plain", "text", "none", "raw", "identity"), "identity"),
    **dict.fromkeys(("base64", "b64", "mime64", "mimebase64"), "base64"),
    **dict.fromkeys(("quotedprintable", "qp"), "quoted-printable"),
}
_TYPE = re.compile(r"[a-z0-9!#$&^_.+\-]{1,100}/[a-z0-9!#$&^_.+\-]{1,100}", re.ASCII)
_NAMELESS = re.compile(r"(?:noname|no name|unknown|unnamed|untitled|attachment|file|document|part)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A leaf of the mail: where its body lies in its source (bytes), and what its headers say.

    `source` is 0 for the spooled file. `filename` is as the sender wrote it, never a path to use. `mail` is 0 in the mail itself,
    and the number of the forwarded mail that the part belongs to. `alternatives` names each multipart/alternative around the part
    by its number, with the number of the branch. `alternative` and `related` say that the part itself belongs to a multipart of
    that kind. `url` is set for a part that only says where its content is. `flowed` and `delsp` are the parameters of RFC 3676.
    """

    offset: int
    length: int
    encoding: Encoding
    content_type: str
    filename: str | None
    disposition: str | None
    cid: str | None
    charset: str | None
    source: int = 0
    mail: int = 0
    alternatives: tuple[tuple[int, int], ...] = ()
    alternative: bool = False
    related: bool = False
    flowed: bool = False
    delsp: bool = False
    url: str | None = None


class Place(TypedDict, total=False):
    """Where in the mail a part stands; see `Part`."""

    source: int
    mail: int
    alternatives: tuple[tuple[int, int], ...]
    alternative: bool
    related: bool


def transfer_encoding(headers: Headers, content_type: str) -> Encoding:
    """Return the transfer encoding. An unknown one is identity for text (most are misspelt) and refused for a document."""
    written = [value_of(field) for field in headers.get_all("Content-Transfer-Encoding")] or [""]
    for value in written:
        if (encoding := _ENCODINGS.get(re.sub(r"[^a-z0-9]", "", value))) is not None:
            return encoding
    if content_type.startswith(("text", "multipart", "message")) and "uu" not in written[0]:
        return "identity"
    raise Refused(f"554 5.6.0 The mail uses the unknown transfer encoding {written[0][:40]!a}; send it from another program")


def content_type_of(headers: Headers) -> str:
    """Return the first declared type; of one that cannot be read, nothing is believed."""
    fields = headers.get_all("Content-Type")
    if not fields:
        return headers.default_type
    value = value_of(fields[0])
    return value if _TYPE.fullmatch(value) else "application/octet-stream"


def part_of(
    headers: Headers,
    start: int,
    end: int,
    *,
    content_type: str,
    filename: str | None,
    default_type: str = "text/plain",
    **place: Unpack[Place],
) -> Part:
    """Return the leaf whose body lies between `start` and `end`, by its headers, and what is known of them. Raises Refused."""
    field = headers.text("Content-Type")
    disposition, declared = _disposition(headers), value_of(field)
    is_file = filename is not None or disposition == "attachment"
    if not _TYPE.fullmatch(declared) and default_type == "text/plain":
        content_type = "application/octet-stream" if is_file else "text/plain"
    encoding = transfer_encoding(headers, "file" if is_file or not content_type.startswith("text/") else content_type)
    return Part(
        offset=start,
        length=end - start,
        encoding=encoding,
        content_type=content_type,
        filename=filename,
        disposition=disposition,
        cid=headers.text("Content-ID").strip().strip("<>") or None,
        charset=parameter(field, "charset"),
        flowed=(parameter(field, "format") or "").lower() == "flowed",
        delsp=(parameter(field, "delsp") or "").lower() == "yes",
        url=_url(content_type, field),
        **place,
    )


def _disposition(headers: Headers) -> str | None:
    """Return `inline`, `attachment` (which an unknown one means, RFC 2183 section 2.8), or None."""
    value = value_of(headers.text("Content-Disposition"))
    return value if value in ("", "inline") and value else "attachment" if value else None


def _url(content_type: str, field: str) -> str | None:
    """RFC 2017: where a document of `message/external-body` lives; blanks in it are the sender's line breaks."""
    if content_type != EXTERNAL or (parameter(field, "access-type") or "").lower() != "url":
        return None
    return "".join((parameter(field, "url") or "").split()) or None


def filename_of(headers: Headers) -> str | None:
    """Return `filename` of Content-Disposition, or `name` of Content-Type if that says more; None for an empty one."""
    written = [
        parameter(headers.text("Content-Disposition"), "filename"),
        parameter(headers.text("Content-Type"), "name"),
    ]
    names = [name for name in written if name]
    best = [name for name in names if not _NAMELESS.fullmatch(name.strip())]
    return next(iter([name for name in best if "." in name] or best or names), None)
