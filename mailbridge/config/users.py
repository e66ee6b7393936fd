"""`[user.NAME]`: clients that authenticate to send."""

from __future__ import annotations

from pydantic import Field

from mailbridge.config.section import Section
from mailbridge.config.values import Hash, Rule


class User(Section):
    """An SMTP user, and what this user may send."""

    password_hash: Hash = Field(
        description="Output of `mailbridge hash-password`.",
        examples=["scrypt$…"],
    )
    account: str | None = Field(
        default=None,
        description="Account that this user's faxes are sent with. Default: the first account.",
        examples=["office"],
    )
    senders: tuple[str, ...] = Field(
        default=(),
        description="Addresses or domains that this user may send as. Default: any.",
        examples=[["scanner@example.co.il"]],
    )
    allow: tuple[Rule, ...] | None = Field(
        default=None,
        description="Numbers that this user may fax, written as in numbers.allow. Default: numbers.allow.",
        examples=[["IL"]],
    )
    daily_limit: int | None = Field(
        default=None,
        ge=0,
        description="Maximum number of faxes per day. Default: no limit.",
        examples=[200],
    )
