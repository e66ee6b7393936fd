"""Schema 5: the key of document links, OAuth tokens, requests of reports, and drafts, which were in files or in memory."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    """Migrate schema 4 to schema 5. Databases of the last days before schema 5 have some of its tables."""
    tables: dict[str, tuple[sa.Column[Any], ...]] = {
        "secret": (sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.Text, nullable=False)),
        "oauth_token": (
            sa.Column("mailbox", sa.Text, primary_key=True),
            sa.Column("configured", sa.Text, nullable=False),
            *(sa.Column(name, sa.Text) for name in ("refresh_token", "access_token")),
            sa.Column("renew_at", sa.BigInteger),
            sa.Column("asked_by", sa.Text),
            sa.Column("asked_until", sa.BigInteger),
        ),
        "draft": (
            sa.Column("key", sa.Text, primary_key=True),
            sa.Column("user", sa.Text, nullable=False),
            sa.Column("made_at", sa.BigInteger, nullable=False),
            sa.Column("fax_id", sa.Text),
            sa.Column("record", sa.JSON, nullable=False),
        ),
        "poll_request": (sa.Column("fax_id", sa.Text, primary_key=True), sa.Column("at", sa.BigInteger, nullable=False)),
    }
    existing = sa.inspect(op.get_bind()).get_table_names()
    for name in tables.keys() - set(existing):
        op.create_table(name, *tables[name])
