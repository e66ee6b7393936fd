"""The relay's part of `check --online`: logs in, says what the relay offers, and on request mails a sample notice."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from mailbridge.config import Config
from mailbridge.errors import MailbridgeError
from mailbridge.model import Attempt, Delivery, Envelope, Event, Failure, Fax, Recipient, new_id
from mailbridge.notice.assembly import build_relay, letterhead
from mailbridge.notice.compose import Mail, mail
from mailbridge.notice.original import Original
from mailbridge.notice.relay import RelayUnavailable
from mailbridge.store.notice_records import DueNotice

_EXTENSIONS: Final = ("8BITMIME", "SMTPUTF8", "DSN")
_SUBJECT: Final = {"he": "דוגמה של הודעה מ-mailbridge", "en": "A sample of mailbridge's notices"}


async def check_relay(config: Config, send_to: str | None, now: datetime) -> str:
    """Log in to the relay; with `send_to`, mail a sample notice there. Raises MailbridgeError."""
    relay = build_relay(config)
    assert relay is not None
    try:
        connection = await relay.connect()
        try:
            offered = [*(["TLS"] if connection.encrypted else []), *(one for one in _EXTENSIONS if connection.offers(one))]
            missing = [one for one in ("TLS", *_EXTENSIONS) if one not in offered]
            words = f"accepts mail; offers {', '.join(offered) or 'no extension'}"
            words += f"; without {', '.join(missing)}" if missing else ""
            if send_to is None:
                return words
            result = await connection.send(sample_notice(config, send_to, now))
        finally:
            await connection.close()
    except RelayUnavailable as error:
        raise MailbridgeError(str(error)) from None
    if result.kind != "sent":
        raise MailbridgeError(f"{words}; the sample notice to {send_to} was not taken: {result.error}")
    return f"{words}; a sample notice to {send_to} was taken"


def sample_notice(config: Config, to: str, now: datetime) -> Mail:
    """Return a notice about a fax that never was, so that a person can see how notices look in their mail program."""
    number, id_ = "+97239876543", new_id("fax")
    address = f"03-9876543@{config.smtp.domains[0]}"
    attempt = Attempt(n=1, started_at=now, ended_at=now)
    fax = Fax(
        id=id_,
        envelope_id=None,
        account=config.default_account,
        number=number,
        state="failed",
        token="",
        documents=(),
        created_at=now,
        due_at=now,
        expires_at=now + timedelta(days=1),
        pages=1,
        attempts=(attempt,),
        failure=Failure(code="busy", message=""),
        final_at=now,
    )
    envelope = Envelope(
        id="",
        sender=to,
        recipients=(Recipient(number=number, address=address),),
        path="",
        size=0,
        received_at=now,
        message_id=None,
        subject=_SUBJECT[config.language],
        account=config.default_account,
    )
    notice = {"kind": "failed", "form": "mail", "blocks": [{"fax_id": id_, "address": address}]}
    delivery = Delivery(
        id=new_id("dlv"), event_id="", endpoint="notice", state="sending", due_at=now, address=to, envelope_id="", notice=notice
    )
    event = Event(id="", type="fax.failed", at=now, fax_id=id_, seq=1, data={})
    due = DueNotice(delivery=delivery, event=event, envelope=envelope, faxes={id_: fax})
    return mail(due, letterhead(config), Original(), now)
