"""Schema 3: received faxes and voicemails, and how far the lists of `incoming.do` were compared."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    """Migrate schema 2 to schema 3."""
    _receipt(op)
    _listing(op)


def _receipt(op: Operations) -> None:
    op.create_table(
        "receipt",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("caller", sa.Text),
        sa.Column("called", sa.Text),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("noted_at", sa.BigInteger, nullable=False),
        sa.Column("listing_id", sa.Text),
        sa.Column("url", sa.Text),
        sa.Column("mailed", sa.Boolean, nullable=False),
        sa.Column("trusted", sa.Boolean, nullable=False),
        sa.Column("sha256", sa.Text),
        sa.Column("event_id", sa.Text),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("tries", sa.Integer, nullable=False),
    )
    op.create_index("receipt_at", "receipt", ["account", "kind", "at"])
    op.create_index("receipt_listing", "receipt", ["account", "kind", "listing_id"], unique=True)
    op.create_index("receipt_due", "receipt", ["account", "kind", "due_at"], sqlite_where=sa.text("due_at IS NOT NULL"))
    op.create_index("receipt_noted", "receipt", ["noted_at"])


def _listing(op: Operations) -> None:
    op.create_table(
        "listing",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("compared_at", sa.BigInteger),
    )
