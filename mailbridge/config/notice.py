"""`[notice]`: mail to senders about their faxes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from mailbridge.config.section import Section


class Notice(Section):
    """When notifications are sent, and through which server."""

    on: tuple[Literal["failed", "in_doubt", "delivered"], ...] = Field(
        default=("failed", "in_doubt"),
        description='States to notify senders of when they requested no DSN: "failed", "in_doubt", "delivered".',
    )
    relay: SecretStr | None = Field(
        default=None,
        description="Mail server: smtp://[user:password@]host:port or smtps://…. Default: no notifications.",
        examples=["smtp://mail.example.co.il:587"],
    )
    sender: str | None = Field(
        default=None,
        description="Sender address. Default: mailbridge@ followed by smtp.hostname.",
        examples=["fax@example.co.il"],
    )
