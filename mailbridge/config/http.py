"""`[http]`: the server for health checks, metrics and documents."""

from __future__ import annotations

from pydantic import Field, model_validator

from mailbridge.config.addresses import Listen, http_url
from mailbridge.config.section import Section


class Http(Section):
    """Options of the HTTP server."""

    listen: Listen = Field(
        default="127.0.0.1:8025",
        description="Address to listen on.",
    )
    public_url: str | None = Field(
        default=None,
        description="Base URL of document links, as receivers reach it. Default: http:// and the address above.",
        examples=["https://fax.example.co.il"],
    )

    @model_validator(mode="after")
    def _link(self) -> Http:
        if self.public_url is not None:
            http_url("public_url", self.public_url, 'write it as receivers reach it, such as "https://fax.example.co.il"')
        return self
