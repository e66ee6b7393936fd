"""The answers of the five actions, read from XML. Pure. Each field names the tag of MyFax's document that it is read from.

A `response_code` below 0 means an error, which `text` explains. A value that cannot be read is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from xml.etree.ElementTree import Element

from mailbridge.myfax.values import REGION, currency, e164, moment, money
from mailbridge.myfax.xml_parser import Unreadable, field, number, parse_response


@dataclass(frozen=True, slots=True)
class UploadAnswer:
    """The answer of `faxUpload.do`."""

    response_code: int  # RESPONSE_CODE
    text: str  # RESPONSE_TEXT
    fax_code: str | None = None  # FAX_CODE, the id to poll with
    fax_status: int | None = None  # FAX_STATUS
    price: Decimal | None = None  # PRICE
    credit_left: Decimal | None = None  # CREDIT_LEFT
    pages: int | None = None  # FAX_PAGES
    currency: str | None = None  # of PRICE, by ISO 4217; None if it is printed without one


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """The answer of `faxStatus.do`. `status` is a result only if `final` is true."""

    response_code: int  # RESPONSE_CODE
    text: str  # RESPONSE_TEXT
    fax_code: str | None = None  # FAX_CODE
    status: int | None = None  # FAX_STATUS, see status_codes
    final: bool = False  # FINAL_STATUS
    price: Decimal | None = None  # PRICE
    credit_left: Decimal | None = None  # CREDIT_LEFT
    printed_status: str | None = None  # FAX_STATUS as printed, even if it is not a number
    currency: str | None = None  # of PRICE, by ISO 4217; None if it is printed without one


@dataclass(frozen=True, slots=True)
class RegisterAnswer:
    """The answer of `myFaxAllocateDistributer.do`."""

    response_code: int  # RESPONSE_CODE
    text: str  # RESPONSE_TEXT
    user_id: str | None = None  # USER_ID
    fax_number: str | None = None  # USER_FAX_NUMBER as printed
    email: str | None = None  # USER_EMAIL
    price: Decimal | None = None  # PRICE
    expire: str | None = None  # EXPIRE as printed
    fax_number_e164: str | None = None  # USER_FAX_NUMBER
    expires_at: datetime | None = None  # EXPIRE, aware, in UTC


@dataclass(frozen=True, slots=True)
class ReleaseAnswer:
    """The answer of `releaseFaxLine.do`."""

    response_code: int  # RESPONSE_CODE
    text: str  # RESPONSE_TEXT


@dataclass(frozen=True, slots=True)
class IncomingItem:
    """One received fax or voicemail of `incoming.do`."""

    id: str  # ID
    time: datetime | None  # TIME, aware, in UTC
    did: str | None  # DID, the called number, as printed
    source: str | None  # SOURCE, the caller, as printed; None for an anonymous one
    url: str | None  # URL of the document
    did_e164: str | None = None  # DID
    source_e164: str | None = None  # SOURCE


@dataclass(frozen=True, slots=True)
class IncomingPage:
    """One page of `incoming.do`."""

    response_code: int  # RESPONSE_CODE
    text: str  # RESPONSE_TEXT
    items: tuple[IncomingItem, ...] = ()  # LIST of ITEM
    pages: int | None = None  # PAGES, how many there are
    next_page: int | None = None  # NEXT_PAGE, counted from 0; None on the last page


def read_upload(body: bytes) -> UploadAnswer:
    """Read the answer of `faxUpload.do`. Raises Unreadable."""
    root, code, text = parse_response(body)
    return UploadAnswer(
        code,
        text,
        field(root, "FAX_CODE"),
        number(root, "FAX_STATUS"),
        money(field(root, "PRICE")),
        money(field(root, "CREDIT_LEFT")),
        number(root, "FAX_PAGES"),
        currency(field(root, "PRICE")),
    )


def read_status(body: bytes) -> StatusAnswer:
    """Read the answer of `faxStatus.do`. Raises Unreadable."""
    root, code, text = parse_response(body)
    return StatusAnswer(
        code,
        text,
        field(root, "FAX_CODE"),
        number(root, "FAX_STATUS"),
        (field(root, "FINAL_STATUS") or "").lower() in ("true", "1", "yes"),
        money(field(root, "PRICE")),
        money(field(root, "CREDIT_LEFT")),
        field(root, "FAX_STATUS"),
        currency(field(root, "PRICE")),
    )


def read_register(body: bytes, zone: tzinfo = UTC, region: str = REGION) -> RegisterAnswer:
    """Read the answer of `myFaxAllocateDistributer.do`; `zone` and `region` as in `read_incoming`. Raises Unreadable."""
    root, code, text = parse_response(body)
    names = ("USER_ID", "USER_FAX_NUMBER", "USER_EMAIL", "PRICE", "EXPIRE")
    user, fax_number, email, price, expire = (field(root, name) for name in names)
    return RegisterAnswer(
        code, text, user, fax_number, email, money(price), expire, e164(fax_number, region), moment(expire, zone)
    )


def read_release(body: bytes) -> ReleaseAnswer:
    """Read the answer of `releaseFaxLine.do`. Raises Unreadable."""
    _, code, text = parse_response(body)
    return ReleaseAnswer(code, text)


def read_incoming(body: bytes, zone: tzinfo, region: str = REGION) -> IncomingPage:
    """Read one page of `incoming.do`. Times without a zone are in `zone`, numbers without a country code are of `region`.

    Raises Unreadable.
    """
    root, code, text = parse_response(body)
    items = tuple(_item(item, zone, region) for item in root.iter("ITEM"))
    return IncomingPage(code, text, items, number(root, "PAGES"), number(root, "NEXT_PAGE"))


def _item(item: Element, zone: tzinfo, region: str) -> IncomingItem:
    identity = field(item, "ID")
    if identity is None:
        raise Unreadable("an item of the list has no ID")
    did, source, time = (field(item, name) for name in ("DID", "SOURCE", "TIME"))
    return IncomingItem(identity, moment(time, zone), did, source, field(item, "URL"), e164(did, region), e164(source, region))
