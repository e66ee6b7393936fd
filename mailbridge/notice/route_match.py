"""Which routes a received fax or voicemail follows. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mailbridge.config import Route


def matches(route: Route, type_: str, data: Mapping[str, Any], country_code: str) -> bool:
    """Whether an event of this type with this data fits every condition of a route."""
    kind = "voicemail" if type_ == "voicemail.received" else "fax"
    return (
        (route.untrusted or data.get("trusted") is not False)
        and route.kind in (None, kind)
        and (not route.account or data.get("account") in route.account)
        and _begins(data.get("to"), route.to, country_code)
        and _begins(data.get("from"), route.from_, country_code)
    )


def _begins(number: str | None, wanted: Sequence[str], country_code: str) -> bool:
    """Whether a number begins with one of those wanted. Without any wanted, every number and an unknown one fits."""
    if not wanted:
        return True
    digits = _international(number or "", country_code)
    return bool(digits) and any(digits.startswith(_international(one, country_code)) for one in wanted)


def _international(number: str, country_code: str) -> str:
    """Return the digits of a number, or of the beginning of one, with the country code."""
    digits = re.sub(r"\D", "", number)
    if number.strip().startswith("+"):
        return digits
    if digits.startswith("00"):
        return digits[2:]
    return country_code + digits[1:] if digits.startswith("0") else digits
