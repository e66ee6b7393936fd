"""The nouns: Envelope, Fax, Document, Report, Event, Delivery. Frozen, without behaviour; every time is an aware UTC datetime."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from mailbridge.lifecycle import DeliveryState, FaxState

Encoding = Literal["identity", "base64", "quoted-printable"]
Source = Literal["poll", "report", "upload", "person", "expiry", "mail", "listing"]
ErrorCode = Literal[
    "no_answer",
    "busy",
    "wrong_number",
    "transfer_failed",
    "deleted",
    "rejected",
    "expired",
    "abandoned",
    "unreachable",
    "unknown",
]

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def _base32(number: int, length: int) -> str:
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(5 * (length - 1), -1, -5))


def new_id(prefix: str) -> str:
    """Return a new id such as `fax_01J…`: a ULID (48 bits of milliseconds, 80 random bits), so ids sort by time."""
    return f"{prefix}_{_base32(time.time_ns() // 1_000_000, 10)}{_base32(int.from_bytes(os.urandom(10)), 16)}"


def new_token() -> str:
    """Return the short mark that travels in an upload's file name, such as `MB-7K3QXA2M` (40 random bits)."""
    return f"MB-{_base32(int.from_bytes(os.urandom(5)), 8)}"


# A document that lives elsewhere (RFC 2046 section 5.2.3, RFC 2017): its name is the URL from which MyFax fetches it.
EXTERNAL: Final = "message/external-body"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file in the spool, or a stretch of one: an attachment is not copied out of its mail, but decoded while it is read.

    `path` is relative to the spool, and empty once the document was deleted; `offset` and `length` are the stretch in bytes as
    stored, `encoding` how it is stored there. `size` (bytes) and `sha256` are of the decoded content. `pages` is None where the
    format does not tell.
    """

    name: str
    content_type: str
    size: int
    sha256: str
    path: str
    offset: int
    length: int
    encoding: Encoding = "identity"
    pages: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One accepted RCPT. `notify` and `orcpt` are the RFC 3461 parameters as they came, None where none came."""

    number: str
    address: str
    notify: str | None = None
    orcpt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One accepted mail. `path` is its file in the spool; `envid` and `ret` are the RFC 3461 parameters of MAIL."""

    id: str
    sender: str
    recipients: tuple[Recipient, ...]
    path: str
    size: int
    received_at: datetime
    message_id: str | None
    subject: str
    account: str
    user: str | None = None
    envid: str | None = None
    ret: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """What an event tells of the mail that a fax came from."""

    message_id: str | None = None
    envelope_id: str | None = None
    sender: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a fax failed. `provider_code` is MyFax's own number, where it gave one."""

    code: ErrorCode
    message: str
    provider_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One upload: the intent is on disk before a socket opens. `whole_at` is set just before the last bytes of the body leave."""

    n: int
    started_at: datetime
    digests: tuple[str, ...] = ()
    whole_at: datetime | None = None
    ended_at: datetime | None = None
    fax_code: str | None = None
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A mail from MyFax, as its headers tell it. `status_code` is None where the header is missing or no number.

    `kind` is `report` for the result of a fax that was sent (X-Fax-Status), `incoming` for a received one (X-Fax-Sender).
    `text` is the mail's readable text, cut to 16,000 characters, in which a token or a FAX_CODE may stand.
    """

    kind: Literal["report", "incoming"]
    status: str | None = None
    status_code: int | None = None
    subject: str = ""
    sender: str | None = None
    message_id: str | None = None
    date: datetime | None = None
    to: str | None = None
    trusted: bool = False
    defects: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fax:
    """One outbound fax to one number. `due_at` is when the next upload or poll is due; `seq` counts its events."""

    id: str
    envelope_id: str | None
    account: str
    number: str
    state: FaxState
    token: str
    documents: tuple[Document, ...]
    created_at: datetime
    due_at: datetime
    expires_at: datetime
    seq: int = 0
    pages: int | None = None
    fax_code: str | None = None
    attempts: tuple[Attempt, ...] = ()
    polls: int = 0
    failure: Failure | None = None
    price: str | None = None
    credit_left: str | None = None
    source: Source | None = None
    email: Email = field(default_factory=Email)
    report: Mapping[str, Any] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    final_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of the outbox. `id` is the webhook-id of every delivery of it; `data` is the contract's `data` object.

    A received document stands in `data["document"]` as `{"path", "sha256", "size", "content_type", "filename", "pages"}`;
    `webhook.payload` turns the path into what each endpoint asked for.
    """

    id: str
    type: str
    at: datetime
    fax_id: str | None
    seq: int
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one endpoint. `attempts` counts tries that have begun; `status` is the last HTTP status."""

    id: str
    event_id: str
    endpoint: str
    state: DeliveryState
    due_at: datetime
    attempts: int = 0
    status: int | None = None
    error: str | None = None
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedWebhook:
    """A webhook that answered 410 Gone, and gets no more events until a person replays its deliveries."""

    endpoint: str  # name of the webhook
    stopped_at: datetime  # when the 410 arrived
    reason: str  # for people


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedItem:
    """One fax or voicemail that came in, by mail (`mailed`) or by the list of `incoming.do` (`listing_id`), or by both.

    `caller` and `called` are E.164 where they can be, None where unknown; `at` is when it came in as the mail or the list tells,
    `noted_at` when it was first seen here. `due_at` is when the list's side raises the event unless a mail does before. Without
    `due_at` and `event_id` it is older than the first start and raises nothing. `sha256` is of the document; `tries` counts its
    failed downloads from `url`.
    """

    id: str
    account: str
    kind: Literal["incoming", "voice"]
    caller: str | None
    called: str | None
    at: datetime
    noted_at: datetime
    listing_id: str | None = None
    url: str | None = None
    mailed: bool = False
    trusted: bool = True
    sha256: str | None = None
    event_id: str | None = None
    due_at: datetime | None = None
    tries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingProgress:
    """How far the list of `incoming.do` was compared with the mails: since the first start, and `until` the last good round."""

    started_at: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a mailbox folder was read: every UID up to `last_uid` of this UIDVALIDITY is handled (RFC 3501 section 2.3.1.1)."""

    uidvalidity: int
    last_uid: int


def rfc3339(moment: datetime) -> str:
    """Return a time as events print it: RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def last_attempt(fax: Fax, **changes: Any) -> tuple[Attempt, ...]:
    """Return the attempts of a fax with its last one changed; none where it has none."""
    return (*fax.attempts[:-1], replace(fax.attempts[-1], **changes)) if fax.attempts else ()
