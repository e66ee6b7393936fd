"""`[webhook.NAME]`: endpoints that receive events."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mailbridge.config.addresses import http_url
from mailbridge.config.section import Section
from mailbridge.config.values import PositiveDuration, Size, WebhookSecrets, wrong


class Webhook(Section):
    """A receiver, and the events it wants."""

    url: str = Field(
        description="URL that events are posted to.",
        examples=["https://crm.example.co.il/hooks/fax"],
    )
    secrets: WebhookSecrets = Field(
        alias="secret",
        description="Signing secret, whsec_…, or a list of two during rotation.",
        examples=[{"credential": "webhook-crm"}],
    )
    events: tuple[str, ...] = Field(
        default=("*",),
        description='Patterns of event types, such as "fax.*". docs/webhooks.md lists the types.',
    )
    document: Literal["none", "link", "inline"] = Field(
        default="link",
        description=(
            'How received documents are included: "none", "link" (signed and expiring, served by [http]), or "inline" (base64; '
            "larger documents as a link)."
        ),
    )
    inline_limit: Size = Field(
        default=5_000_000,
        description="Maximum size of an inline document.",
    )
    timeout: PositiveDuration = Field(
        default=20.0,
        description="Time limit for one delivery attempt.",
    )
    allow_private: bool = Field(
        default=False,
        description="Also allow private addresses and plain http.",
    )

    @model_validator(mode="after")
    def _https(self) -> Webhook:
        parts = http_url("url", self.url, 'write the receiver\'s URL, such as "https://crm.example.co.il/hooks/fax"')
        if parts.scheme == "http" and not self.allow_private:
            raise wrong("url is plain http", "write https://, or set allow_private = true for a receiver in your own network")
        return self
