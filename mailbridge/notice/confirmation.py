"""What the confirmation of a fax says: only what is known, and by which way it is known. Pure."""

from __future__ import annotations

from typing import Final

from mailbridge.error_table import MEANINGS, Language
from mailbridge.model import Document, Fax
from mailbridge.notice.compose import Letterhead
from mailbridge.notice.wording import LABELS, local_time, phone_number
from mailbridge.page.confirmation_text import ConfirmationText

_MOST_DOCUMENTS: Final = 6
_TITLES: Final[dict[str, dict[Language, str]]] = {
    "delivered": {"he": "אישור שיגור פקס", "en": "Fax confirmation"},
    "failed": {"he": "הפקס לא נשלח", "en": "Fax not delivered"},
    "cancelled": {"he": "הפקס בוטל", "en": "Fax cancelled"},
    "in_doubt": {"he": "לא ידוע אם הפקס נשלח", "en": "Not known whether the fax was sent"},
    "": {"he": "הפקס עדיין בדרך", "en": "Fax still on its way"},
}
_LABELS: Final[dict[str, dict[Language, str]]] = {
    **{name: LABELS[name] for name in ("subject", "result", "pages", "tries", "id")},
    "account": {"he": "חשבון", "en": "Account"},
    "user": {"he": "משתמש", "en": "User"},
    "sender": {"he": "שולח", "en": "Sender"},
    "to": {"he": "אל", "en": "To"},
    "accepted": {"he": "התקבל לשליחה", "en": "Accepted"},
    "when": {"he": "מועד התוצאה", "en": "Time of the result"},
    "way": {"he": "לפי", "en": "As told by"},
    "code": {"he": "מזהה ב-MyFax", "en": "FAX_CODE at MyFax"},
    "price": {"he": "מחיר", "en": "Price"},
}
# By `Fax.source`.
_WAYS: Final[dict[str, dict[Language, str]]] = {
    "poll": {"he": "תשובת MyFax לשאלה על מצב הפקס", "en": "MyFax, asked for the status"},
    "report": {"he": "דוח של MyFax בדואר", "en": "a report mailed by MyFax"},
    "upload": {"he": "תשובת MyFax למסירת הפקס", "en": "MyFax's answer to the upload"},
    "person": {"he": "החלטה של אדם", "en": "a person's decision"},
    "expiry": {"he": "לא התקבלה תוצאה בזמן", "en": "no result in time"},
}
_REMARKS: Final[dict[str, dict[Language, str]]] = {
    "in_doubt": {
        "he": "התשובה של MyFax לא הגיעה. הפקס אולי נשלח ואולי לא; המסמך הזה אינו אישור שיגור.",
        "en": "MyFax's answer was lost. The fax may or may not have been sent; this page confirms nothing.",
    },
    "more": {"he": "ועוד מסמכים: ", "en": "and more documents: "},
    "deleted": {"he": "המסמכים נמחקו מהשרת בתום תקופת השמירה.", "en": "The documents were deleted after their retention time."},
}
_BYTES: Final[dict[Language, str]] = {"he": "בתים", "en": "bytes"}


def confirmation_text(fax: Fax, letterhead: Letterhead) -> ConfirmationText:
    """Return what the confirmation of a fax says, in the language of its user."""
    language = letterhead.language_of(fax.user)
    is_final = fax.state in ("delivered", "failed", "cancelled")
    values = {
        "to": phone_number(fax.number).text,
        "result": _result(fax, language),
        "way": _WAYS[fax.source][language] if is_final and fax.source in _WAYS else None,
        "when": local_time(fax.final_at, letterhead.zone).text if fax.final_at else None,
        "accepted": local_time(fax.created_at, letterhead.zone).text,
        "pages": None if fax.pages is None else str(fax.pages),
        "tries": str(len(fax.attempts)) if fax.attempts else None,
        "price": fax.price,
        "code": fax.fax_code or next((one.fax_code for one in reversed(fax.attempts) if one.fax_code), None),
        "account": fax.account,
        "user": fax.user,
        "sender": fax.email.sender or None,
        "subject": fax.email.subject or None,
        "id": fax.id,
    }
    lost = bool(fax.documents) and not any(document.path for document in fax.documents)
    remarks = [name for name, holds in (("in_doubt", fax.state == "in_doubt"), ("deleted", lost)) if holds]
    return ConfirmationText(
        title=_TITLES.get(fax.state, _TITLES[""])[language],
        rows=tuple((_LABELS[name][language], value) for name, value in values.items() if value),
        documents=tuple(_documents(fax.documents, language)),
        remarks=tuple(_REMARKS[name][language] for name in remarks),
    )


def _result(fax: Fax, language: Language) -> str:
    if fax.state == "failed" and fax.failure is not None:
        number = "" if fax.failure.provider_code is None else f" ({fax.failure.provider_code})"
        return MEANINGS[fax.failure.code].why[language] + number
    return MEANINGS[fax.state if fax.state in MEANINGS else "delayed"].why[language]


def _documents(documents: tuple[Document, ...], language: Language) -> list[tuple[str, str, str]]:
    shown = [
        (document.name, f"{document.size:,} {_BYTES[language]}", f"SHA-256 {document.sha256}")
        for document in documents[:_MOST_DOCUMENTS]
    ]
    rest = len(documents) - _MOST_DOCUMENTS
    return [*shown, (_REMARKS["more"][language], str(rest), "")] if rest > 0 else shown
