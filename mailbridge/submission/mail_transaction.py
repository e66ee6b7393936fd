"""A mail transaction: what the commands before DATA have said about one mail (RFC 5321 section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailbridge.client_group import client_group
from mailbridge.model import Recipient, new_id


@dataclass(slots=True, kw_only=True)
class MailTransaction:
    """One mail before its content. `sender` is None before MAIL and empty for the null sender; `id` is the envelope's.

    `user` is who logged in, None without a login; `envid` and `ret` are MAIL's parameters (RFC 3461), and so is `announced`, the
    mail's size in bytes as the client estimates it (RFC 1870), 0 where it does not. `line_ends_changed` says after DATA that the
    content had line ends that no mail may have, and that they were changed. `client` is the IP address of the SMTP client, None
    for a mail that does not come by SMTP.
    """

    id: str = field(default_factory=lambda: new_id("env"))
    user: str | None = None
    sender: str | None = None
    recipients: list[Recipient] = field(default_factory=list)
    envid: str | None = None
    ret: str | None = None
    line_ends_changed: bool = False
    announced: int = 0
    client: str | None = None

    @property
    def owner(self) -> str:
        """Whose mail it is, where clients take turns: a user, or a client without a login."""
        return f"user {self.user}" if self.user is not None else client_group(self.client or "")
