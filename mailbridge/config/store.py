"""`[store]`: where faxes and events are kept."""

from __future__ import annotations

from pydantic import Field, field_validator

from mailbridge.config.section import Section
from mailbridge.config.values import wrong


class StoreOptions(Section):
    """Options of the database."""

    url: str | None = Field(
        default=None,
        description="Database URL. Default: SQLite in state_dir. PostgreSQL is not supported yet; this version rejects the key.",
        examples=["postgresql://mailbridge@db.example.co.il/mailbridge"],
    )

    @field_validator("url")
    @classmethod
    def _sqlite_only(cls, url: str | None) -> str | None:
        # The message does not repeat the URL, which may contain a password.
        if url is not None:
            raise wrong("PostgreSQL is not supported by this version", "remove url; faxes are kept in SQLite in state_dir")
        return url
