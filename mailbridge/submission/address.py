"""A recipient's address becomes a fax number in E.164, or a refusal that says what to write. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from mailbridge.errors import Refused
from mailbridge.phone.contacts import Directory
from mailbridge.phone.number import NumberFault, parse_number

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_RFC_3192 = "FAX="
_OUTLOOK = "IMCEAFAX-"
_ENCODED = re.compile(r"\+([0-9A-F]{2})", re.ASCII | re.IGNORECASE)


def parse_recipient(address: str, domains: Collection[str], region: str, *, possible: bool = False) -> str:
    """Return the number of `number@gateway` in E.164, such as `+97239876543`.

    `domains` are the gateway's; `region` and `possible` see `parse_number`. Takes a quoted local part, `FAX=+…` (RFC 3192), and
    the fax contacts of Outlook. Raises Refused: 550 5.1.2 for a foreign domain, 550 5.1.3 for what is not a number.
    """
    return _number(_local_part(address, domains), region, possible)


def _number(local: str, region: str, possible: bool) -> str:
    try:
        return parse_number(_written_number(local), region, possible=possible)
    except NumberFault as error:
        raise Refused(f"550 5.1.3 {error.fault[0].upper()}{error.fault[1:]}; {error.remedy}") from None


def find_numbers(
    address: str, domains: Collection[str], region: str, contacts: Directory, *, possible: bool = False
) -> tuple[str, ...]:
    """Return the numbers of `number@gateway` or `name@gateway`, where a name is one of `contacts`.

    Raises Refused as `parse_recipient` does, and 550 5.1.1 for an unknown name.
    """
    local = _local_part(address, domains)
    if (found := contacts.find(local)) is not None:
        return found
    # What does not begin with a letter was meant as a number.
    if contacts.numbers and local[:1].isalpha() and not local.upper().startswith((_RFC_3192, _OUTLOOK)):
        raise Refused(_unknown(local, contacts))
    return (_number(local, region, possible),)


def _unknown(name: str, contacts: Directory) -> str:
    near = contacts.nearest(name)
    remedy = f"did you mean {' or '.join(near)}?" if near else "write its number, such as 03-9876543"
    return f"550 5.1.1 No contact here has the name {name[:64]}; {remedy}"


def _local_part(address: str, domains: Collection[str]) -> str:
    local, at, domain = address.rpartition("@")
    if not at or domain.casefold() not in {known.casefold() for known in domains}:
        raise Refused(f"550 5.1.2 This gateway only takes faxes for NUMBER@{next(iter(domains))}; it passes on no other mail")
    return _unquoted(local).strip(" ")


def _unquoted(local: str) -> str:
    quoted = _QUOTED.fullmatch(local)
    return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL) if quoted else local


def _written_number(local: str) -> str:
    """Return the number as it was written, without what programs put around it."""
    if local[: len(_RFC_3192)].upper() == _RFC_3192:
        return local[len(_RFC_3192) :]
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
    dialable, _, rest = number.partition("|")
    if rest.lstrip(" ").startswith("+"):
        dialable, _, rest = rest.partition("|")
    return f"{dialable},{rest}" if rest.strip(" ") else dialable
