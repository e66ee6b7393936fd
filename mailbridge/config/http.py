"""`[http]` and `[http.tls]`: the server for health checks, metrics, documents and the console."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from mailbridge.config.addresses import Listen, host_port, http_url, is_loopback
from mailbridge.config.section import Section
from mailbridge.config.values import Network, wrong


class HttpTls(Section):
    """Certificate of the HTTP server."""

    certificate: Path | None = Field(
        default=None,
        description="PEM certificate chain; enables HTTPS. The user mailbridge must be able to read it. Default: HTTP.",
        examples=["/etc/mailbridge/fullchain.pem"],
    )
    key: Path | None = Field(
        default=None,
        description="PEM private key of the certificate, without a passphrase. Default: HTTP.",
        examples=["/etc/mailbridge/privkey.pem"],
    )

    @model_validator(mode="after")
    def _pair(self) -> HttpTls:
        if (self.certificate is None) != (self.key is None):
            raise wrong("certificate and key belong together", "set both or neither")
        return self


class Http(Section):
    """Options of the HTTP server."""

    listen: Listen = Field(
        default="127.0.0.1:8025",
        description="Address to listen on.",
    )
    public_url: str | None = Field(
        default=None,
        description="Base URL of document links, as receivers reach it. Default: http:// or https:// and the address above.",
        examples=["https://fax.example.co.il"],
    )
    console: bool = Field(
        default=False,
        description=(
            "Serve the console, a web page with all faxes, at /console/. Users log in as in [user.NAME]. Off loopback it needs "
            "http.tls, or a proxy with TLS and its https:// address in public_url. See docs/console.md."
        ),
    )
    proxies: tuple[Network, ...] = Field(
        default=(),
        description=("Reverse proxies in front of this server. Their X-Forwarded-For says which client logs in. Default: none."),
        examples=[["127.0.0.1"]],
    )
    proxy_user: str | None = Field(
        default=None,
        description=(
            "Header in which one of the proxies names the [user.NAME] that it has logged in itself. The proxy must remove this "
            "header from what clients send. Default: none; users log in with their password."
        ),
        examples=["X-Remote-User"],
    )
    tls: HttpTls = Field(
        default=HttpTls(),
        description="TLS of the HTTP server. Set both certificate and key, or neither.",
    )

    @property
    def base_url(self) -> str:
        """The URL at which receivers and people reach this server, without a slash at its end."""
        scheme = "http" if self.tls.certificate is None else "https"
        return (self.public_url or f"{scheme}://{self.listen}").rstrip("/")

    @property
    def is_secure(self) -> bool:
        """Whether people reach this server by HTTPS."""
        return self.tls.certificate is not None or urlsplit(self.public_url or "").scheme == "https"

    @field_validator("proxy_user")
    @classmethod
    def _header(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9-]{1,100}", value):
            raise wrong(f"{value!r} is not the name of a header", 'write a name such as "X-Remote-User"')
        return value

    @model_validator(mode="after")
    def _link(self) -> Http:
        if self.public_url is not None:
            http_url("public_url", self.public_url, 'write it as receivers reach it, such as "https://fax.example.co.il"')
        if self.console and not self.is_secure and not is_loopback(host_port(self.listen)[0]):
            raise wrong(
                f"console = true would send passwords and faxes in clear over the network, as {self.listen} is not loopback",
                "set http.tls.certificate and key, or put a proxy with TLS before it and its https:// address in public_url",
            )
        if self.proxy_user is not None and not self.proxies:
            raise wrong("proxy_user needs proxies", "list the addresses of the proxies that may name a user")
        return self
