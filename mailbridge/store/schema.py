"""The tables: what each column means, its unit, and which part of mailbridge writes it.

Times are integers: microseconds since 1970 in UTC. SCHEMA_VERSION grows with every change here, and `store.migrations` then
gets a module that migrates to it. A new column is the last of its table, where ALTER TABLE puts it, so that a migrated database
equals a new one.

An index names its condition as `sqlite_where` alone: `postgresql_where` would load that dialect, which takes a tenth of a second.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import DDL, JSON, BigInteger, Boolean, Column, Dialect, Index, Integer, MetaData, Table, Text, TypeDecorator, text
from sqlalchemy import event as hook

SCHEMA_VERSION = 5
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(TypeDecorator[datetime]):
    """An aware datetime as integer microseconds, exact and comparable in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + timedelta(microseconds=value)


class Elapsed(TypeDecorator[timedelta]):
    """A duration as integer microseconds, to be added to an Instant in a statement."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> int | None:
        return None if value is None else value // timedelta(microseconds=1)


metadata = MetaData()

# Most of two years' faxes have lost their documents, and few events have one: an index of the others stays small.
_UNDELETED = text("documents_deleted_at IS NULL")
_WITH_DOCUMENT = text("document IS NOT NULL")
_DUE, _QUEUED = text("due_at IS NOT NULL"), text("state = 'queued'")
_CALLING = text("state IN ('uploading', 'submitted')")
_UNDELIVERED = text("state <> 'delivered'")
_WITH_CREDIT = text("credit_left IS NOT NULL")
# The lists that people see have an index each, and queries these conditions as they stand here. The functions change nothing, but
# keep SQLite from an index by state, which it would have to sort.
OPEN, DELIVERED = "coalesce(final_at, 0) = 0", "coalesce(state, '') = 'delivered'"
NOT_DELIVERED = "coalesce(state, '') IN ('failed', 'cancelled')"
RECEIVED = "coalesce(type, '') IN ('fax.received', 'voicemail.received')"
_OPEN, _DELIVERED, _NOT_DELIVERED, _OF_A_USER = text(OPEN), text(DELIVERED), text(NOT_DELIVERED), text('"user" IS NOT NULL')
_RECEIVED = text(RECEIVED)
_ABOUT_A_MAIL, _BY_MAIL = text("envelope_id IS NOT NULL"), text("address IS NOT NULL")
OWNER = """coalesce("user", client, '-')"""  # where users take turns; queries must have it as it stands here

# Facts about the database itself, and small ones about its work. Written when it is created and migrated, by `store.conditions`,
# `store.sending_state`, `store.alerts`, and by `store.writer`.
meta = Table(
    "meta",
    metadata,
    # "schema": its version. "made": when it was created, ISO 8601. "condition: NAME": it holds. "pause: ACCOUNT": its uploads in
    # a row without an answer. "alert: …": what was mailed to administrators. "written": filler, to prove that the disk takes data
    # again after a failed commit.
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# Accepted mails. Written once, by the submission.
envelope = Table(
    "envelope",
    metadata,
    Column("id", Text, primary_key=True),  # env_…, a ULID; an SMTP session assigns it at DATA
    Column("key", Text),  # SHA-256 of Message-ID, user, numbers and content, to know a repeated mail; NULL without Message-ID
    Column("path", Text, nullable=False),  # of the mail, relative to the spool
    Column("received_at", Instant, nullable=False),  # when it was accepted; shifted when the clock is set
    Column("record", JSON, nullable=False),  # the whole Envelope, for what no query selects by
    Column("user", Text),  # who sent it: name of a [user.NAME]; NULL without a login
    Index("envelope_key", "key", "received_at"),
    Index("envelope_path", "path"),
    Index("envelope_user", "user", "received_at"),
)

# Outbound faxes. Added by the submission; changed by the uploader, the poller, reports, and people's commands.
fax = Table(
    "fax",
    metadata,
    Column("id", Text, primary_key=True),  # fax_…, a ULID
    Column("envelope_id", Text, index=True),  # the mail that it was made from
    Column("account", Text, nullable=False),  # name of the MyFax account that sends it
    Column("number", Text, nullable=False),  # the recipient's number, E.164
    Column("state", Text, nullable=False),  # see `lifecycle`
    Column("token", Text, nullable=False, unique=True),  # MB-…, in the file name of the last upload: a report is matched by it
    Column("seq", Integer, nullable=False),  # counts this fax's events
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),  # when the next upload (queued) or poll (submitted) is due
    Column("expires_at", Instant, nullable=False),  # when it fails if there is no result
    Column("final_at", Instant),  # when it became delivered, failed or cancelled
    Column("fax_code", Text),  # MyFax's id of the fax (FAX_CODE), once accepted
    Column("pages", Integer),  # of all documents, or as MyFax counted them; NULL if unknown
    Column("polls", Integer, nullable=False),  # status requests that were answered since the last upload
    Column("price", Text),  # as MyFax writes it
    Column("credit_left", Text),  # of the account after this fax, as MyFax writes it
    Column("source", Text),  # where the last change came from: see `model.Source`
    Column("documents", JSON, nullable=False),  # list of Document; each path is empty once its file was deleted
    Column("attempts", JSON, nullable=False),  # list of Attempt, one for each upload
    Column("failure", JSON),  # Failure, when failed
    Column("email", JSON, nullable=False),  # Email: what events say about the mail
    Column("report", JSON),  # the report mail that was matched, as events show it
    Column("tags", JSON, nullable=False),  # X-Mailbridge-Tag, by key
    Column("documents_deleted_at", Instant),  # when its files became a pending deletion
    Column("user", Text),  # who sent it: name of a [user.NAME]; NULL without a login
    Column("same_key", Text),  # SHA-256 of user, number, and the mail's text and attachments, to find a fax that is sent again
    Column("repeat_of", Text),  # id of an earlier fax with the same content to the same number
    Column("client", Text),  # IP address of the SMTP client; NULL for `mailbridge send`
    Column("restored_at", Instant),  # when a restored backup put it in doubt; NULL once a person resolved that
    Column("currency", Text),  # of the price, by ISO 4217; NULL if MyFax writes none
    Column("node", Text),  # nod_…, which began its last upload; NULL with SQLite
    Index("fax_due", "state", "account", "due_at"),
    Index("fax_turn", "account", text(OWNER), "due_at", sqlite_where=_QUEUED),
    Index("fax_next", "state", "due_at"),
    Index("fax_expires", "state", "expires_at"),
    Index("fax_final", "final_at"),
    Index("fax_documents", "final_at", sqlite_where=_UNDELETED),
    Index("fax_number", "number", "final_at"),
    Index("fax_calls", "number", "state", sqlite_where=_CALLING),
    Index("fax_same", "same_key", "created_at"),
    Index("fax_credit", "account", "final_at", sqlite_where=_WITH_CREDIT),
    Index("fax_open", "id", sqlite_where=_OPEN),
    Index("fax_delivered", "id", sqlite_where=_DELIVERED),
    Index("fax_not_delivered", "id", sqlite_where=_NOT_DELIVERED),
    Index("fax_user", "user", "id", sqlite_where=_OF_A_USER),
    Index("fax_code", text("lower(fax_code)")),
)

# Tokens that a fax had before its present one: each upload has its own. Written with the fax, deleted with it.
former_token = Table(
    "former_token",
    metadata,
    Column("token", Text, primary_key=True),  # MB-…
    Column("fax_id", Text, nullable=False, index=True),
)

# The outbox. Written once, in the transaction of the change that the event describes.
event = Table(
    "event",
    metadata,
    Column("id", Text, primary_key=True),  # evt_…, a ULID; the webhook-id of each of its deliveries
    Column("type", Text, nullable=False),  # such as fax.delivered
    Column("at", Instant, nullable=False),  # when it was emitted
    Column("fax_id", Text, index=True),  # of the outbound or received fax that it is about
    Column("seq", Integer, nullable=False),  # the fax's `seq`; 0 for an event of no fax
    Column("data", JSON, nullable=False),  # the body's `data`, with the spool's path of a received document
    Column("document", Text),  # that path again, until retention deletes the file
    Index("event_at", "at"),
    Index("event_received", "id", sqlite_where=_RECEIVED),
    Index("event_document", "document", sqlite_where=_WITH_DOCUMENT),
)

# One event to one webhook, or one notice by mail or to a folder. Added with the event; changed by the dispatchers, and by replay.
delivery = Table(
    "delivery",
    metadata,
    Column("id", Text, primary_key=True),  # dlv_…, a ULID
    Column("event_id", Text, nullable=False, index=True),
    Column("endpoint", Text, nullable=False),  # name of the webhook; `notice` for mails, `folder` for directories
    Column("state", Text, nullable=False),  # see `lifecycle`
    Column("due_at", Instant, nullable=False),  # when the next attempt is due
    Column("attempts", Integer, nullable=False),  # attempts that have begun
    Column("status", Integer),  # HTTP status or SMTP reply code of the last attempt; NULL without an answer
    Column("error", Text),  # what went wrong in the last attempt
    Column("settled_at", Instant),  # when it became delivered or dead
    Column("address", Text),  # of a notice: the mail address or directory; NULL for webhooks
    Column("envelope_id", Text),  # of a sender's notice: the mail that it is about
    Column("notice", JSON(none_as_null=True)),  # of a notice: its kind, form, and the faxes that it is about
    Column("node", Text),  # nod_…, which made its last attempt; NULL with SQLite
    Index("delivery_due", "endpoint", "state", "due_at"),
    Index("delivery_listed", "endpoint", "id"),
    Index("delivery_undelivered", "endpoint", "state", "id", sqlite_where=_UNDELIVERED),
    Index("delivery_envelope", "envelope_id", sqlite_where=_ABOUT_A_MAIL),
    Index("delivery_address", "address", "settled_at", sqlite_where=_BY_MAIL),
)

# Each request of a delivery, so that a person can see what a receiver answered. Added by the dispatcher; deleted with it.
delivery_try = Table(
    "delivery_try",
    metadata,
    Column("id", Text, primary_key=True),  # try_…, a ULID
    Column("delivery_id", Text, nullable=False, index=True),
    Column("at", Instant, nullable=False),  # when it began
    Column("milliseconds", Integer, nullable=False),  # until its outcome was known
    Column("status", Integer),  # HTTP status; NULL without an answer
    Column("error", Text),  # what went wrong; NULL for 2xx
    Column("answer", Text),  # the first 512 bytes of the answer's body; NULL without an answer
)

# Webhooks that answered 410 Gone: nothing is sent to them. Added by the dispatcher, deleted by replay.
stopped_webhook = Table(
    "stopped_webhook",
    metadata,
    Column("endpoint", Text, primary_key=True),  # name of the webhook
    Column("stopped_at", Instant, nullable=False),  # when the 410 arrived
    Column("reason", Text, nullable=False),  # for people
)

# How far each watched folder was read (RFC 3501 section 2.3.1.1). Written by the watcher with what it read.
cursor = Table(
    "cursor",
    metadata,
    Column("mailbox", Text, primary_key=True),  # name of the mailbox in the configuration
    Column("folder", Text, primary_key=True),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("last_uid", BigInteger, nullable=False),  # every UID up to this one was processed
)

# Mails of watched mailboxes that were processed, so that none is processed again after the server renumbers its UIDs.
processed_mail = Table(
    "processed_mail",
    metadata,
    Column("mailbox", Text, primary_key=True),  # name of the mailbox in the configuration
    Column("digest", Text, primary_key=True),  # of its headers and size (see `report.parser.digest`)
    Column("at", Instant, nullable=False),  # when it was processed
    Index("processed_mail_at", "at"),
)

# Received faxes and voicemails, known by mail, by a list of `incoming.do`, or by both, so that each is reported once.
received_item = Table(
    "received_item",
    metadata,
    Column("id", Text, primary_key=True),  # fax_…, a ULID; the `fax_id` of its event
    Column("account", Text, nullable=False),  # name of the MyFax account
    Column("kind", Text, nullable=False),  # incoming (a fax) or voice
    Column("caller", Text),  # E.164 if possible; NULL when unknown
    Column("called", Text),  # likewise
    Column("at", Instant, nullable=False),  # when it was received, as the mail or the list says
    Column("noted_at", Instant, nullable=False),  # when mailbridge first saw it
    Column("listing_id", Text),  # its id in the list; NULL while only a mail is known
    Column("url", Text),  # of the document, from the list
    Column("mailed", Boolean, nullable=False),  # whether a mail reported it
    Column("trusted", Boolean, nullable=False),  # whether that mail passed the mailbox's trust setting; true for the list
    Column("sha256", Text),  # of the document
    Column("event_id", Text),  # of its event; NULL until it is emitted
    Column("due_at", Instant),  # when the list's side emits the event unless a mail comes first
    Column("tries", Integer, nullable=False),  # failed downloads from `url`
    Index("received_item_at", "account", "kind", "at"),
    Index("received_item_listing", "account", "kind", "listing_id", unique=True),
    Index("received_item_due", "account", "kind", "due_at", sqlite_where=_DUE),
    Index("received_item_noted", "noted_at"),
    Index("received_item_called", "account", "called"),
)

# What people wrote about received faxes. Written by the console; deleted with the fax's event.
received_note = Table(
    "received_note",
    metadata,
    Column("fax_id", Text, primary_key=True),  # of the received fax
    Column("changed_by", Text, nullable=False),  # user who wrote this last
    Column("changed_at", Instant, nullable=False),
    Column("note", Text, nullable=False),  # may be empty
    Column("handled_by", Text),  # user who handled the fax; NULL while nobody has
)

# How far each list of `incoming.do` was compared with the mails. Written by the listing.
listing_progress = Table(
    "listing_progress",
    metadata,
    Column("account", Text, primary_key=True),  # name of the MyFax account
    Column("kind", Text, primary_key=True),  # incoming or voice
    Column("started_at", Instant, nullable=False),  # the first start; older items are ignored
    Column("compared_at", Instant),  # the last complete comparison
)

# Files to be deleted: recorded before the first unlink, and replaced by audit lines after the last. Written by retention.
pending_deletion = Table(
    "pending_deletion",
    metadata,
    Column("path", Text, primary_key=True),  # of the mail or received document that the files belong to
    Column("files", JSON, nullable=False),  # list of paths relative to the spool
    Column("lines", JSON, nullable=False),  # list of drafts of audit lines
)

# What was deleted, and what people did and looked at. Rows are never changed or deleted. Written by retention and by the console.
audit = Table(
    "audit",
    metadata,
    Column("id", Text, primary_key=True),  # aud_…, a ULID
    Column("at", Instant, nullable=False),  # when it was deleted or done
    Column("what", Text, nullable=False),  # document.deleted, fax.deleted, event.deleted; fax.cancel, document.view, login, ...
    Column("subject", Text, nullable=False, index=True),  # the id of the fax, or else of the event; of a login, the user's name
    Column("number", Text, index=True),  # the other side's, E.164
    Column("record", JSON, nullable=False),  # enough to prove what it was; of what a person did: who, and from where
)

# Logins to the console. Added by a login; deleted by a logout, by a person who ends it, and when it has expired.
console_session = Table(
    "console_session",
    metadata,
    Column("hash", Text, primary_key=True),  # SHA-256 of the token in the browser's cookie
    Column("id", Text, nullable=False, unique=True),  # ses_…, a ULID, by which people name it
    Column("user", Text, nullable=False, index=True),  # name of a [user.NAME]
    Column("password", Text, nullable=False),  # SHA-256 of its password_hash then: another password ends the session
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("client", Text, nullable=False),  # IP address of the browser
    Column("agent", Text, nullable=False),  # what the browser calls itself (User-Agent), shortened
)

# Mails that people compose in the console, where several nodes serve it. Written by `submission.shared_drafts`.
draft = Table(
    "draft",
    metadata,
    Column("key", Text, primary_key=True),  # random, in its address
    Column("user", Text, nullable=False),  # who composes it
    Column("made_at", Instant, nullable=False),
    Column("fax_id", Text),  # its first fax, once it was sent
    Column("record", JSON, nullable=False),  # what is shown of it, and where its mail is
)

# Secrets that mailbridge makes itself: the key of document links. Added once.
secret = Table(
    "secret",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),  # base64
)

# OAuth 2.0 tokens of mailboxes. Written by the watcher, and by `check --online`.
oauth_token = Table(
    "oauth_token",
    metadata,
    Column("mailbox", Text, primary_key=True),  # name of the mailbox in the configuration
    Column("configured", Text, nullable=False),  # SHA-256 of the configuration that the tokens belong to
    Column("refresh_token", Text),  # the newest; NULL while the configured one was not used
    Column("access_token", Text),  # the newest
    Column("renew_at", Instant),  # when the access token is too old
    Column("asked_by", Text),  # who asks the provider for new tokens now
    Column("asked_until", Instant),  # when others may ask, if there is no answer until then
)

# Faxes that a report has made due for a status request in the last minute. Written with the report.
poll_request = Table(
    "poll_request",
    metadata,
    Column("fax_id", Text, primary_key=True),
    Column("at", Instant, nullable=False),
)

# How many faxes and deliveries are in each state: counting two years of them would take seconds. Written by triggers alone.
counter = Table(
    "counter",
    metadata,
    Column("kind", Text, primary_key=True),  # fax or delivery
    Column("endpoint", Text, primary_key=True),  # of deliveries; empty for faxes
    Column("state", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
)


def _counter_triggers(kind: str, endpoint: str) -> dict[str, str]:
    def add(row: str, sign: str) -> str:
        return (
            f"INSERT INTO counter VALUES ('{kind}', {endpoint.format(row=row)}, {row}.state, {sign}1) "
            f"ON CONFLICT (kind, endpoint, state) DO UPDATE SET n = n {sign} 1;"
        )

    more, less = add("NEW", "+"), add("OLD", "-")
    return {
        f"{kind}_count_insert": f"AFTER INSERT ON {kind} BEGIN {more} END",
        f"{kind}_count_delete": f"AFTER DELETE ON {kind} BEGIN {less} END",
        f"{kind}_count_state": f"AFTER UPDATE OF state ON {kind} WHEN OLD.state <> NEW.state BEGIN {less} {more} END",
    }


TRIGGERS = {
    **_counter_triggers("fax", "''"),
    **_counter_triggers("delivery", "{row}.endpoint"),
    "audit_no_delete": "BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
    "audit_no_update": "BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
}
for _name, _body in TRIGGERS.items():
    _trigger = DDL(f"CREATE TRIGGER {_name} {_body}")  # type: ignore[no-untyped-call]  # SQLAlchemy's DDL is not typed
    hook.listen(metadata, "after_create", _trigger.execute_if(dialect="sqlite"))
