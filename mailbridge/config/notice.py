"""`[notice]`: mail to senders about their faxes, and to administrators."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from mailbridge.config.mail_addresses import MailAddress, MailAddresses, NamedAddress, relay_address
from mailbridge.config.section import Section
from mailbridge.config.values import Domain, Duration, PositiveDuration, Size


class Notice(Section):
    """When notices are sent, in which form, and through which server."""

    on: tuple[Literal["failed", "in_doubt", "delivered"], ...] = Field(
        default=("failed", "in_doubt"),
        description='Results that senders get a mail about without asking by DSN: "failed", "in_doubt", "delivered".',
    )
    relay: SecretStr | None = Field(
        default=None,
        description="Mail server: smtp://[user:password@]host:port or smtps://…. Default: no notices are sent.",
        examples=["smtp://mail.example.co.il:587"],
    )
    sender: NamedAddress | None = Field(
        default=None,
        description="Sender of notices, with or without a display name. Default: mailbridge@ followed by smtp.hostname.",
        examples=["Fax <fax@example.co.il>"],
    )
    form: Literal["auto", "dsn", "mail"] = Field(
        default="auto",
        description='"auto": a DSN (RFC 3464) if NOTIFY asked for it, otherwise an ordinary mail; or always "dsn" or "mail".',
    )
    confirmation: bool = Field(
        default=True,
        description="Attach a confirmation (PDF) to mails about delivered and failed faxes.",
    )
    envelope: MailAddress | Literal[""] = Field(
        default="",
        description="Envelope sender for a relay that refuses the null sender. Default: only the null sender.",
        examples=["fax-bounces@example.co.il"],
    )
    gather: Duration = Field(
        default=60.0,
        description="The results of one mail are gathered for this time into one notice; sent at once when all are known.",
    )
    delay: PositiveDuration = Field(
        default=14400.0,
        description="After this time, a sender who asked for DELAY is notified of a fax without a final result.",
    )
    return_limit: Size = Field(
        default=1_000_000,
        description="Largest mail that RET=FULL returns whole; of a larger one only its header is returned.",
    )
    per_hour: int = Field(
        default=60,
        ge=1,
        description="Maximum number of notices to one address per hour; what is beyond is summed up in one mail.",
    )
    domains: tuple[Domain, ...] = Field(
        default=(),
        description="Domains that senders may get notices at. Default: any.",
        examples=[["example.co.il"]],
    )
    admin: MailAddresses = Field(
        default=(),
        description="Addresses that get a mail when mailbridge needs a person. Default: none.",
        examples=[["it@example.co.il"]],
    )

    @field_validator("relay")
    @classmethod
    def _valid_relay(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            relay_address(value.get_secret_value())
        return value
