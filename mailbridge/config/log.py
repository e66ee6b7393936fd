"""`[log]`: the log on standard error."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mailbridge.config.section import Section


class Log(Section):
    """Level and format of the log."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description='Lowest level to log: "debug", "info", "warning" or "error".',
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto",
        description='"console", "json", or "auto" (console on a terminal, otherwise JSON).',
    )
