"""The page that sends a fax: a form, its pages as they will be faxed, and then the fax, once.

The form makes a draft, which is checked as a mail by SMTP. The draft has an address of its own with a random key, and sending it
leads to its fax: to reload a page or to go back never sends anything again.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

from starlette.responses import Response

from mailbridge.console.composition import Composition, write_mail
from mailbridge.console.drafting import Draft
from mailbridge.console.page_images import image_response, shown_documents, view_response
from mailbridge.console.upload import TooLarge, files_of, read_upload, text_of
from mailbridge.console.visit import Visit
from mailbridge.errors import Refused

_MOST_NAMES: Final = 200  # contacts that the form suggests
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*", re.ASCII)
_A_MINUTE: Final = timedelta(minutes=1)
_FIELDS: Final = ("to", "subject", "text", "sender", "account", "send_at")


async def show_form(visit: Visit) -> Response:
    """Show the form. A link may name the recipient, as an answer to a received fax does."""
    return _form(visit, {"to": visit.query("to"), "subject": visit.query("subject"), "sender": sender_of(visit)})


def _form(visit: Visit, values: dict[str, str], faults: dict[str, Any] | None = None) -> Response:
    names = sorted(visit.console.config.directory.numbers)
    shown = {name: values.get(name, "") for name in _FIELDS}
    config = visit.console.config
    more = {"contacts": names[:_MOST_NAMES], "most": config.smtp.max_size * 3 // 4, "accounts": accounts_of(visit)}
    more["mails"] = config.notice.relay is not None
    return visit.page("send.html", 422 if faults else 200, **shown, **more, faults=faults or {})


def accounts_of(visit: Visit) -> tuple[str, ...]:
    """Return the accounts that the user may send with, the usual one first."""
    return visit.console.config.accounts_of(visit.user.name)


async def compose(visit: Visit) -> Response:
    """Make a draft of the form, or show the form again with what is wrong beside its fields."""
    most = visit.console.config.smtp.max_size
    try:
        async with read_upload(visit, most) as form:
            values = {name: text_of(form, name).strip() for name in _FIELDS}
            composition = Composition(
                sender=values["sender"] or sender_of(visit),
                to=tuple(one.strip() for one in re.split(r"[;,\n]", values["to"]) if one.strip()),
                subject=values["subject"][:500],
                text=values["text"],
                files=files_of(form, "files"),
                account=values["account"] or None,
                send_at=read_minute(values["send_at"], visit.console.zone),
            )
            faults, draft = await _draft(visit, composition, most, _check_choices(visit, composition, values))
    except TooLarge:
        return _form(visit, {"sender": sender_of(visit)}, {"files": _Fault("5.3.4", "")})
    if draft is None:
        return _form(visit, values, faults)
    return visit.redirect(f"/send/{draft.key}")


def read_minute(text: str, zone: ZoneInfo) -> datetime | None:
    """Return a time of day of the zone as a form has it (HTML, "local date and time string"); None if it is not one."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=zone) if moment.tzinfo is None and "T" in text else None


def _check_choices(visit: Visit, composition: Composition, values: dict[str, str]) -> dict[str, _Fault]:
    """Return what is wrong with the account and the time, which a browser's form lets people only choose."""
    faults = dict[str, _Fault]()
    if composition.account is not None and composition.account not in accounts_of(visit):
        faults["account"] = _Fault("account_unknown", "")
    if values["send_at"] and composition.send_at is None:
        faults["send_at"] = _Fault("send_at_invalid", "")
    elif composition.send_at is not None and composition.send_at < visit.now - _A_MINUTE:
        faults["send_at"] = _Fault("send_at_past", "")
    return faults


class _Fault:
    """What is wrong with a field: the code of SMTP (RFC 3463), for which there may be a text, and SMTP's own sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        self.code, self.sentence = code, sentence

    @classmethod
    def of(cls, refusal: Refused) -> _Fault:
        """Return the fault that an SMTP reply names."""
        _, code, sentence = refusal.reply.split(" ", 2)
        return cls(code, sentence)


async def _draft(
    visit: Visit, composition: Composition, most: int, faults: dict[str, _Fault]
) -> tuple[dict[str, _Fault], Draft | None]:
    """Return the draft, or everything that is wrong: `faults`, and what the gateway refuses."""
    drafts = visit.console.services.drafts
    if not composition.to:
        faults["to"] = _Fault("to_missing", "")
    if not _ADDRESS.fullmatch(composition.sender):
        return {**faults, "sender": _Fault("sender_invalid", "")}, None
    try:
        transaction = drafts.begin(visit.user.name, visit.client, composition.sender)
    except Refused as refusal:
        return {**faults, "sender": _Fault.of(refusal)}, None
    for written in composition.to:
        try:
            await drafts.add_recipient(transaction, written)
        except Refused as refusal:
            faults["to"] = _Fault.of(refusal)
            break
    if faults:
        return faults, None
    hostname = visit.console.config.smtp.hostname
    try:
        return {}, await drafts.create(transaction, partial(write_mail, composition, hostname, visit.now, most))
    except Refused as refusal:
        if "Send-At" in refusal.reply:
            return {"send_at": _Fault("send_at_far", "")}, None
        field = "to" if " 4.7.1 " in refusal.reply else "sender" if refusal.reply.startswith("553") else "files"
        return {field: _Fault.of(refusal)}, None


def sender_of(visit: Visit) -> str:
    """Return the address that the user's faxes come from, to which notices go: one that this user may send as."""
    config, name = visit.console.config, visit.user.name
    senders = config.users[name].senders if name in config.users else ()
    for sender in senders:
        if _ADDRESS.fullmatch(sender):
            return sender
    local = name if _ADDRESS.fullmatch(f"{name}@localhost") else "console"
    domain = next((sender.lstrip("@") for sender in senders), config.smtp.hostname)
    return f"{local}@{domain}"


async def show_draft(visit: Visit) -> Response:
    """Show what will be sent, with its pages."""
    draft = await _own(visit)
    if draft is None:
        return _gone(visit)
    if draft.fax_id is not None:
        return visit.redirect(f"/faxes/{draft.fax_id}")
    documents = await shown_documents(visit, draft.documents)
    return visit.page("draft.html", draft=draft, documents=documents, path=f"/send/{draft.key}")


async def show_draft_page(visit: Visit) -> Response:
    """Show one page of a draft as a picture."""
    draft = await _own(visit)
    return _gone(visit) if draft is None else await image_response(visit, draft.documents)


async def show_draft_page_view(visit: Visit) -> Response:
    """Show one page of a draft, large."""
    draft = await _own(visit)
    return _gone(visit) if draft is None else await view_response(visit, draft.documents, f"/send/{draft.key}")


async def send_draft(visit: Visit) -> Response:
    """Send a draft, unless it was sent already, and show its fax."""
    before = await _own(visit)
    was_sent = before is not None and before.fax_id is not None
    try:
        fax_id = await visit.console.services.drafts.send(visit.path("key"), visit.user.name)
    except Refused as refusal:
        return visit.message("draft_refused", 422, sentence=refusal.reply.split(" ", 2)[2])
    if fax_id is None:
        return _gone(visit)
    if not was_sent:
        now, actor = visit.now, visit.actor()
        await visit.console.runtime.store.run(lambda tx: tx.audit.note("fax.send", fax_id, None, actor, now))
    return visit.redirect(f"/faxes/{fax_id}", "scheduled" if before and before.send_at and before.send_at > visit.now else "sent")


async def discard_draft(visit: Visit) -> Response:
    """Delete a draft."""
    await visit.console.services.drafts.drop(visit.path("key"), visit.user.name)
    return visit.redirect("/send", "discarded")


async def _own(visit: Visit) -> Draft | None:
    return await visit.console.services.drafts.find(visit.path("key"), visit.user.name)


def _gone(visit: Visit) -> Response:
    return visit.message("draft_gone", 404)
