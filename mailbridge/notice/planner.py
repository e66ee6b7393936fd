"""Decides who gets which notice: about the faxes they sent, about received faxes, and about what an administrator must do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import parseaddr
from typing import Any, Final

import phonenumbers

from mailbridge import log
from mailbridge.config import Config
from mailbridge.model import Envelope, Event, Fax, Recipient
from mailbridge.notice.route_match import matches
from mailbridge.store.notice_records import NoticeDraft, NoticeKind

# What a state of a fax is to its sender. A cancelled fax was not delivered either.
_KINDS: Final[dict[str, NoticeKind]] = {
    "delivered": "delivered",
    "failed": "failed",
    "cancelled": "failed",
    "in_doubt": "in_doubt",
}
# The word of NOTIFY (RFC 3461 section 4.1) that asks for a notice of this kind.
_ASKED_BY: Final[dict[NoticeKind, str]] = {
    "delivered": "SUCCESS",
    "failed": "FAILURE",
    "in_doubt": "DELAY",
    "delayed": "DELAY",
}
_RECEIVED: Final = ("fax.received", "voicemail.received")
# Where bounces come from: an answer would come back.
_BOUNCES: Final = "mailer-daemon"


def sender_of(config: Config) -> str:
    """Return the sender of notices."""
    return config.notice.sender or f"mailbridge@{config.smtp.hostname}"


class Planner:
    """Plans notices by a configuration (see `store.notices.NoticePlan`)."""

    def __init__(self, config: Config) -> None:
        self.use(config)

    def use(self, config: Config) -> None:
        """Plan by another configuration from now on."""
        self._notice, self._routes = config.notice, config.routes
        self._country_code = str(phonenumbers.country_code_for_region(config.smtp.region))
        self._own = {parseaddr(sender_of(config))[1].casefold(), config.notice.envelope.casefold()} - {""}
        self._domains = {domain.casefold().lstrip("@") for domain in config.notice.domains}

    @property
    def follows_faxes(self) -> bool:
        """Whether senders get notices: without a relay nothing can be mailed."""
        return self._notice.relay is not None

    def for_mail(self, envelope: Envelope, faxes: Sequence[Fax]) -> Sequence[NoticeDraft]:
        """Return a notice for each form in which DELAY was asked for, due after `notice.delay`."""
        asking = [one for one in envelope.recipients if "DELAY" in _words(one)]
        if not asking or not self._may_notify(envelope):
            return ()
        by_number = {fax.number: fax for fax in faxes}
        due_at = max(fax.due_at for fax in faxes) + timedelta(seconds=self._notice.delay)
        blocks = [_block(by_number[one.number], one) for one in asking if one.number in by_number]
        form = "dsn" if self._notice.form == "auto" else self._notice.form
        return (NoticeDraft(kind="delayed", to=envelope.sender, due_at=due_at, form=form, blocks=tuple(blocks)),)

    def for_fax(self, fax: Fax, envelope: Envelope, now: datetime, *, doubt_reported: bool) -> Sequence[NoticeDraft]:
        """Return a notice for each form in which it is to be sent, about all recipients of this fax who get it."""
        kind, forms = _KINDS[fax.state], dict[Any, list[Mapping[str, Any]]]()
        for recipient in (one for one in envelope.recipients if one.number == fax.number):
            if self._gets(recipient, kind, doubt_reported=doubt_reported):
                forms.setdefault(self._form(recipient), []).append(_block(fax, recipient))
        if not forms or not self._may_notify(envelope):
            return ()
        due_at = now + timedelta(seconds=self._notice.gather)
        return [
            NoticeDraft(kind=kind, to=envelope.sender, due_at=due_at, form=form, blocks=tuple(blocks))
            for form, blocks in forms.items()
        ]

    def _gets(self, recipient: Recipient, kind: NoticeKind, *, doubt_reported: bool) -> bool:
        """Whether a notice of this kind is sent about a recipient. Whoever got a notice of a doubt also gets the result."""
        words = _words(recipient)
        if words == {"NEVER"}:
            return False
        if not words:
            return kind in self._notice.on or (doubt_reported and "in_doubt" in self._notice.on)
        return _ASKED_BY[kind] in words or (doubt_reported and "DELAY" in words)

    def _form(self, recipient: Recipient) -> str:
        return ("dsn" if _words(recipient) else "mail") if self._notice.form == "auto" else self._notice.form

    def _may_notify(self, envelope: Envelope) -> bool:
        """Whether the sender may be written to. A log line says why not."""
        local, _, domain = envelope.sender.rpartition("@")
        why = None
        if not local or not domain:
            why = "the mail has no sender"
        elif envelope.sender.casefold() in self._own or local.casefold() == _BOUNCES:
            why = "the sender is a program"
        elif self._domains and domain.casefold() not in self._domains:
            why = "the sender's domain is not in notice.domains"
        if why is not None:
            log.notice_not_sent(envelope.id, reason=why, sender=envelope.sender)
        return why is None

    def for_event(self, event: Event) -> Sequence[NoticeDraft]:
        """Return the notices about a received fax or voicemail: one for each address and folder of the routes that fit."""
        if event.type not in _RECEIVED:
            return ()
        routes = [route for route in self._routes.values() if matches(route, event.type, event.data, self._country_code)]
        mails = _unique(address for route in routes for address in route.mail) if self.follows_faxes else []
        folders = _unique(str(route.folder) for route in routes if route.folder is not None)
        return [
            *(NoticeDraft(kind="received", to=address, due_at=event.at) for address in mails),
            *(NoticeDraft(kind="received", to=folder, due_at=event.at, endpoint="folder") for folder in folders),
        ]


def _unique(addresses: Iterable[str]) -> list[str]:
    found: dict[str, str] = {}
    for address in addresses:
        found.setdefault(address.casefold(), address)
    return list(found.values())


def _words(recipient: Recipient) -> set[str]:
    """Return the words of NOTIFY, which may come in any case; none if it was not given."""
    return {word for word in (recipient.notify or "").upper().split(",") if word}


def _block(fax: Fax, recipient: Recipient) -> Mapping[str, Any]:
    return {"fax_id": fax.id, "address": recipient.address, "orcpt": recipient.orcpt}
