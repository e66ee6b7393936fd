"""Who may use the stand-in of MyFax, and which lines it has given to whom: the distributor's two actions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

# The document publishes no codes but "below 0"; these are the stand-in's own.
WRONG_LOGIN, BAD_PARAMETER, UNKNOWN, GONE, NOT_ACCEPTED = -1, -2, -3, -4, -5
FIRST_LINE: Final = "+97239000000"

_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{7,14}", re.ASCII)
_LIMITS = {"email": 200, "fullName": 200, "companyName": 100}
_BLOCKS = {"1": "+97255900", "17": "+97273900"}
_ISRAEL = ZoneInfo("Asia/Jerusalem")


class Refusal(Exception):
    """What is answered with a RESPONSE_CODE below 0."""

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(text)


@dataclass(slots=True)
class Line:
    """A line and its user."""

    did: str
    user: str
    renewed: bool = True
    released: bool = False


class Accounts:
    """One distributor, who is also a user with a line, and those whom he registers."""

    def __init__(self, email: str, password: str) -> None:
        self._distributor = (email, password)
        self._passwords: dict[str, str] = {email: password}
        self._blocked: set[str] = set()
        self.lines: dict[str, Line] = {FIRST_LINE: Line(FIRST_LINE, email)}

    def login(self, form: Mapping[str, str]) -> str:
        """Return the user whose email and password a form holds. Raises Refusal."""
        email = form.get("email", "")
        if not email or self._passwords.get(email) != form.get("password"):
            raise Refusal(WRONG_LOGIN, "Wrong email or password")
        if email in self._blocked:
            raise Refusal(WRONG_LOGIN, "The user is blocked")
        return email

    def register(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Give a user a line, and return what is told of it. Raises Refusal."""
        self._distribute(form)
        email = needed(form, "email")
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
        number = self._free(form.get("requestedNumber", ""), block)
        self.lines[number] = Line(number, email)
        self._passwords.setdefault(email, form.get("password") or "changeme")
        told = {"USER_ID": 4710 + list(self._passwords).index(email), "USER_FAX_NUMBER": number, "USER_EMAIL": email}
        expire = datetime.now(_ISRAEL) + timedelta(days=365)
        return told | {"PRICE": "10.00", "EXPIRE": f"{expire:%Y-%m-%d %H:%M:%S}.0"}

    def _free(self, wanted: str, block: str) -> str:
        if not wanted:
            return next(number for index in range(10_000) if (number := f"{block}{index:04}") not in self.lines)
        if not _INTERNATIONAL.fullmatch(wanted):
            raise Refusal(BAD_PARAMETER, "requestedNumber is not an international phone number")
        if wanted in self.lines and not self.lines[wanted].released:
            raise Refusal(GONE, "requestedNumber is not free")
        return wanted

    def release(self, form: Mapping[str, str]) -> None:
        """Take a line back, at once or at its end, and block its user where that is asked for. Raises Refusal."""
        self._distribute(form)
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

    def _distribute(self, form: Mapping[str, str]) -> None:
        if (form.get("distEmail"), form.get("distPassword")) != self._distributor:
            raise Refusal(WRONG_LOGIN, "Wrong email or password")


def needed(form: Mapping[str, str], name: str) -> str:
    """Return a parameter that must be there. Raises Refusal."""
    if not (value := form.get(name, "").strip()):
        raise Refusal(BAD_PARAMETER, f"{name} is missing")
    return value
