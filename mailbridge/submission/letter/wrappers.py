"""Mails that cannot be opened, because they are cut, encrypted, or only point to their content: refused with what to do."""

from __future__ import annotations

from typing import Final

from mailbridge.errors import Refused
from mailbridge.submission.letter.mime_part import Part

_SMIME: Final = (
    "is signed or encrypted as a whole (S/MIME, smime.p7m); in the mail program choose to sign in clear text and not to encrypt"
)
_BY_TYPE: Final = {
    "message/partial": "is one piece of a divided mail (message/partial); turn off divided sending in the program or scanner",
    "message/external-body": "only says where its document is (message/external-body); attach the document itself",
    "application/pkcs7-mime": _SMIME,
    "application/x-pkcs7-mime": _SMIME,
    "application/pgp-encrypted": "is encrypted (PGP); send it without encryption",
}


def check_wrapper(part: Part) -> None:
    """Raise Refused (554 5.6.0) for a part whose content cannot be reached."""
    why = _BY_TYPE.get(part.content_type) or (_SMIME if (part.filename or "").lower().endswith(".p7m") else None)
    if why is not None:
        raise Refused(f"554 5.6.0 The mail {why}")
