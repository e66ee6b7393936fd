"""Schema 4: tables renamed after what they hold, webhooks stay stopped over a restart, calls by number, notices, console."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

_COUNT = (
    "INSERT INTO counter VALUES ('{kind}', {endpoint}, {row}.state, {sign}1) "
    "ON CONFLICT (kind, endpoint, state) DO UPDATE SET n = n {sign} 1;"
)


def upgrade(op: Operations) -> None:
    """Migrate schema 3 to schema 4."""
    _processed_mail(op)
    _received_item(op)
    op.rename_table("listing", "listing_progress")
    op.rename_table("erasure", "pending_deletion")
    _counter(op)
    _audit(op)
    _stopped_webhook(op)
    _delivery_try(op)
    _console(op)
    op.create_index("fax_calls", "fax", ["number", "state"], sqlite_where=sa.text("state IN ('uploading', 'submitted')"))
    for name in ("user", "same_key", "repeat_of", "client"):
        op.add_column("fax", sa.Column(name, sa.Text))
    op.add_column("fax", sa.Column("restored_at", sa.BigInteger))
    op.add_column("fax", sa.Column("currency", sa.Text))
    op.add_column("fax", sa.Column("node", sa.Text))
    op.create_table("former_token", sa.Column("token", sa.Text, primary_key=True), sa.Column("fax_id", sa.Text, nullable=False))
    op.create_index("ix_former_token_fax_id", "former_token", ["fax_id"])
    turn: list[str | sa.TextClause] = ["account", sa.text("coalesce(\"user\", client, '-')"), "due_at"]
    op.create_index("fax_turn", "fax", [*turn], sqlite_where=sa.text("state = 'queued'"))
    op.create_index("fax_same", "fax", ["same_key", "created_at"])
    _notices(op)
    _console_session(op)
    _lists(op)
    op.execute("UPDATE meta SET key = 'condition: ' || substr(key, 7) WHERE key LIKE 'mark: %'")


def _processed_mail(op: Operations) -> None:
    op.drop_index("handled_at")
    op.rename_table("handled", "processed_mail")
    op.create_index("processed_mail_at", "processed_mail", ["at"])


def _received_item(op: Operations) -> None:
    for name in ("at", "listing", "due", "noted"):
        op.drop_index(f"receipt_{name}")
    op.rename_table("receipt", "received_item")
    due = sa.text("due_at IS NOT NULL")
    op.create_index("received_item_at", "received_item", ["account", "kind", "at"])
    op.create_index("received_item_listing", "received_item", ["account", "kind", "listing_id"], unique=True)
    op.create_index("received_item_due", "received_item", ["account", "kind", "due_at"], sqlite_where=due)
    op.create_index("received_item_noted", "received_item", ["noted_at"])
    op.create_index("received_item_called", "received_item", ["account", "called"])


def _counter(op: Operations) -> None:
    for kind in ("fax", "delivery"):
        for name in ("come", "gone", "moved"):
            op.execute(f"DROP TRIGGER {kind}_{name}")
    op.rename_table("tally", "counter")
    op.execute("ALTER TABLE counter RENAME COLUMN noun TO kind")
    _count(op, "fax", "''", "''")
    _count(op, "delivery", "OLD.endpoint", "NEW.endpoint")


def _count(op: Operations, kind: str, old: str, new: str) -> None:
    less = _COUNT.format(kind=kind, endpoint=old, row="OLD", sign="-")
    more = _COUNT.format(kind=kind, endpoint=new, row="NEW", sign="+")
    changed = f"AFTER UPDATE OF state ON {kind} WHEN OLD.state <> NEW.state"
    op.execute(f"CREATE TRIGGER {kind}_count_insert AFTER INSERT ON {kind} BEGIN {more} END")
    op.execute(f"CREATE TRIGGER {kind}_count_delete AFTER DELETE ON {kind} BEGIN {less} END")
    op.execute(f"CREATE TRIGGER {kind}_count_state {changed} BEGIN {less} {more} END")


def _audit(op: Operations) -> None:
    for old, new, verb in (("audit_kept", "audit_no_delete", "DELETE"), ("audit_fixed", "audit_no_update", "UPDATE")):
        op.execute(f"DROP TRIGGER {old}")
        op.execute(f"CREATE TRIGGER {new} BEFORE {verb} ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END")


def _stopped_webhook(op: Operations) -> None:
    op.create_table(
        "stopped_webhook",
        sa.Column("endpoint", sa.Text, primary_key=True),
        sa.Column("stopped_at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )


def _notices(op: Operations) -> None:
    for column in (
        sa.Column("address", sa.Text),
        sa.Column("envelope_id", sa.Text),
        sa.Column("notice", sa.JSON),
        sa.Column("node", sa.Text),
    ):
        op.add_column("delivery", column)
    op.create_index("delivery_envelope", "delivery", ["envelope_id"], sqlite_where=sa.text("envelope_id IS NOT NULL"))
    op.create_index("delivery_address", "delivery", ["address", "settled_at"], sqlite_where=sa.text("address IS NOT NULL"))


def _delivery_try(op: Operations) -> None:
    op.create_table(
        "delivery_try",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("delivery_id", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("milliseconds", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("answer", sa.Text),
    )
    op.create_index("ix_delivery_try_delivery_id", "delivery_try", ["delivery_id"])


def _console(op: Operations) -> None:
    undelivered = sa.text("state <> 'delivered'")
    op.create_index("delivery_listed", "delivery", ["endpoint", "id"])
    op.create_index("delivery_undelivered", "delivery", ["endpoint", "state", "id"], sqlite_where=undelivered)
    op.create_table(
        "received_note",
        sa.Column("fax_id", sa.Text, primary_key=True),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("handled_by", sa.Text),
    )


def _console_session(op: Operations) -> None:
    op.create_table(
        "console_session",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("password", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
    )
    op.create_index("ix_console_session_user", "console_session", ["user"])


def _lists(op: Operations) -> None:
    op.create_index("fax_credit", "fax", ["account", "final_at"], sqlite_where=sa.text("credit_left IS NOT NULL"))
    op.create_index("fax_open", "fax", ["id"], sqlite_where=sa.text("coalesce(final_at, 0) = 0"))
    op.create_index("fax_delivered", "fax", ["id"], sqlite_where=sa.text("coalesce(state, '') = 'delivered'"))
    not_delivered = sa.text("coalesce(state, '') IN ('failed', 'cancelled')")
    op.create_index("fax_not_delivered", "fax", ["id"], sqlite_where=not_delivered)
    op.create_index("fax_user", "fax", ["user", "id"], sqlite_where=sa.text('"user" IS NOT NULL'))
    received = sa.text("coalesce(type, '') IN ('fax.received', 'voicemail.received')")
    op.create_index("event_received", "event", ["id"], sqlite_where=received)
