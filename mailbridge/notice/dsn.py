"""Composes delivery status notifications: RFC 3461, 3464, 6522, and 6533 for non-ASCII senders. Pure.

A DSN tells one outcome: Outlook shows only the recipients with the gravest Action of a report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime

import mailbridge.notice.mime_writer as mime
from mailbridge.model import Envelope, Fax
from mailbridge.notice.compose import Letterhead, Mail, error_code, head, meaning, needs_smtputf8, sections, subject_of
from mailbridge.notice.original import Original, bits
from mailbridge.notice.wording import as_text
from mailbridge.store.notice_records import DueNotice

_ENCODED = re.compile(r"\+([0-9A-F]{2})")
_UNSAFE = re.compile(r"[^\x21-\x7e]")


def compose_dsn(due: DueNotice, letterhead: Letterhead, original: Original, now: datetime, *, eight_bit: bool) -> Mail:
    """Return a notice as a DSN. `eight_bit` is whether the relay takes 8BITMIME: only then an 8-bit mail is returned whole.

    Raises ValueError if the notice is about no mail that is still known.
    """
    envelope = due.envelope
    if envelope is None:
        raise ValueError("the mail of this notice was deleted")
    said = sections(due, letterhead, letterhead.language_of(envelope.user))
    to = str(due.delivery.address)
    utf8 = not to.isascii()
    returned, needs_eight = _returned(due, envelope, original, eight_bit=eight_bit)
    status = _status(due, envelope, letterhead, utf8=utf8)
    parts = [
        mime.text_part(as_text(said, letterhead.language_of(envelope.user))),
        mime.part("message/global-delivery-status", status, "8bit") if utf8 else mime.part("message/delivery-status", status),
        *([returned] if returned else []),
    ]
    report = "global-delivery-status" if utf8 else "delivery-status"
    body = mime.multipart(f"report; report-type={report}", parts, f"=_{due.delivery.id}")
    content = head(due, letterhead, original, now, subject_of(due, said)) + body
    return Mail(to=to, content=content, smtputf8=needs_smtputf8(due, letterhead), eight_bit=needs_eight or utf8)


def decode_xtext(value: str) -> str:
    """Return what an xtext stands for (RFC 3461 section 4); as it is, where that is not printable ASCII."""
    decoded = _ENCODED.sub(lambda found: chr(int(found[1], 16)), value)
    return decoded if not re.search(r"[^\x20-\x7e]", decoded) else value


def typed_address(address: str, *, utf8: bool) -> str:
    """Return an address with its type. In a 7-bit report a non-ASCII one is written by RFC 6533 section 3 (utf-8-addr-xtext)."""
    plain = mime.clean(address)
    if plain.isascii():
        return f"rfc822; {plain}"
    if utf8:
        return f"utf-8; {plain}"
    escaped = "".join(
        sign if sign.isascii() and sign not in "\\+=" and not _UNSAFE.match(sign) else f"\\x{{{ord(sign):X}}}" for sign in plain
    )
    return f"utf-8; {escaped}"


def _original_recipient(orcpt: str) -> str:
    kind, _, address = orcpt.partition(";")
    if kind.lower() != "utf-8":
        return f"{kind.lower()}; {decode_xtext(address)}"
    # What a client may write in ORCPT, a report in 7 bits may have too, but for what is not ASCII (RFC 6533 section 3).
    return "utf-8; " + "".join(sign if sign.isascii() else f"\\x{{{ord(sign):X}}}" for sign in address)


def _status(due: DueNotice, envelope: Envelope, letterhead: Letterhead, *, utf8: bool) -> bytes:
    fields = [f"Reporting-MTA: dns; {letterhead.hostname}"]
    if envelope.envid:
        fields.append(f"Original-Envelope-Id: {decode_xtext(envelope.envid)}")
    fields.append(f"Arrival-Date: {format_datetime(envelope.received_at)}")
    notice = due.delivery.notice or {}
    groups = [fields, *(_recipient(due, block, notice["kind"], utf8=utf8) for block in notice["blocks"])]
    return b"\r\n".join("".join(f"{mime.clean(line)}\r\n" for line in group).encode() for group in groups)


def _recipient(due: DueNotice, block: Mapping[str, str], kind: str, *, utf8: bool) -> list[str]:
    fax = due.faxes.get(block["fax_id"])
    means = meaning(fax, kind)
    fields = [f"Original-Recipient: {_original_recipient(block['orcpt'])}"] if block.get("orcpt") else []
    fields += [
        f"Final-Recipient: {typed_address(block['address'], utf8=utf8)}",
        f"Action: {means.action}",
        f"Status: {means.status}",
        f"Diagnostic-Code: x-myfax; {_diagnostic(fax, kind)}",
    ]
    if fax is not None and fax.attempts:
        last = fax.attempts[-1]
        fields.append(f"Last-Attempt-Date: {format_datetime(last.ended_at or last.started_at)}")
    return [*fields, f"Final-Log-ID: {block['fax_id']}"]


def _diagnostic(fax: Fax | None, kind: str) -> str:
    """Return MyFax's own number, where it gave one, and the name of the outcome."""
    code = fax.failure.provider_code if fax is not None and fax.failure is not None and kind == "failed" else None
    return " ".join([*([str(code)] if code is not None else []), error_code(fax, kind)])


def _returned(due: DueNotice, envelope: Envelope, original: Original, *, eight_bit: bool) -> tuple[bytes | None, bool]:
    """Return the third part, and whether it needs 8BITMIME: the whole mail where RET=FULL asks for it, otherwise its header."""
    if not original.header:
        return None, False
    wants_whole = (envelope.ret or "HDRS").upper() == "FULL" and (due.delivery.notice or {})["kind"] == "failed"
    if wants_whole and original.whole is not None:
        needed = bits(original.whole)
        if needed == 7 or (needed == 8 and eight_bit):
            return mime.part("message/rfc822", original.whole, f"{needed}bit"), needed == 8
    header = original.header
    if bits(header) == 7:
        return mime.part("text/rfc822-headers; charset=us-ascii", header), False
    return mime.base64_part("text/rfc822-headers; charset=utf-8", header), False
