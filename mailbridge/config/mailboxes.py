"""`[mailbox.NAME]` and its `oauth2`: the mailboxes that MyFax mails to."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from mailbridge.config.addresses import is_loopback
from mailbridge.config.section import Section
from mailbridge.config.values import After, Host, Port, Secret, Trust, wrong


class OAuth2(Section):
    """OAuth 2.0 login of a mailbox (XOAUTH2)."""

    token_url: str = Field(
        description="Token endpoint of the provider.",
        examples=["https://oauth2.googleapis.com/token"],
    )
    client_id: str = Field(
        description="Client ID.",
        examples=["…"],
    )
    client_secret: Secret | None = Field(
        default=None,
        description="Client secret. Default: none.",
        examples=[{"credential": "imap-office-client"}],
    )
    scope: str | None = Field(
        default=None,
        description="Requested scope. Default: none.",
        examples=["https://mail.google.com/"],
    )
    refresh_token: Secret | None = Field(
        default=None,
        description=(
            "Refresh token. If the provider replaces it, the new one is kept in state_dir. Default: use the client credentials "
            "grant, as Microsoft 365 requires."
        ),
        examples=[{"credential": "imap-office-refresh"}],
    )

    @model_validator(mode="after")
    def _tls(self) -> OAuth2:
        parts = urlsplit(self.token_url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise wrong("token_url would send the client secret in clear text", "write the https:// URL of the provider")
        return self


class Mailbox(Section):
    """An IMAP mailbox, and how far its mail is trusted."""

    host: Host = Field(
        description="Host name of the IMAP server.",
        examples=["imap.example.co.il"],
    )
    port: Port = Field(
        default=993,
        description="Port of the IMAP server.",
    )
    tls: Literal["implicit", "starttls", "none"] = Field(
        default="implicit",
        description='"implicit", "starttls" (usually port 143), or "none" (loopback only).',
    )
    username: str = Field(
        description="Login name.",
        examples=["office@example.co.il"],
    )
    password: Secret | None = Field(
        default=None,
        description="Password. Default: oauth2; set one of the two.",
        examples=[{"credential": "imap-office"}],
    )
    folder: str = Field(
        default="INBOX",
        description="Folder to watch.",
    )
    after: After = Field(
        default="seen",
        description='What to do with a processed mail: "keep", "seen" (mark it as read) or "move:FOLDER".',
    )
    trust: Trust = Field(
        default="dkim",
        description=(
            'How reports are authenticated: "dkim", "authserv:ID", or "none" for a mailbox that only MyFax can deliver to. '
            "`mailbridge check --online` shows which of them the newest fax mail passes.\n"
            'With "authserv:ID", ID names your own mail server in its Authentication-Results header. The server must add it on '
            'top and remove forged ones. It does not show whether DKIM covered the X-Fax headers, so prefer "dkim".\n'
            "A report identifies its fax by token or FAX_CODE. A report with only the number ends the single open fax to that "
            'number if trust is "none". Otherwise mailbridge asks MyFax, since any MyFax customer could forward a genuine report.'
        ),
    )
    from_: tuple[str, ...] = Field(
        default=("myfax.co.il",),
        alias="from",
        description="Domains or addresses that reports come from.",
    )
    addresses: tuple[str, ...] = Field(
        default=(),
        description=(
            "Further addresses to which MyFax mails received faxes. A received fax is trusted only if it is addressed to one of "
            "them, to `username` or to the email of an account, or if incoming.do lists it or its line. Default: none."
        ),
        examples=[["fax@example.co.il"]],
    )
    account: str | None = Field(
        default=None,
        description="Account whose incoming.do list supplements this mailbox. Default: the first account.",
        examples=["office"],
    )
    oauth2: OAuth2 | None = Field(
        default=None,
        description="OAuth 2.0 login, instead of password.",
    )

    @model_validator(mode="after")
    def _login(self) -> Mailbox:
        if (self.password is None) == (self.oauth2 is None):
            raise wrong("needs either password or oauth2", "set one of the two")
        if self.tls == "none" and not is_loopback(self.host):
            raise wrong(
                f'tls = "none" would send the password to {self.host} in clear text', 'write tls = "implicit" or "starttls"'
            )
        if (self.tls, self.port) in (("starttls", 993), ("implicit", 143)):
            raise wrong(
                f'port {self.port} does not match tls = "{self.tls}"',
                'use port 143 for "starttls" and 993 for "implicit"',
            )
        if self.after.lower() == f"move:{self.folder}".lower():
            raise wrong(
                f"after would move mail to {self.folder}, the watched folder", 'name another folder, or write "keep" or "seen"'
            )
        return self
