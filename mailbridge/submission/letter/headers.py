"""A letter's headers: who writes, and the X-Mailbridge headers that say how to fax."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import getaddresses, parsedate_to_datetime
from typing import cast

from mailbridge.errors import Refused
from mailbridge.page import text_page as page
from mailbridge.submission.letter.letter import Letter, PageMode
from mailbridge.submission.letter.mime_headers import Headers
from mailbridge.submission.letter.mime_parameters import decode_words, value_of

MAX_TAGS = 20
_MAX_FROM = _MAX_TO = 4000  # characters
_MAX_DATE = 100
_ADDRESS = r"[\w+-]+(?:\.[\w+-]+)*@[\w-]+(?:\.[\w-]+)*"
_PLAIN = re.compile(rf"(?:(?P<name>\w+(?: \w+)*) )?<(?P<address>{_ADDRESS})>|(?P<bare>{_ADDRESS})", re.ASCII)
# Beyond it neither a database nor the sum of two dates is sure to hold a date.
_LAST_YEAR = 9000


def author_line(headers: Headers) -> str:
    """Return the author as a page shows it: with the addresses that are checked against `user.senders`, and no other one."""
    named = [(decode_words(name).strip(), address) for name, address in _authors(headers)]
    lines = [f"{name} <{address}>" if name and "@" not in name else address for name, address in named]
    return ", ".join(lines) or decode_words(headers.text("From"))


def recipient_line(headers: Headers) -> str:
    """Return the recipients as a page shows them: names, and numbers without the gateway's domain."""
    fields = [value[:_MAX_TO] for value in headers.get_all("To")[:1]]
    named = [(decode_words(name).strip(), address.partition("@")[0]) for name, address in _addresses(fields)]
    lines = (f"{name} {local}" if name and "@" not in name and name != local else local for name, local in named)
    return ", ".join(dict.fromkeys(line for line in lines if line))


def date_line(headers: Headers) -> str:
    """Return the date as a page shows it, in the sender's own time zone; as the mail writes it if that cannot be read."""
    written = decode_words(headers.text("Date"))
    try:
        return f"{parsedate_to_datetime(written[:_MAX_DATE]):%d/%m/%Y %H:%M}"
    except (ValueError, TypeError, IndexError, OverflowError):
        return written


def _authors(headers: Headers) -> list[tuple[str, str]]:
    """Return names and addresses of From, of which a mail has one (RFC 5322 section 3.6). Raises Refused where it is not clear.

    A From without an address is a name alone, as old machines write it.
    """
    fields = headers.get_all("From")
    if len(fields) > 1:
        raise Refused("554 5.6.0 The mail has more than one From header; send it from another program")
    field = fields[0] if fields else ""
    if len(field) > _MAX_FROM:
        raise Refused(f"554 5.6.0 The header From is longer than {_MAX_FROM} characters; write fewer authors")
    found = [(name, address) for name, address in _addresses([field]) if "@" in address]
    if not found and "@" in decode_words(field):
        raise Refused("554 5.6.0 The address in the header From cannot be read; write it as name <user@example.co.il>")
    return found


def _addresses(fields: list[str]) -> list[tuple[str, str]]:
    """Return names and addresses; none where groups or comments are nested so deep that the standard library cannot read them.

    What has neither quotes nor comments needs no parser; the standard library's takes a twentieth of the time of a small mail.
    """
    if len(fields) == 1 and (plain := _PLAIN.fullmatch(fields[0])) is not None:
        return [(plain["name"] or "", plain["address"] or plain["bare"])]
    try:
        return getaddresses(fields)
    except RecursionError:
        return []


def read_headers(headers: Headers) -> Letter:
    """Return the letter, still without documents. Raises Refused (554 5.6.0) for an invalid From or X-Mailbridge header."""
    authors = tuple(address for _, address in _authors(headers))
    # An ERP marks its invoices auto-generated; only a reply to a mail must not be answered with a fax (RFC 3834 section 5).
    auto_submitted = value_of(headers.text("Auto-Submitted"))
    return Letter(
        message_id=headers.text("Message-ID").strip()[:998] or None,
        subject=page.clean_line(decode_words(headers.text("Subject"))).strip()[:998],
        sender=authors[0] if authors else None,
        authors=authors,
        documents=(),
        account=headers.text("X-Mailbridge-Account").strip() or None,
        page_mode=_page_mode(headers.get("X-Mailbridge-Page")),
        send_at=_send_at(headers.get("X-Mailbridge-Send-At")),
        tags=_tags(headers.get_all("X-Mailbridge-Tag")),
        auto_submitted=auto_submitted in ("auto-replied", "auto-notified"),
        mail_loop="X-Mailbridge-Loop" in headers,
        received_count=len(headers.get_all("Received")),
    )


def _page_mode(value: str | None) -> PageMode | None:
    if value is None:
        return None
    mode = value.strip().lower()
    if mode not in ("never", "auto", "always"):
        raise Refused("554 5.6.0 The header X-Mailbridge-Page must be never, auto or always")
    return cast(PageMode, mode)


def _send_at(value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        if moment.tzinfo is not None and moment.year < _LAST_YEAR:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Refused("554 5.6.0 The header X-Mailbridge-Send-At must be a time with a time zone, such as 2026-01-04T09:00:00+02:00")


def _tags(values: list[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for value in values:
        # A mail program encodes a Hebrew key and value together as one encoded word, which contains "=" itself (RFC 2047).
        key, equals, rest = (decode_words(value) if value.lstrip().startswith("=?") else value).partition("=")
        key, rest = key.strip(), decode_words(rest.strip())
        if not equals or not key or len(key) > 100 or len(rest) > 500 or not key.isprintable():
            raise Refused(
                "554 5.6.0 The header X-Mailbridge-Tag must be key=value, with at most 100 characters of key and 500 of value"
            )
        tags[key] = rest
    if len(tags) > MAX_TAGS:
        raise Refused(f"554 5.6.0 The mail has more than {MAX_TAGS} X-Mailbridge-Tag headers; leave some out")
    return tags
