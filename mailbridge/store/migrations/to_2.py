"""Schema 2: retention and its audit, counters, and columns to find mails by user and events by document."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

_COUNT = (
    "INSERT INTO tally VALUES ('{noun}', {endpoint}, {row}.state, {sign}1) "
    "ON CONFLICT (noun, endpoint, state) DO UPDATE SET n = n {sign} 1;"
)


def upgrade(op: Operations) -> None:
    """Migrate schema 1 to schema 2."""
    _columns(op)
    _indexes(op)
    _tables(op)
    _tally(op, "fax", "''", "''")
    _tally(op, "delivery", "OLD.endpoint", "NEW.endpoint")
    for name, verb in (("audit_kept", "DELETE"), ("audit_fixed", "UPDATE")):
        op.execute(f"CREATE TRIGGER {name} BEFORE {verb} ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END")


def _columns(op: Operations) -> None:
    op.add_column("envelope", sa.Column("user", sa.Text))
    op.execute("UPDATE envelope SET \"user\" = json_extract(record, '$.user')")
    op.add_column("fax", sa.Column("documents_deleted_at", sa.BigInteger))
    op.add_column("event", sa.Column("document", sa.Text))
    op.execute("UPDATE event SET document = json_extract(data, '$.document.path') WHERE data LIKE '%\"document\"%'")


def _indexes(op: Operations) -> None:
    op.create_index("envelope_path", "envelope", ["path"])
    op.create_index("envelope_user", "envelope", ["user", "received_at"])
    op.create_index("fax_documents", "fax", ["final_at"], sqlite_where=sa.text("documents_deleted_at IS NULL"))
    op.create_index("fax_number", "fax", ["number", "final_at"])
    op.create_index("fax_code", "fax", [sa.text("lower(fax_code)")])
    op.create_index("event_at", "event", ["at"])
    op.create_index("handled_at", "handled", ["at"])
    op.create_index("event_document", "event", ["document"], sqlite_where=sa.text("document IS NOT NULL"))


def _tables(op: Operations) -> None:
    op.create_table(
        "erasure",
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("files", sa.JSON, nullable=False),
        sa.Column("lines", sa.JSON, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("number", sa.Text),
        sa.Column("record", sa.JSON, nullable=False),
    )
    op.create_index("ix_audit_subject", "audit", ["subject"])
    op.create_index("ix_audit_number", "audit", ["number"])
    op.create_table(
        "tally",
        sa.Column("noun", sa.Text, primary_key=True),
        sa.Column("endpoint", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, primary_key=True),
        sa.Column("n", sa.BigInteger, nullable=False),
    )


def _tally(op: Operations, noun: str, old: str, new: str) -> None:
    less = _COUNT.format(noun=noun, endpoint=old, row="OLD", sign="-")
    more = _COUNT.format(noun=noun, endpoint=new, row="NEW", sign="+")
    counted = "''" if noun == "fax" else "endpoint"
    op.execute(f"INSERT INTO tally SELECT '{noun}', {counted}, state, count(*) FROM {noun} GROUP BY 2, 3")
    op.execute(f"CREATE TRIGGER {noun}_come AFTER INSERT ON {noun} BEGIN {more} END")
    op.execute(f"CREATE TRIGGER {noun}_gone AFTER DELETE ON {noun} BEGIN {less} END")
    op.execute(f"CREATE TRIGGER {noun}_moved AFTER UPDATE OF state ON {noun} WHEN OLD.state <> NEW.state BEGIN {less} {more} END")
