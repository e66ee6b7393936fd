"""`[myfax]`: the MyFax API."""

from __future__ import annotations

from pydantic import Field, model_validator

from mailbridge.config.addresses import http_url, is_loopback
from mailbridge.config.section import Section
from mailbridge.config.values import PositiveDuration, wrong


class Myfax(Section):
    """How the API is reached."""

    url: str = Field(
        default="https://www.myfax.co.il/action/",
        description="Base URL of the API. Plain http is accepted only for a simulator on loopback.",
    )
    timeout: PositiveDuration = Field(
        default=120.0,
        description="Time limit for one call, including the upload.",
    )

    @model_validator(mode="after")
    def _tls(self) -> Myfax:
        parts = http_url("url", self.url, "remove url, or write the URL that MyFax gave you")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise wrong(
                "url would send the password in clear text", "write https://; plain http is only for a simulator on loopback"
            )
        return self
