"""The records: Envelope, Fax, Document, Report, Event, Delivery and others. Frozen, without behaviour.

Every time is an aware datetime in UTC. Every `path` is relative to the spool.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from mailbridge.errors import ErrorCode
from mailbridge.lifecycle import DeliveryState, FaxState
from mailbridge.random_bytes import random_bytes

Encoding = Literal["identity", "base64", "quoted-printable"]
# Where the last change of a fax came from; "mail" and "listing" are those of received faxes.
Source = Literal["poll", "report", "upload", "person", "expiry", "mail", "listing"]
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Two digits at a time, since every mail gets several ids.
_DIGITS = [high + low for high in _CROCKFORD for low in _CROCKFORD]


def _base32(number: int, length: int) -> str:
    return "".join([_DIGITS[number >> shift & 1023] for shift in range(5 * (length - 2), -1, -10)])


def new_id(prefix: str) -> str:
    """Return a new id such as `fax_01J…`: a ULID (48 bits of milliseconds, 80 random bits), so ids sort by time."""
    return f"{prefix}_{_base32(time.time_ns() // 1_000_000, 10)}{_base32(int.from_bytes(random_bytes()), 16)}"


def first_id(prefix: str, moment: datetime) -> str:
    """Return the least id that `new_id` can have made at this time."""
    return f"{prefix}_{_base32(int(moment.timestamp() * 1000), 10)}{'0' * 16}"


def new_token() -> str:
    """Return a new token such as `MB-7K3QXA2M` (40 random bits): part of an upload's file name, to match its report."""
    return f"MB-{_base32(int.from_bytes(random_bytes()[:5]), 8)}"


# The content type of a document elsewhere (RFC 2046 section 5.2.3, RFC 2017): its name is the URL that MyFax fetches it from.
EXTERNAL: Final = "message/external-body"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file in the spool, or a part of one: an attachment is not copied out of its mail, but decoded while it is read."""

    name: str  # file name for people; of an EXTERNAL document, its URL
    content_type: str  # media type
    size: int  # bytes, decoded
    sha256: str  # hex, of the decoded content; of an EXTERNAL document, of its URL
    path: str  # empty once retention deleted the file
    offset: int  # bytes from the start of the file
    length: int  # bytes as stored
    encoding: Encoding = "identity"  # how it is stored
    pages: int | None = None  # None if the format does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One accepted RCPT (RFC 5321 section 4.1.1.3)."""

    number: str  # E.164
    address: str  # as the client sent it
    notify: str | None = None  # NOTIFY (RFC 3461 section 4.1), as received
    orcpt: str | None = None  # ORCPT (RFC 3461 section 4.2), as received


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One accepted mail."""

    id: str  # env_…
    sender: str  # MAIL FROM; empty for the null reverse-path
    recipients: tuple[Recipient, ...]
    path: str  # of the mail
    size: int  # bytes
    received_at: datetime
    message_id: str | None  # the Message-ID field
    subject: str  # decoded
    account: str  # name of the MyFax account that sends its faxes
    user: str | None = None  # who logged in; None for mail from a trusted network
    envid: str | None = None  # ENVID (RFC 3461 section 4.4), as received
    ret: str | None = None  # RET (RFC 3461 section 4.3), as received
    passed_over: tuple[str, ...] = ()  # the names of parts that are not faxed, such as logos and signatures
    client: str | None = None  # IP address of the SMTP client; None for `mailbridge send`


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """What events show of the mail that a fax was made from."""

    message_id: str | None = None
    envelope_id: str | None = None
    sender: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a fax failed."""

    code: ErrorCode
    message: str  # for people
    provider_code: int | None = None  # MyFax's own number, if it gave one


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One upload. It is on disk before a socket is opened."""

    n: int  # 1 for the first
    started_at: datetime
    digests: tuple[str, ...] = ()  # SHA-256 of each document
    whole_at: datetime | None = None  # set just before the last bytes of the request are sent: from then on MyFax may have it
    ended_at: datetime | None = None  # when this attempt's result was known
    fax_code: str | None = None  # MyFax's id of the fax (FAX_CODE)
    error_code: str | None = None  # why it did not succeed
    token: str | None = None  # MB-…, see `new_token`; None for an upload of a former version, which had the fax's first token


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A mail from MyFax, as its headers describe it."""

    kind: Literal["report", "incoming"]  # the result of a sent fax (X-Fax-Status), or a received fax (X-Fax-Sender)
    status: str | None = None  # X-Fax-Status
    status_code: int | None = None  # X-Fax-Status-Code; None if it is missing or not a number
    subject: str = ""  # decoded
    sender: str | None = None  # X-Fax-Sender: the caller of a received fax, as written
    message_id: str | None = None
    date: datetime | None = None  # the Date field
    to: str | None = None  # the called number of a received fax
    addressed: bool = True  # whether To names one of the mailbox's addresses
    trusted: bool = False  # whether it passed the mailbox's trust setting
    defects: tuple[str, ...] = ()  # what is wrong with the mail, for people
    text: str = ""  # readable text, up to 16,000 characters, in which a token or FAX_CODE may occur


@dataclass(frozen=True, slots=True, kw_only=True)
class Fax:
    """One outbound fax to one number."""

    id: str  # fax_…
    envelope_id: str | None  # the mail that it was made from
    account: str  # name of the MyFax account that sends it
    number: str  # E.164
    state: FaxState
    token: str  # MB-…, see `new_token`: that of its last upload, or of the first one to come
    documents: tuple[Document, ...]
    created_at: datetime
    due_at: datetime  # when the next upload (queued) or poll (submitted) is due
    expires_at: datetime  # when it fails if there is no result
    seq: int = 0  # counts its events
    pages: int | None = None  # of all documents, or as MyFax counted them; None if unknown
    fax_code: str | None = None  # MyFax's id of the fax (FAX_CODE), once accepted
    attempts: tuple[Attempt, ...] = ()  # its uploads, oldest first
    polls: int = 0  # status requests that were answered since the last upload
    failure: Failure | None = None  # when failed
    price: str | None = None  # as MyFax writes it
    currency: str | None = None  # of the price, by ISO 4217; None if MyFax writes none
    credit_left: str | None = None  # of the account after this fax, as MyFax writes it
    source: Source | None = None  # where the last change came from
    email: Email = field(default_factory=Email)
    report: Mapping[str, Any] | None = None  # the report mail that was matched, as events show it
    tags: Mapping[str, str] = field(default_factory=dict)  # X-Mailbridge-Tag, by key
    user: str | None = None  # who sent it: name of a [user.NAME]
    same_key: str | None = None  # SHA-256 of its user, number, and the mail's text and attachments: equal for a fax sent again
    repeat_of: str | None = None  # an earlier fax with the same content to the same number, within `fax.same_again`
    final_at: datetime | None = None  # when it became delivered, failed or cancelled
    client: str | None = None  # IP address of the SMTP client that sent it; None for `mailbridge send`
    restored_at: datetime | None = None  # when a restored backup put it in doubt; None once a person resolved that
    node: str | None = None  # nod_…, which began its last upload; None with SQLite

    @property
    def owner(self) -> str:
        """Whose fax it is, where users take turns: a user, or the client's address without a login, "-" where there is none."""
        return next((owner for owner in (self.user, self.client) if owner is not None), "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMail:
    """An accepted mail: its envelope, its faxes, and the key by which the same mail is known when a client sends it again.

    `body` is what the transaction that records the mail stores under its path. It is empty where that was put there before, and
    None where the spool has a directory.
    """

    envelope: Envelope
    faxes: tuple[Fax, ...]
    repeat_key: str | None
    body: tuple[bytes | bytearray, ...] | None = None

    @property
    def fax_ids(self) -> list[str]:
        """The ids of the faxes, in their order."""
        return [fax.id for fax in self.faxes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of the outbox.

    Received documents are in `data["documents"]` as `{"path", "sha256", "size", "content_type", "filename", "pages"}`, the first
    also in `data["document"]`; `webhook.payload` replaces the path by what each endpoint is configured to get.
    """

    id: str  # evt_…; the webhook-id of each of its deliveries
    type: str  # such as fax.delivered
    at: datetime  # when it was emitted
    fax_id: str | None  # of the outbound or received fax that it is about
    seq: int  # the fax's `seq`; 0 for an event of no fax
    data: Mapping[str, Any]  # the body's `data` (docs/webhooks.md)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one endpoint."""

    id: str  # dlv_…
    event_id: str
    endpoint: str  # name of the webhook
    state: DeliveryState
    due_at: datetime  # when the next attempt is due
    attempts: int = 0  # attempts that have begun
    status: int | None = None  # HTTP status of the last attempt; None without an answer
    error: str | None = None  # what went wrong in the last attempt
    settled_at: datetime | None = None  # when it became delivered or dead
    address: str | None = None  # where a notice goes: an address, or a directory
    envelope_id: str | None = None  # of the mail whose faxes a notice is about
    notice: Mapping[str, Any] | None = None  # what a notice says: `kind`, `form`, `blocks`; see `store.notice_records`
    node: str | None = None  # nod_…, which made its last attempt; None with SQLite


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedItem:
    """A received fax or voicemail, known by mail, by a list of `incoming.do`, or by both.

    Without `due_at` and `event_id` it is older than the first start, and is not reported.
    """

    id: str  # fax_… or vm_…; the `fax_id` of its event, except where the list had it before its mail
    account: str  # name of the MyFax account
    kind: Literal["incoming", "voice"]  # the list's type: faxes or voicemails
    caller: str | None  # E.164 if possible; None when unknown
    called: str | None  # likewise
    at: datetime  # when it was received, as the mail or the list says
    noted_at: datetime  # when mailbridge first saw it
    listing_id: str | None = None  # its id in the list; None while only a mail is known
    url: str | None = None  # of the document, from the list
    mailed: bool = False  # whether a mail reported it
    trusted: bool = True  # whether that mail passed the mailbox's trust setting
    sha256: str | None = None  # hex, of the document
    event_id: str | None = None  # of its event, once emitted
    due_at: datetime | None = None  # when the list's side emits the event unless a mail comes first
    tries: int = 0  # failed downloads from `url`


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingProgress:
    """How far a list of `incoming.do` was compared with the mails."""

    started_at: datetime  # the first start; older items are ignored
    until: datetime | None = None  # the last complete comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a mailbox folder was read (RFC 3501 section 2.3.1.1)."""

    uidvalidity: int
    last_uid: int  # every UID up to this one was processed


def rfc3339(moment: datetime) -> str:
    """Return a time in the format of events: RFC 3339 in UTC, with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def received_documents(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the received documents in an event's `data`. Events of version 0.1.0 have one at most, in `document` alone."""
    first = data.get("document")
    return list(data.get("documents") or ([first] if first else []))


def last_attempt(fax: Fax, **changes: Any) -> tuple[Attempt, ...]:
    """Return the attempts of a fax, the last one with these changes; () if there are none."""
    return (*fax.attempts[:-1], replace(fax.attempts[-1], **changes)) if fax.attempts else ()
