"""`[store]`: where faxes and events are kept."""

from __future__ import annotations

from pydantic import Field, model_validator

from mailbridge.config.section import Section
from mailbridge.config.values import wrong


class StoreOptions(Section):
    """Options of the database."""

    url: str | None = Field(
        default=None,
        description="Database URL. Default: SQLite in state_dir. PostgreSQL is not supported yet; this version rejects the key.",
        examples=["postgresql://mailbridge@db.example.co.il/mailbridge"],
    )

    @model_validator(mode="after")
    def _sqlite_only(self) -> StoreOptions:
        # The message does not repeat the URL, which may contain a password.
        if self.url is not None:
            raise wrong(
                "url is for PostgreSQL, which this version does not support yet",
                "remove url; faxes are kept in SQLite in state_dir",
            )
        return self
