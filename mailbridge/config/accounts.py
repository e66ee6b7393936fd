"""`[account.NAME]` and `[distributor]`: logins to MyFax."""

from __future__ import annotations

from pydantic import Field

from mailbridge.config.section import Section
from mailbridge.config.values import Address, Secret


class Account(Section):
    """A MyFax user that faxes are sent and received with."""

    email: Address = Field(
        description="Email address of the MyFax user.",
        examples=["office@example.co.il"],
    )
    password: Secret = Field(
        description="Password of the MyFax user.",
        examples=[{"credential": "office"}],
    )
    uploads: int = Field(
        default=1,
        ge=1,
        le=50,
        description="Number of concurrent uploads, 1 to 50.",
    )
    low_credit: int | None = Field(
        default=None,
        ge=0,
        description="Emit credit.low once when the remaining credit falls to this value. Default: never.",
        examples=[50],
    )


class Distributor(Section):
    """The login that registers and releases lines."""

    email: Address = Field(
        description="Email address of the distributor.",
        examples=["distributor@example.co.il"],
    )
    password: Secret = Field(
        description="Password of the distributor.",
        examples=[{"credential": "distributor"}],
    )
