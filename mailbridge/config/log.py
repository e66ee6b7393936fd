"""`[log]`: the log on standard error."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mailbridge.config.section import Section


def _lower_case(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Log(Section):
    """Level and format of the log."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower_case)] = Field(
        default="info",
        description='Lowest level to log: "debug", "info", "warning" or "error".',
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto",
        description='"console", "json", or "auto" (console on a terminal, otherwise JSON).',
    )
