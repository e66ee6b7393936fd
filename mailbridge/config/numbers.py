"""`[numbers]`: the numbers that may be faxed."""

from __future__ import annotations

from pydantic import Field

from mailbridge.config.section import Section
from mailbridge.config.values import Rule


class Numbers(Section):
    """Rules for every recipient."""

    allow: tuple[Rule, ...] = Field(
        default=("IL",),
        description='Allowed numbers: countries such as "IL", or prefixes such as "+9723".',
    )
    deny: tuple[Rule, ...] = Field(
        default=("premium", "short"),
        description='Denied numbers: countries, prefixes, "premium" or "short". Takes precedence over allow.',
    )
    possible: bool = Field(
        default=False,
        description=(
            "Also accept numbers that no numbering plan contains, such as ranges newer than this version, if their length is "
            "possible. A number with a digit missing or added, or without its area code, may then reach a stranger."
        ),
    )
