"""MyFax on the wire: forms out, XML in, codes → outcomes. Pure.

The service's document prints tags with spaces inside (`< PRICE>`, `</ USER_ID>`), so tags are normalised before parsing. What
is truncated is never mended: a lost answer must not look like a whole one.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Final, Literal
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from mailbridge.errors import MyFaxError
from mailbridge.model import ErrorCode
from mailbridge.myfax.values import REGION, e164, moment, money, wall_clock

MAX_ANSWER: Final = 256 * 1024
MAX_DEPTH: Final = 16

_DECLARATION = re.compile(r"<\?xml[^>]{0,200}\?>")
_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.-]{1,40})["']""")
# Others cost time or raise warnings on purpose (punycode, unicode_escape), and no answer comes in them.
_ENCODINGS = frozenset({"windows-1255", "cp1255", "iso-8859-8", "iso-8859-8-i", "windows-1252", "iso-8859-1"})
# Possessive, so that a hostile run of blanks costs one pass and no backtracking.
_TAG = re.compile(r"<\s*+(/?)\s*+([A-Za-z_][\w.-]*+)\s*+(/?)\s*+>")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)
# Neither can hide a cut: what is cut lacks its last tags all the same.
_NO_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_BARE_AMPERSAND = re.compile(r"&(?!#?[A-Za-z0-9]{1,31};)")


class Unreadable(MyFaxError):
    """An answer that is not the XML that MyFax promises: HTML, truncated, too long, too deep, or with a DTD."""


@dataclass(frozen=True, slots=True)
class UploadAnswer:
    """The answer of `faxUpload.do`. `response_code` below 0 is an error; an amount that is no plain number is None."""

    response_code: int
    text: str
    fax_code: str | None = None
    fax_status: int | None = None
    price: Decimal | None = None
    credit_left: Decimal | None = None
    pages: int | None = None


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """The answer of `faxStatus.do`. `status` means something only when `final` is true.

    `printed_status` is what the answer holds in its place, also where that is no number and `status` is None.
    """

    response_code: int
    text: str
    fax_code: str | None = None
    status: int | None = None
    final: bool = False
    price: Decimal | None = None
    credit_left: Decimal | None = None
    printed_status: str | None = None


@dataclass(frozen=True, slots=True)
class RegisterAnswer:
    """The answer of `myFaxAllocateDistributer.do`.

    `fax_number` and `expire` are as printed; `fax_number_e164` and `expires_at` (aware, UTC) are None where they cannot be read.
    """

    response_code: int
    text: str
    user_id: str | None = None
    fax_number: str | None = None
    email: str | None = None
    price: Decimal | None = None
    expire: str | None = None
    fax_number_e164: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReleaseAnswer:
    """The answer of `releaseFaxLine.do`."""

    response_code: int
    text: str


@dataclass(frozen=True, slots=True)
class IncomingItem:
    """One received fax or voicemail: `did` is the called number and `source` the caller, as printed.

    `time` (aware, UTC), `did_e164` and `source_e164` are None where they cannot be read; an anonymous caller has no source.
    """

    id: str
    time: datetime | None
    did: str | None
    source: str | None
    url: str | None
    did_e164: str | None = None
    source_e164: str | None = None


@dataclass(frozen=True, slots=True)
class IncomingPage:
    """One page of `incoming.do`. `next_page` is None on the last one."""

    response_code: int
    text: str
    items: tuple[IncomingItem, ...] = ()
    pages: int | None = None
    next_page: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a status code says of a fax; `error` is set only for `failed`."""

    kind: Literal["pending", "delivered", "failed"]
    error: ErrorCode | None = None


PENDING: Final = Outcome("pending")
DELIVERED: Final = Outcome("delivered")
_FAILURES: Final[dict[int, ErrorCode]] = {2: "no_answer", 3: "busy", 6: "wrong_number", 7: "transfer_failed"}
_DESCRIPTIONS: Final[dict[int, str]] = {
    0: "The fax is not scheduled yet.",
    1: "The fax is accepted and not started yet.",
    2: "Nobody answered at this number.",
    3: "The number was busy.",
    4: "The call is under way.",
    6: "The number is wrong.",
    7: "The transfer failed: no fax machine answered, or it broke off.",
    9: "The fax was sent.",
    10: "The fax was sent, and then deleted at MyFax.",
}


def status_outcome(code: int | None, final: bool) -> Outcome:
    """Return what `faxStatus.do` says: nothing is an outcome before FINAL_STATUS, and an unknown code is never success."""
    if not final or code is None or code in (0, 1, 4):
        return PENDING
    if code in (9, 10):
        return DELIVERED
    return Outcome("failed", _FAILURES.get(code, "unknown"))


def report_outcome(status: str | None, code: int | None) -> Outcome | Literal["ask"]:
    """Return what a trusted report's X-Fax-Status and X-Fax-Status-Code say, or `ask` where only `faxStatus.do` can tell."""
    if code in (0, 1):
        return PENDING
    said = (status or "").strip().lower()
    if code == 9 and said == "success":
        return DELIVERED
    if code is None or code in (4, 9, 10) or said != "fail":
        return "ask"
    return Outcome("failed", _FAILURES.get(code, "unknown"))


def describe(code: int | None) -> str:
    """Return a sentence for a person about a status code; an unknown one is shown with its number."""
    if code is None:
        return "MyFax gave no status."
    return _DESCRIPTIONS.get(code, f"MyFax gave the unknown status {code}.")


def send_form(email: str, password: str, number: str, url: str | None = None) -> dict[str, str]:
    """Return the fields of `faxUpload.do` beside the files."""
    form = {"email": email, "password": password, "faxNumber": number, "resultType": "XML"}
    return form | ({"fileURL": url} if url else {})


def status_form(email: str, password: str, fax_code: str) -> dict[str, str]:
    """Return the fields of `faxStatus.do`."""
    return {"email": email, "password": password, "faxCode": fax_code}


def incoming_form(
    email: str, password: str, page: int, list_type: str, start: datetime | None, end: datetime | None, zone: tzinfo
) -> dict[str, str]:
    """Return the fields of `incoming.do`; `start` and `end` are aware and are told in MyFax's `zone`."""
    form = {"email": email, "password": password, "p": str(page), "listType": list_type}
    if start is not None:
        form["startDate"] = wall_clock(start, zone, end=False)
    if end is not None:
        form["endDate"] = wall_clock(end, zone, end=True)
    return form


def distributor_form(email: str, password: str, fields: dict[str, str | None]) -> dict[str, str]:
    """Return the fields of the distributor's two calls; those without a value are left out."""
    form = {"distEmail": email, "distPassword": password, "resultType": "XML"}
    return form | {name: value for name, value in fields.items() if value is not None}


def read_upload(body: bytes) -> UploadAnswer:
    """Read the answer of `faxUpload.do`. Raises Unreadable."""
    root, code, text = _response(body)
    return UploadAnswer(
        code,
        text,
        _field(root, "FAX_CODE"),
        _number(root, "FAX_STATUS"),
        money(_field(root, "PRICE")),
        money(_field(root, "CREDIT_LEFT")),
        _number(root, "FAX_PAGES"),
    )


def read_status(body: bytes) -> StatusAnswer:
    """Read the answer of `faxStatus.do`. Raises Unreadable."""
    root, code, text = _response(body)
    final = (_field(root, "FINAL_STATUS") or "").lower() in ("true", "1", "yes")
    return StatusAnswer(
        code,
        text,
        _field(root, "FAX_CODE"),
        _number(root, "FAX_STATUS"),
        final,
        money(_field(root, "PRICE")),
        money(_field(root, "CREDIT_LEFT")),
        _field(root, "FAX_STATUS"),
    )


def read_register(body: bytes, zone: tzinfo = UTC, region: str = REGION) -> RegisterAnswer:
    """Read the answer of `myFaxAllocateDistributer.do`; `zone` and `region` as in `read_incoming`. Raises Unreadable."""
    root, code, text = _response(body)
    names = ("USER_ID", "USER_FAX_NUMBER", "USER_EMAIL", "PRICE", "EXPIRE")
    user, number, email, price, expire = (_field(root, name) for name in names)
    return RegisterAnswer(code, text, user, number, email, money(price), expire, e164(number, region), moment(expire, zone))


def read_release(body: bytes) -> ReleaseAnswer:
    """Read the answer of `releaseFaxLine.do`. Raises Unreadable."""
    _, code, text = _response(body)
    return ReleaseAnswer(code, text)


def read_incoming(body: bytes, zone: tzinfo, region: str = REGION) -> IncomingPage:
    """Read one page of `incoming.do`; times without a zone are in `zone`, numbers without a country of `region`.

    Raises Unreadable.
    """
    root, code, text = _response(body)
    items = tuple(_item(item, zone, region) for item in root.iter("ITEM"))
    return IncomingPage(code, text, items, _number(root, "PAGES"), _number(root, "NEXT_PAGE"))


def _item(item: Element, zone: tzinfo, region: str) -> IncomingItem:
    identity = _field(item, "ID")
    if identity is None:
        raise Unreadable("an item of the list has no ID")
    did, source, when = (_field(item, name) for name in ("DID", "SOURCE", "TIME"))
    numbers = e164(did, region), e164(source, region)
    return IncomingItem(identity, moment(when, zone), did, source, _field(item, "URL"), *numbers)


def _response(body: bytes) -> tuple[Element, int, str]:
    root = _parse(_tidy(_decode(body)))
    if root.tag != "RESPONSE":
        raise Unreadable("the answer is not a RESPONSE")
    code = _number(root, "RESPONSE_CODE")
    if code is None:
        raise Unreadable("the answer has no RESPONSE_CODE")
    return root, code, (_field(root, "RESPONSE_TEXT") or "")[:1000]


def _decode(body: bytes) -> str:
    if len(body) > MAX_ANSWER:
        raise Unreadable(f"the answer is longer than {MAX_ANSWER} bytes")
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace")
    try:
        return body.decode("utf-8-sig")
    except ValueError:
        declared = _DECLARED.search(body[:1024])
    # Hebrew in windows-1255 comes under a UTF-8 declaration: what is not UTF-8 is taken as that.
    encoding = declared[1].decode("ascii", "replace").lower() if declared else ""
    return body.decode(encoding.removesuffix("-i") if encoding in _ENCODINGS else "windows-1255", "replace")


def _tidy(text: str) -> str:
    text = text.lstrip("\ufeff \t\r\n")
    start = text[:200].lower()
    if start.startswith(("<!doctype", "<html", "<head", "<body")):
        raise Unreadable("the answer is an HTML page or has a DTD")
    if not start.startswith("<"):
        raise Unreadable("the answer is not XML")
    # The text is decoded already, so a declaration can only mislead the parser.
    declaration = _DECLARATION.match(text)
    text = text[declaration.end() :] if declaration else text
    text = _NO_CHARACTER.sub("\ufffd", text)
    if "<![CDATA[" not in text:  # where an ampersand may stand bare
        text = _BARE_AMPERSAND.sub("&amp;", text)
    return _TAG.sub(r"<\1\2\3>", text).strip()


def _parse(text: str) -> Element:
    root: Element | None = None
    depth = 0
    try:
        for event, element in iterparse(io.BytesIO(text.encode()), events=("start", "end"), forbid_dtd=True):
            root = element if root is None else root
            depth += 1 if event == "start" else -1
            if depth > MAX_DEPTH:
                raise Unreadable("the answer is nested too deeply")
    except DefusedXmlException:
        raise Unreadable("the answer has a DTD or an entity") from None
    except (ParseError, ValueError, LookupError):
        raise Unreadable("the answer is truncated or not well-formed") from None
    if root is None:
        raise Unreadable("the answer is empty")
    return root


def _field(parent: Element, name: str) -> str | None:
    values = {(child.text or "").strip() for child in parent if child.tag == name} - {""}
    if len(values) > 1:
        raise Unreadable(f"the answer has two different values of {name}")
    return values.pop() if values else None


def _number(parent: Element, name: str) -> int | None:
    value = _field(parent, name)
    return int(value) if value is not None and _WHOLE_NUMBER.fullmatch(value) else None
