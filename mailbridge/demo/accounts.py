"""Users and lines of the MyFax simulator, and the distributor's two actions: register and release."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

# MyFax's document says only "below 0"; these codes are the simulator's own.
WRONG_LOGIN, BAD_PARAMETER, UNKNOWN, GONE, NOT_ACCEPTED = -1, -2, -3, -4, -5
FIRST_LINE: Final = "+97239000000"

_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{7,14}", re.ASCII)
_LIMITS = {"email": 200, "fullName": 200, "companyName": 100}
_BLOCKS = {"1": "+97255900", "17": "+97273900"}
_ISRAEL = ZoneInfo("Asia/Jerusalem")


class Refusal(Exception):
    """An answer with a RESPONSE_CODE below 0."""

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(text)


@dataclass(slots=True)
class Line:
    """A fax line and its user."""

    did: str
    user: str
    renewed: bool = True
    released: bool = False


class Accounts:
    """One distributor, who is also a user with a line, and the users registered by the distributor."""

    def __init__(self, email: str, password: str) -> None:
        self._distributor = (email, password)
        self._passwords: dict[str, str] = {email: password}
        self._blocked: set[str] = set()
        self.lines: dict[str, Line] = {FIRST_LINE: Line(FIRST_LINE, email)}

    def login(self, form: Mapping[str, str]) -> str:
        """Return the email of the user who logs in with this form. Raises Refusal."""
        email = form.get("email", "")
        if not email or self._passwords.get(email) != form.get("password"):
            raise Refusal(WRONG_LOGIN, "Wrong email or password")
        if email in self._blocked:
            raise Refusal(WRONG_LOGIN, "The user is blocked")
        return email

    def register(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Give a user a line; return the fields of the answer (`myFaxAllocateDistributer.do`). Raises Refusal."""
        self._check_distributor(form)
        email = required(form, "email")
        for name, limit in _LIMITS.items():
            if len(form.get(name, "")) > limit:
                raise Refusal(BAD_PARAMETER, f"{name} is longer than {limit} characters")
        if not _EMAIL.fullmatch(email):
            raise Refusal(BAD_PARAMETER, "email is not valid")
        block = _BLOCKS.get(form.get("type") or "1")
        if block is None:
            raise Refusal(BAD_PARAMETER, "type must be 1 or 17")
        if email in self._blocked:
            raise Refusal(GONE, "The user is blocked")
        number = self._free_number(form.get("requestedNumber", ""), block)
        self.lines[number] = Line(number, email)
        self._passwords.setdefault(email, form.get("password") or "changeme")
        user = {"USER_ID": 4710 + list(self._passwords).index(email), "USER_FAX_NUMBER": number, "USER_EMAIL": email}
        expire = datetime.now(_ISRAEL) + timedelta(days=365)
        return user | {"PRICE": "10.00", "EXPIRE": f"{expire:%Y-%m-%d %H:%M:%S}.0"}

    def _free_number(self, requested: str, block: str) -> str:
        if not requested:
            return next(number for index in range(10_000) if (number := f"{block}{index:04}") not in self.lines)
        if not _INTERNATIONAL.fullmatch(requested):
            raise Refusal(BAD_PARAMETER, "requestedNumber is not an international phone number")
        if requested in self.lines and not self.lines[requested].released:
            raise Refusal(GONE, "requestedNumber is not free")
        return requested

    def release(self, form: Mapping[str, str]) -> None:
        """Release a line now or when it expires, and block its user if asked to (`releaseFaxLine.do`). Raises Refusal."""
        self._check_distributor(form)
        did, user, action = (form.get(name, "") for name in ("faxLineDID", "userEmail", "action"))
        if not (did or user):
            raise Refusal(BAD_PARAMETER, "faxLineDID or userEmail is needed")
        if action not in ("", "noRenew", "blockUser"):
            raise Refusal(BAD_PARAMETER, "action must be noRenew or blockUser")
        lines = [line for line in self.lines.values() if did in ("", line.did) and user in ("", line.user)]
        if not lines:
            raise Refusal(UNKNOWN, "Unknown line" if did else "Unknown user")
        held = [line for line in lines if not line.released and (line.renewed or action != "noRenew")]
        if not held:
            raise Refusal(GONE, "It is released already")
        for line in held:
            line.renewed, line.released = False, action != "noRenew"
        if action == "blockUser":
            self._blocked.update(line.user for line in held)

    def _check_distributor(self, form: Mapping[str, str]) -> None:
        if (form.get("distEmail"), form.get("distPassword")) != self._distributor:
            raise Refusal(WRONG_LOGIN, "Wrong email or password")


def required(form: Mapping[str, str], name: str) -> str:
    """Return a required parameter. Raises Refusal if it is missing."""
    if not (value := form.get(name, "").strip()):
        raise Refusal(BAD_PARAMETER, f"{name} is missing")
    return value
