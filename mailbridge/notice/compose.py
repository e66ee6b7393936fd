"""Composes the mail of a notice: what it says, its headers, and where it goes. Pure.

Every mail is in 7 bits and in lines of at most 998 bytes, so that any relay takes it; only a mail to a non-ASCII address needs
SMTPUTF8. It names nothing but what its reader sent or is to know: no path, no host, no account's address, nobody else's number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from zoneinfo import ZoneInfo

import mailbridge.notice.mime_writer as mime
from mailbridge.error_table import MEANINGS, Language, Meaning
from mailbridge.model import Delivery, Envelope, Fax, received_documents
from mailbridge.notice.admin_text import admin_sections
from mailbridge.notice.original import Original
from mailbridge.notice.wording import LABELS, RESULTS, UNKNOWN, Phrase, Row, Section, as_html, as_text, local_time, phone_number
from mailbridge.store.notice_records import DueNotice

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*", re.ASCII)
_REPLY = re.compile(r"\s*(re|aw|sv|השב|תגובה)\s*:", re.IGNORECASE)
# What can be the local part of an address at the gateway: MyFax, or whoever forges its mail, may name a caller by any text.
_DIALLED = re.compile(r"\+?[0-9][0-9-]{0,40}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterhead:
    """What all notices of a gateway have in common."""

    sender: str  # for From: an address, with or without a display name
    hostname: str  # in Message-ID, and the Reporting-MTA of DSNs
    gateway: str  # the domain whose local part is a number
    language: Language
    zone: ZoneInfo
    user_languages: Mapping[str, Language]

    def language_of(self, user: str | None) -> Language:
        """Return the language of notices to a user."""
        return self.user_languages.get(user or "", self.language)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail for the relay. `smtputf8` and `eight_bit` are what the relay must offer for it."""

    to: str
    content: bytes
    smtputf8: bool = False
    eight_bit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file of a mail."""

    filename: str
    content_type: str
    content: bytes


def error_code(fax: Fax | None, kind: str) -> str:
    """Return the key of `MEANINGS` for a fax in a notice of this kind."""
    if kind != "failed":
        return kind
    if fax is None:
        return "unknown"
    return "cancelled" if fax.state == "cancelled" else fax.failure.code if fax.failure else "unknown"


def meaning(fax: Fax | None, kind: str) -> Meaning:
    """Return what a notice of this kind means for a fax."""
    return MEANINGS[error_code(fax, kind)]


def message_id(delivery: Delivery, hostname: str) -> str:
    """Return the Message-ID of a notice, the same for every copy of it."""
    domain = hostname if _HOST.fullmatch(hostname) else "mailbridge.invalid"
    return f"<{delivery.id}@{domain}>"


def head(due: DueNotice, letterhead: Letterhead, original: Original, now: datetime, subject: str, *, reply_to: str = "") -> bytes:
    """Return the header of a notice, but for what describes its body."""
    answered, to = _answered(due), str(due.delivery.address)
    ids = original.references(answered.message_id) if answered else []
    return b"".join(
        [
            mime.address_header("From", letterhead.sender),
            mime.address_header("To", to),
            mime.address_header("Reply-To", reply_to) if reply_to else b"",
            mime.header("Subject", subject),
            f"Date: {format_datetime(now)}\r\n".encode(),
            f"Message-ID: {message_id(due.delivery, letterhead.hostname)}\r\n".encode(),
            mime.ids_header("In-Reply-To", ids[-1:]) if ids else b"",
            mime.ids_header("References", ids) if ids else b"",
            f"Auto-Submitted: {'auto-replied' if answered else 'auto-generated'}\r\n".encode(),
            b"X-Auto-Response-Suppress: All\r\n",
            mime.header("X-Mailbridge-Loop", letterhead.hostname),
            b"MIME-Version: 1.0\r\n",
        ]
    )


def mail(
    due: DueNotice, letterhead: Letterhead, original: Original, now: datetime, attachments: tuple[Attachment, ...] | None = ()
) -> Mail:
    """Return a notice as an ordinary mail: text and HTML that say the same, and its attachments; None if they are too large."""
    language = letterhead.language_of(due.envelope.user if due.envelope else None)
    said = sections(due, letterhead, language)
    if attachments is None:
        said[-1] = replace(said[-1], remarks=(*said[-1].remarks, _TOO_LARGE[language]))
    boundary = f"=_{due.delivery.id}"
    both = (mime.text_part(as_text(said, language)), mime.text_part(as_html(said, language), "html"))
    body = mime.multipart("alternative", both, f"{boundary}_text")
    if attachments:
        files = [mime.attachment(one.content_type, one.content, one.filename) for one in attachments]
        body = mime.multipart("mixed", [body, *files], boundary)
    caller = _answerable(due.event.data) if _kind(due) == "received" else None
    reply_to = f"{caller}@{letterhead.gateway}" if caller else ""
    content = head(due, letterhead, original, now, subject_of(due, said), reply_to=reply_to) + body
    return Mail(to=str(due.delivery.address), content=content, smtputf8=needs_smtputf8(due, letterhead))


def needs_smtputf8(due: DueNotice, letterhead: Letterhead) -> bool:
    """Whether the address of the reader or of the gateway is not ASCII, so that only SMTPUTF8 (RFC 6531) can carry the header."""
    return not (str(due.delivery.address) + letterhead.sender.rpartition("<")[2]).isascii()


def _answerable(data: Mapping[str, Any]) -> str | None:
    """Return the caller's number of a received fax, None where the caller is not known by a number."""
    caller = str(data.get("from") or "")
    return caller if _DIALLED.fullmatch(caller) else None


def subject_of(due: DueNotice, said: list[Section]) -> str:
    """Return `Re:` and the mail's own subject, since Gmail only joins mails of one subject; without one, the first heading."""
    answered = _answered(due)
    subject = mime.clean(answered.subject) if answered is not None else ""
    if subject:
        return subject[:900] if _REPLY.match(subject) else f"Re: {subject[:900]}"
    return "".join(phrase.text for phrase in said[0].heading)


def _answered(due: DueNotice) -> Envelope | None:
    """Return the mail that a notice answers; a summary is about several."""
    return None if _kind(due) == "summary" else due.envelope


def sections(due: DueNotice, letterhead: Letterhead, language: Language) -> list[Section]:
    """Return what a notice says: the answer first, then each fax, and the sum where the mail had several."""
    kind = _kind(due)
    if kind == "received":
        return [_received(due, letterhead, language)]
    if kind == "admin":
        return admin_sections((due.delivery.notice or {}).get("facts", {}), letterhead.zone, language)
    blocks = list({block["fax_id"]: block for block in (due.delivery.notice or {})["blocks"]}.values())
    if kind == "summary":
        return _summary(due, blocks, language)
    said = [_fax(due, block, kind, letterhead, language) for block in blocks]
    if len(blocks) > 1:
        number, what = Phrase(str(len(blocks)), "ltr"), Phrase(_MANY[kind][language])
        said.insert(0, Section((number, what) if language == "en" else (what, number)))
    if total := _sum(due, language):
        said.append(total)
    return said


def _kind(due: DueNotice) -> str:
    return str((due.delivery.notice or {})["kind"])


_ONE: dict[str, dict[Language, tuple[str, str]]] = {
    "delivered": {"he": ("הפקס אל ", " נשלח והתקבל."), "en": ("The fax to ", " was delivered.")},
    "failed": {"he": ("הפקס אל ", " לא נשלח."), "en": ("The fax to ", " was not delivered.")},
    "in_doubt": {
        "he": ("לא ידוע אם הפקס אל ", " נשלח. אין לשלוח אותו שוב."),
        "en": ("It is not known whether the fax to ", " was sent. Do not send it again."),
    },
    "delayed": {"he": ("הפקס אל ", " עדיין בדרך."), "en": ("The fax to ", " is still on its way.")},
}
_MANY: dict[str, dict[Language, str]] = {
    "delivered": {"he": "פקסים נשלחו והתקבלו: ", "en": " faxes were delivered."},
    "failed": {"he": "פקסים שלא נשלחו: ", "en": " faxes were not delivered."},
    "in_doubt": {
        "he": "פקסים שלא ידוע אם נשלחו, ואין לשלוח שוב: ",
        "en": " faxes may or may not have been sent. Do not send them again.",
    },
    "delayed": {"he": "פקסים שעדיין בדרך: ", "en": " faxes are still on their way."},
}


def _fax(due: DueNotice, block: Mapping[str, str], kind: str, letterhead: Letterhead, language: Language) -> Section:
    fax = due.faxes.get(block["fax_id"])
    number = _number(due, block)
    before, after = _ONE[kind][language]
    means = meaning(fax, kind)
    rows = [("number", number), ("result", Phrase(RESULTS["cancelled" if fax and fax.state == "cancelled" else kind][language]))]
    if fax is not None:
        rows += [
            ("when", local_time(happened_at(fax, due), letterhead.zone)),
            ("pages", Phrase(UNKNOWN[language]) if fax.pages is None else Phrase(str(fax.pages), "ltr")),
            ("tries", Phrase(str(len(fax.attempts)), "ltr")),
        ]
    if kind != "delivered":
        rows += [("why", Phrase(means.why[language])), ("what_to_do", Phrase(means.what_to_do[language]))]
    rows.append(("id", Phrase(block["fax_id"], "ltr")))
    return Section((Phrase(before), number, Phrase(after)), tuple(Row(LABELS[name][language], value) for name, value in rows))


def happened_at(fax: Fax, due: DueNotice) -> datetime:
    """Return when a fax became what the notice says."""
    return fax.final_at or due.event.at


def _sum(due: DueNotice, language: Language) -> Section | None:
    """Return how many of the mail's faxes are in which state, where it has several."""
    if sum(due.counts.values()) < 2:
        return None
    states = {"delivered": 0, "failed": 0, "in_doubt": 0, "cancelled": 0, "delayed": 0}
    for state, count in due.counts.items():
        states[state if state in states else "delayed"] += count
    heading = {"he": "סיכום כל הפקסים של ההודעה: ", "en": "All faxes of this mail: "}[language]
    total = (Phrase(heading), Phrase(str(sum(states.values())), "ltr"))
    return Section(total, tuple(Row(RESULTS[state][language], Phrase(str(n), "ltr")) for state, n in states.items() if n))


def _summary(due: DueNotice, blocks: list[Mapping[str, str]], language: Language) -> list[Section]:
    notice = due.delivery.notice or {}
    text: dict[Language, str] = {
        "he": "הודעות נוספות על פקסים, מעבר למכסה של שעה אחת: ",
        "en": "More notices about faxes, beyond the limit of one hour: ",
    }
    counts: dict[str, int] = {}
    for block in blocks:
        counts[block["kind"]] = counts.get(block["kind"], 0) + 1
    first = Section(
        (Phrase(text[language]), Phrase(str(notice["notices"]), "ltr")),
        tuple(Row(RESULTS[kind][language], Phrase(str(n), "ltr")) for kind, n in counts.items()),
    )
    listed = [
        Section(
            (Phrase(_ONE[block["kind"]][language][0]), _number(due, block), Phrase(_ONE[block["kind"]][language][1])),
            (Row(LABELS["id"][language], Phrase(block["fax_id"], "ltr")),),
        )
        for block in blocks
    ]
    return [first, *listed]


def _number(due: DueNotice, block: Mapping[str, str]) -> Phrase:
    fax = due.faxes.get(block["fax_id"])
    return phone_number(fax.number) if fax else Phrase(block["address"].rpartition("@")[0], "ltr")


_TOO_LARGE: dict[Language, str] = {
    "he": "הקובץ גדול מדי לשליחה בדואר, ולכן אינו מצורף. הוא שמור אצל מנהל המערכת לפי המזהה שלמעלה.",
    "en": "The file is too large for the mail system, so it is not attached. Your administrator can find it by the ID above.",
}
_RECEIVED: dict[str, dict[Language, str]] = {
    "fax": {"he": "התקבל פקס מאת ", "en": "A fax from "},
    "voicemail": {"he": "התקבלה הודעה קולית מאת ", "en": "A voicemail from "},
    "anonymous": {"he": "מספר חסוי", "en": "an unknown number"},
    "untrusted": {
        "he": "זהירות: לא ניתן לאמת שהודעה זו הגיעה מ-MyFax.",
        "en": "Caution: it could not be verified that this came from MyFax.",
    },
    "reply": {"he": "תשובה למייל הזה, עם מסמך מצורף, תישלח כפקס לשולח.", "en": "Answer this mail, with a document, to fax back."},
    "no_document": {"he": "המסמך כבר אינו שמור.", "en": "The document is no longer stored."},
}


def _received(due: DueNotice, letterhead: Letterhead, language: Language) -> Section:
    data = due.event.data
    kind = "voicemail" if due.event.type == "voicemail.received" else "fax"
    caller = phone_number(data["from"]) if data.get("from") else Phrase(_RECEIVED["anonymous"][language])
    rows = [("caller", caller)]
    if data.get("to"):
        rows.append(("called", phone_number(data["to"])))
    rows.append(("when", local_time(datetime.fromisoformat(data["received_at"]), letterhead.zone)))
    documents = received_documents(data)
    rows += [("document", Phrase(str(one["filename"]), "auto")) for one in documents if one.get("filename")]
    rows.append(("id", Phrase(str(due.event.fax_id), "ltr")))
    remarks = [
        *([_RECEIVED["untrusted"][language]] if data.get("trusted") is False else []),
        *([_RECEIVED["no_document"][language]] if not any(one.get("path") for one in documents) else []),
        *([_RECEIVED["reply"][language]] if _answerable(data) else []),
    ]
    end = {"he": ".", "en": " arrived."}[language]
    lines = tuple(Row(LABELS[name][language], value) for name, value in rows)
    return Section((Phrase(_RECEIVED[kind][language]), caller, Phrase(end)), lines, tuple(remarks))
