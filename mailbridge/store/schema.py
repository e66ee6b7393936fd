"""The tables. Times are integers: microseconds since 1970 in UTC.

SCHEMA_VERSION changes with every change here, and `store.migrations` then gets a module that leads to it. A new column stands
last in its table, where ALTER TABLE puts it, so that a migrated database equals a fresh one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import DDL, JSON, BigInteger, Boolean, Column, Dialect, Index, Integer, MetaData, Table, Text, TypeDecorator, text
from sqlalchemy import event as hook

SCHEMA_VERSION = 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(TypeDecorator[datetime]):
    """An aware datetime as integer microseconds, exact and comparable in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Elapsed(TypeDecorator[timedelta]):
    """A stretch of time as integer microseconds, to be added to an Instant inside a statement."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> int | None:
        return None if value is None else value // timedelta(microseconds=1)


metadata = MetaData()

# Most faxes of two years lost their documents after a week, and few events have one: an index of the others stays small.
_UNDELETED = text("documents_deleted_at IS NULL")
_WITH_DOCUMENT = text("document IS NOT NULL")
_DUE = text("due_at IS NOT NULL")

meta = Table("meta", metadata, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

envelope = Table(
    "envelope",
    metadata,
    Column("id", Text, primary_key=True),
    Column("key", Text),
    Column("path", Text, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("record", JSON, nullable=False),
    Column("user", Text),
    Index("envelope_key", "key", "received_at"),
    Index("envelope_path", "path"),
    Index("envelope_user", "user", "received_at"),
)

fax = Table(
    "fax",
    metadata,
    Column("id", Text, primary_key=True),
    Column("envelope_id", Text, index=True),
    Column("account", Text, nullable=False),
    Column("number", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("token", Text, nullable=False, unique=True),
    Column("seq", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("final_at", Instant),
    Column("fax_code", Text),
    Column("pages", Integer),
    Column("polls", Integer, nullable=False),
    Column("price", Text),
    Column("credit_left", Text),
    Column("source", Text),
    Column("documents", JSON, nullable=False),
    Column("attempts", JSON, nullable=False),
    Column("failure", JSON),
    Column("email", JSON, nullable=False),
    Column("report", JSON),
    Column("tags", JSON, nullable=False),
    Column("documents_deleted_at", Instant),
    Index("fax_due", "state", "account", "due_at"),
    Index("fax_next", "state", "due_at"),
    Index("fax_expires", "state", "expires_at"),
    Index("fax_final", "final_at"),
    Index("fax_documents", "final_at", sqlite_where=_UNDELETED, postgresql_where=_UNDELETED),
    Index("fax_number", "number", "final_at"),
    Index("fax_code", text("lower(fax_code)")),
)

event = Table(
    "event",
    metadata,
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("fax_id", Text, index=True),
    Column("seq", Integer, nullable=False),
    Column("data", JSON, nullable=False),
    Column("document", Text),
    Index("event_at", "at"),
    Index("event_document", "document", sqlite_where=_WITH_DOCUMENT, postgresql_where=_WITH_DOCUMENT),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", Text, primary_key=True),
    Column("event_id", Text, nullable=False, index=True),
    Column("endpoint", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("status", Integer),
    Column("error", Text),
    Column("settled_at", Instant),
    Index("delivery_due", "endpoint", "state", "due_at"),
)

cursor = Table(
    "cursor",
    metadata,
    Column("mailbox", Text, primary_key=True),
    Column("folder", Text, primary_key=True),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("last_uid", BigInteger, nullable=False),
)

handled = Table(
    "handled",
    metadata,
    Column("mailbox", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    Index("handled_at", "at"),
)

# Every fax and voicemail that came in, by mail or by the list of `incoming.do`, so that the other one raises nothing again.
receipt = Table(
    "receipt",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("caller", Text),
    Column("called", Text),
    Column("at", Instant, nullable=False),
    Column("noted_at", Instant, nullable=False),
    Column("listing_id", Text),
    Column("url", Text),
    Column("mailed", Boolean, nullable=False),
    Column("trusted", Boolean, nullable=False),
    Column("sha256", Text),
    Column("event_id", Text),
    Column("due_at", Instant),
    Column("tries", Integer, nullable=False),
    Index("receipt_at", "account", "kind", "at"),
    Index("receipt_listing", "account", "kind", "listing_id", unique=True),
    Index("receipt_due", "account", "kind", "due_at", sqlite_where=_DUE, postgresql_where=_DUE),
    Index("receipt_noted", "noted_at"),
)

# Since when `incoming.do` is compared, and until when that was done.
listing = Table(
    "listing",
    metadata,
    Column("account", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("started_at", Instant, nullable=False),
    Column("compared_at", Instant),
)

# Files that are to be deleted: the intent is durable before the first unlink, and the audit lines are written after the last.
erasure = Table(
    "erasure",
    metadata,
    Column("path", Text, primary_key=True),
    Column("files", JSON, nullable=False),
    Column("lines", JSON, nullable=False),
)

# What was deleted and when. Nothing is ever changed or deleted here.
audit = Table(
    "audit",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("what", Text, nullable=False),
    Column("subject", Text, nullable=False, index=True),
    Column("number", Text, index=True),
    Column("record", JSON, nullable=False),
)

# How many faxes and deliveries are in each state: counted as they move, since counting two years of them takes seconds.
tally = Table(
    "tally",
    metadata,
    Column("noun", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
)


def _counted(noun: str, endpoint: str) -> dict[str, str]:
    def add(row: str, sign: str) -> str:
        where = endpoint.format(row=row)
        return (
            f"INSERT INTO tally VALUES ('{noun}', {where}, {row}.state, {sign}1) "
            f"ON CONFLICT (noun, endpoint, state) DO UPDATE SET n = n {sign} 1;"
        )

    more, less = add("NEW", "+"), add("OLD", "-")
    return {
        f"{noun}_come": f"AFTER INSERT ON {noun} BEGIN {more} END",
        f"{noun}_gone": f"AFTER DELETE ON {noun} BEGIN {less} END",
        f"{noun}_moved": f"AFTER UPDATE OF state ON {noun} WHEN OLD.state <> NEW.state BEGIN {less} {more} END",
    }


TRIGGERS = {
    **_counted("fax", "''"),
    **_counted("delivery", "{row}.endpoint"),
    "audit_kept": "BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
    "audit_fixed": "BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
}
for _name, _body in TRIGGERS.items():
    _trigger = DDL(f"CREATE TRIGGER {_name} {_body}")  # type: ignore[no-untyped-call]  # SQLAlchemy's has no types
    hook.listen(metadata, "after_create", _trigger.execute_if(dialect="sqlite"))
