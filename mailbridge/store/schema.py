"""The tables. Times are integers: microseconds since 1970 in UTC. SCHEMA_VERSION changes with every change here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import JSON, BigInteger, Column, Dialect, Index, Integer, MetaData, Table, Text, TypeDecorator

SCHEMA_VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(TypeDecorator[datetime]):
    """An aware datetime as integer microseconds, exact and comparable in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


metadata = MetaData()

meta = Table("meta", metadata, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

envelope = Table(
    "envelope",
    metadata,
    Column("id", Text, primary_key=True),
    Column("key", Text),
    Column("path", Text, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("record", JSON, nullable=False),
    Index("envelope_key", "key", "received_at"),
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
    Index("fax_due", "state", "account", "due_at"),
    Index("fax_next", "state", "due_at"),
    Index("fax_expires", "state", "expires_at"),
    Index("fax_final", "final_at"),
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
)
