"""`[webhook.NAME]`: endpoints that receive events."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from mailbridge.config.addresses import http_url
from mailbridge.config.section import Section
from mailbridge.config.values import NumberFilter, PositiveDuration, Secret, Size, TagFilter, WebhookSecrets, wrong

# RFC 9110 section 5.6.2 (token), and the headers that mailbridge or HTTP itself needs.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_RESERVED = re.compile(r"webhook-.*|content-.*|host|connection|transfer-encoding|accept-encoding|te|trailer|upgrade|expect", re.I)


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
    headers: dict[str, Secret] = Field(
        default={},
        description="Further headers of each request, such as a bearer token. Each value is a string or a secret. Default: none.",
        examples=[{"Authorization": {"credential": "webhook-crm-token"}}],
    )
    accounts: tuple[str, ...] = Field(
        default=(),
        description=(
            "Filters: an event is sent if it passes each one that is set. An event without an account does not pass accounts, "
            "and so on.\nOnly events about these accounts. Default: any."
        ),
        examples=[["office"]],
    )
    users: tuple[str, ...] = Field(
        default=(),
        description="Only events about faxes that these users sent. Default: any.",
        examples=[["dana", "scanner"]],
    )
    mailboxes: tuple[str, ...] = Field(
        default=(),
        description="Only events that come from these mailboxes. Default: any.",
        examples=[["office"]],
    )
    numbers: tuple[NumberFilter, ...] = Field(
        default=(),
        description=(
            "Only events about faxes to or from these numbers, also by a prefix such as +9723. Default: any. For received faxes, "
            "name the line that was called."
        ),
        examples=[["03-9876543", "+9728"]],
    )
    tags: TagFilter = Field(
        default=(),
        description=(
            'Only events about faxes with one of these tags (X-Mailbridge-Tag): "case" or "case=1723". Default: any. As a table, '
            '{ case = "1723", office = "*" }, all of them are needed.'
        ),
        examples=[["case=1723", "urgent"]],
    )
    allow_private: bool = Field(
        default=False,
        description="Also allow private addresses and plain http.",
    )

    @field_validator("headers", mode="before")
    @classmethod
    def _headers(cls, value: object) -> object:
        for name, content in value.items() if isinstance(value, dict) else ():
            _check_header(name, content)
        return value

    @model_validator(mode="after")
    def _https(self) -> Webhook:
        parts = http_url("url", self.url, 'write the receiver\'s URL, such as "https://crm.example.co.il/hooks/fax"')
        if parts.scheme == "http" and not self.allow_private:
            raise wrong("url is plain http", "write https://, or set allow_private = true for a receiver in your own network")
        if "@" in parts.netloc and any(name.lower() == "authorization" for name in self.headers):
            raise wrong("url has a user, and headers have Authorization", "keep one of the two")
        return self


def _check_header(name: str, content: object) -> None:
    """Raise a validation error for a header that cannot be sent. The error does not repeat the value, which may be a secret."""
    if not _HEADER_NAME.fullmatch(name):
        raise wrong(f"{name!r} is not the name of a header", 'write a name such as "Authorization"')
    if _RESERVED.fullmatch(name):
        raise wrong(f"the header {name} is set by mailbridge", "remove it, or choose another name")
    text = content.get_secret_value() if isinstance(content, SecretStr) else content
    if isinstance(text, str) and (not re.fullmatch(r"[\x20-\x7e\t]*", text) or text != text.strip()):
        raise wrong(
            f"the value of {name} has characters that a header cannot have", "use printable ASCII, without blanks around it"
        )
