"""A recipient's address becomes a fax number in E.164, or a refusal that says what to write. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from mailbridge.errors import Refused
from mailbridge.phone.number import NumberFault, parse_number

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_OUTLOOK = "IMCEAFAX-"
_ENCODED = re.compile(r"\+([0-9A-F]{2})", re.ASCII | re.IGNORECASE)


def parse_recipient(address: str, domains: Collection[str], region: str, *, possible: bool = False) -> str:
    """Return the number of `number@gateway` in E.164, such as `+97239876543`.

    `domains` are the gateway's; `region` and `possible` see `parse_number`. Takes a quoted local part, `FAX=+…` (RFC 3192), and
    the fax contacts of Outlook. Raises Refused: 550 5.1.2 for a foreign domain, 550 5.1.3 for what is not a number.
    """
    local, at, domain = address.rpartition("@")
    if not at or domain.casefold() not in {known.casefold() for known in domains}:
        raise Refused(f"550 5.1.2 This gateway only takes faxes for NUMBER@{next(iter(domains))}; it passes on no other mail")
    try:
        return parse_number(_written_number(_unquoted(local).strip(" ")), region, possible=possible)
    except NumberFault as error:
        raise Refused(f"550 5.1.3 {error.fault[0].upper()}{error.fault[1:]}; {error.remedy}") from None


def _unquoted(local: str) -> str:
    quoted = _QUOTED.fullmatch(local)
    return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL) if quoted else local


def _written_number(local: str) -> str:
    """Return the number as it was written, without what programs put around it."""
    if local[:4].upper() == "FAX=":
        return local[4:]
    if local[: len(_OUTLOOK)].upper() == _OUTLOOK:
        return _outlook_number(local[len(_OUTLOOK) :])
    return local


def _outlook_number(encoded: str) -> str:
    """Decode MS-OXCMAIL 2.1.3.1.8: `+XX` is a byte in hex and `_` a slash.

    Inside is an address of MAPI's type FAX: `dialable | name@canonical | special dialling`, where one number alone is enough.
    The canonical number counts; what is dialled behind it makes it a number that is refused.
    """
    # Bytes of a name may be in any charset, and the name does not matter.
    decoded = _ENCODED.sub(lambda found: chr(int(found[1], 16)), encoded.replace("_", "/"))
    _, _, number = decoded.rpartition("@")
    first, bar, rest = (part.strip(" ") for part in number.partition("|"))
    if bar and rest.startswith("+"):
        first, bar, rest = (part.strip(" ") for part in rest.partition("|"))
    return f"{first},{rest}" if rest else first
