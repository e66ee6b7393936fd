"""What MyFax's status codes mean for a fax. Pure.

MyFax's document (12.2022) has two lists of codes that disagree: "Status list", of FAX_STATUS in `faxStatus.do`, and "Additional
headers", of X-Fax-Status-Code in report mails. docs/myfax.md shows both beside each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from mailbridge.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a status code means for a fax; `error` is set only if it `failed`."""

    kind: Literal["pending", "delivered", "failed"]
    error: ErrorCode | None = None


PENDING: Final = Outcome("pending")
DELIVERED: Final = Outcome("delivered")
_FAILURES: Final[dict[int, ErrorCode]] = {2: "no_answer", 3: "busy", 6: "wrong_number", 7: "transfer_failed"}
_DESCRIPTIONS: Final[dict[int, str]] = {
    0: "The fax is not scheduled yet.",  # FAX_STATUS_INIT; in a mail: send not scheduled
    1: "The fax is accepted and not started yet.",  # FAX_STATUS_CONFIRM; in a mail: send not started
    2: "Nobody answered at this number.",  # FAX_STATUS_NO_ANSWER
    3: "The number was busy.",  # FAX_STATUS_BUSY
    4: "The call is under way.",  # FAX_STATUS_CONNECT; in a mail: unknown fax status
    6: "The number is wrong.",  # FAX_STATUS_WRONG_NUMBER
    7: "The transfer failed: no fax machine answered, or it broke off.",  # FAX_STATUS_FAIL
    9: "The fax was sent.",  # FAX_STATUS_SENT
    10: "The fax was sent, and then deleted at MyFax.",  # FAX_STATUS_DELETE, "a fax that succeed and deleted"; in a mail: deleted
}


def status_outcome(code: int | None, final: bool) -> Outcome:
    """Return what FAX_STATUS and FINAL_STATUS of `faxStatus.do` mean: nothing unless final, and never success if unknown."""
    if not final or code is None or code in (0, 1, 4):
        return PENDING
    if code in (9, 10):
        return DELIVERED
    return Outcome("failed", _FAILURES.get(code, "unknown"))


def report_outcome(status: str | None, code: int | None) -> Outcome | Literal["ask"]:
    """Return what X-Fax-Status and X-Fax-Status-Code of a trusted report mean, or `ask` if only `faxStatus.do` knows."""
    if code in (0, 1):
        return PENDING
    word = (status or "").strip().lower()
    if code == 9 and word == "success":
        return DELIVERED
    if code is None or code in (4, 9, 10) or word != "fail":
        return "ask"
    return Outcome("failed", _FAILURES.get(code, "unknown"))


def describe(code: int | None) -> str:
    """Return a sentence about a status code for a person; an unknown code is shown as its number."""
    if code is None:
        return "MyFax gave no status."
    return _DESCRIPTIONS.get(code, f"MyFax gave the unknown status {code}.")
