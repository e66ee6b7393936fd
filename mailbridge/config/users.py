"""`[user.NAME]`: clients that authenticate to send, and people who use the console."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mailbridge.config.section import Section
from mailbridge.config.values import Hash, Network, Rule, wrong


class User(Section):
    """A user of SMTP and of the console, and what this user may send and see."""

    password_hash: Hash | None = Field(
        default=None,
        description="Output of `mailbridge hash-password`. Default: no login, which needs networks.",
        examples=["scrypt$…"],
    )
    networks: tuple[Network, ...] = Field(
        default=(),
        description="Clients from these networks are this user without a login, such as old scanners. Default: none.",
        examples=[["192.168.1.20", "10.0.7.0/24"]],
    )
    account: str | None = Field(
        default=None,
        description="Account that this user's faxes are sent with. Default: the first account.",
        examples=["office"],
    )
    accounts: tuple[str, ...] = Field(
        default=(),
        description="Accounts that X-Mailbridge-Account may name. Default: only account, or any if account is not set.",
        examples=[["office", "warehouse"]],
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
    language: Literal["he", "en"] | None = Field(
        default=None,
        description="Language of notices to this user, and of the console. Default: language.",
        examples=["en"],
    )
    role: Literal["sender", "operator", "viewer"] = Field(
        default="sender",
        description=(
            'What this user may do in the console. "sender": send faxes, and see, cancel and send again those of this user. '
            '"viewer": see everything. "operator": see everything, and act on it.'
        ),
    )

    @model_validator(mode="after")
    def _known_by_something(self) -> User:
        if self.password_hash is None and not self.networks:
            raise wrong("a user needs a password_hash or networks", "set password_hash to the output of mailbridge hash-password")
        return self
