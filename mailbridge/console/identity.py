"""Who uses the console, and what each role may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["sender", "operator", "viewer"]
Language = Literal["he", "en"]


@dataclass(frozen=True, slots=True)
class Identity:
    """A user who has logged in."""

    name: str  # of the [user.NAME]
    role: Role
    language: Language | None  # None: that of the browser
    session_id: str | None  # ses_…; None where a proxy names the user

    @property
    def sees_all(self) -> bool:
        """Whether the user sees the faxes of all users; others see only their own."""
        return self.role != "sender"

    @property
    def own(self) -> str | None:
        """The user whose faxes alone may be seen, or None for all."""
        return None if self.sees_all else self.name
