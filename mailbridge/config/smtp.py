"""`[smtp]` and `[smtp.tls]`: the server that accepts faxes by mail."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mailbridge.config.addresses import Listen, host_port, is_loopback
from mailbridge.config.section import Section
from mailbridge.config.values import Domains, PositiveDuration, Region, Size, wrong


class SmtpTls(Section):
    """Certificate of the SMTP server, and its addresses with implicit TLS."""

    certificate: Path | None = Field(
        default=None,
        description="PEM certificate chain; enables STARTTLS. The user mailbridge must be able to read it. Default: no TLS.",
        examples=["/etc/mailbridge/fullchain.pem"],
    )
    key: Path | None = Field(
        default=None,
        description="PEM private key of the certificate, without a passphrase. Default: no TLS.",
        examples=["/etc/mailbridge/privkey.pem"],
    )
    minimum: Literal["1.0", "1.1", "1.2", "1.3"] = Field(
        default="1.2",
        description='Oldest TLS version that is accepted. "1.0" and "1.1" are for old machines, and not secure.',
    )
    listen: tuple[Listen, ...] = Field(
        default=(),
        description='Addresses with implicit TLS (SMTPS), such as "0.0.0.0:4465". The systemd service needs a port from 1024 on.',
    )

    @model_validator(mode="after")
    def _pair(self) -> SmtpTls:
        if (self.certificate is None) != (self.key is None):
            raise wrong("certificate and key belong together", "set both or neither")
        if self.listen and self.certificate is None:
            raise wrong("listen needs a certificate", "set certificate and key")
        return self


class Smtp(Section):
    """Options of the SMTP server."""

    listen: tuple[Listen, ...] = Field(
        default=("127.0.0.1:2525",),
        description="Addresses to listen on. Sockets passed by systemd replace them.",
    )
    hostname: str = Field(
        default_factory=socket.gethostname,
        description="Host name in the greeting and in delivery status notifications. Default: the machine's host name.",
        examples=["fax.example.co.il"],
    )
    domains: Domains = Field(
        default=("fax.local", "fax.internal", "myfax.co.il"),
        description=(
            "Recipient domains handled as fax numbers, as in 03-9876543@fax.internal. Prefer fax.internal to fax.local: "
            "names below .local belong to multicast DNS (RFC 6762), names below .internal to private networks."
        ),
    )
    region: Region = Field(
        default="IL",
        description="Country of numbers written without a country code (ISO 3166).",
    )
    max_size: Size = Field(
        default=40_000_000,
        description="Maximum message size, advertised as SIZE.",
    )
    max_recipients: int = Field(
        default=100,
        ge=1,
        description="Maximum number of recipients of one message.",
    )
    max_connections: int = Field(
        default=500,
        ge=1,
        description="Maximum number of connections.",
    )
    max_connections_per_client: int = Field(
        default=50,
        ge=1,
        description="Maximum number of connections from one address.",
    )
    timeout: PositiveDuration = Field(
        default=300.0,
        description="Idle time limit between commands or chunks of data.",
    )
    auth: Literal["auto", "required", "off"] = Field(
        default="auto",
        description=(
            'Authentication of clients. "auto": required unless every address is loopback. "required": always required. '
            '"off": never required; rejected if an address is not loopback. Without TLS, passwords are accepted on loopback only.'
        ),
    )
    tls: SmtpTls = Field(
        default=SmtpTls(),
        description="TLS of the SMTP server. Set both certificate and key, or neither.",
    )

    @model_validator(mode="after")
    def _no_open_relay(self) -> Smtp:
        public = [address for address in (*self.listen, *self.tls.listen) if not is_loopback(host_port(address)[0])]
        if self.auth == "off" and public:
            raise wrong(
                f'auth = "off" would let anyone who can reach {public[0]} fax at your expense',
                'write auth = "auto", or listen on 127.0.0.1 only',
            )
        return self
