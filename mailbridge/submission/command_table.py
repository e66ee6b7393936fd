"""The table of a session's commands, as aiosmtpd looks them up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any


class CommandTable(dict[str, Any]):
    """Remembers the command that was looked up last (`present`). Every unknown command has the same method.

    aiosmtpd would end the session after a fixed number of unknown ones.
    """

    def __init__(self, commands: dict[str, Any], unknown: Callable[[str, str | None], Awaitable[None]]) -> None:
        super().__init__(commands)
        self._unknown, self.present = unknown, ""

    def get(self, command: str, default: Any = None) -> Any:
        """Return the method of a command."""
        self.present = command
        return super().get(command) or partial(self._unknown, command)
