"""`[retention]`: how long data is kept."""

from __future__ import annotations

from pydantic import Field

from mailbridge.config.section import Section
from mailbridge.config.values import Duration


class Retention(Section):
    """Times after which data is deleted."""

    documents: Duration = Field(
        default=7 * 86400.0,
        description="How long to keep documents.",
    )
    records: Duration = Field(
        default=730 * 86400.0,
        description="How long to keep the records of faxes and events.",
    )
