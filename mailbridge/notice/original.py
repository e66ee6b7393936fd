"""The mail that a notice answers: its header, its ids for the thread, and how it can be returned. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from email.policy import compat32

_MESSAGE_ID = re.compile(r"<[^<>\s]{1,250}>", re.ASCII)
_KEYWORD = re.compile(r"\s*([A-Za-z-]+)")
_LONGEST_LINE = 998
MAX_HEADER = 100_000  # bytes that are read and returned
# RFC 5537 and mail programs keep the first and the newest; 20 ids are enough for any program to find the thread.
MAX_REFERENCES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """`header` ends with its last field; `whole` is the mail as it came, None where it is larger than may be returned."""

    header: bytes = b""
    whole: bytes | None = None

    def references(self, message_id: str | None) -> list[str]:
        """Return the ids for References: the mail's own old ones, and then its Message-ID, which is always the last."""
        own = _MESSAGE_ID.search(message_id or "")
        fields = BytesHeaderParser(policy=compat32).parsebytes(self.header)
        before = _MESSAGE_ID.findall(str(fields.get("References") or fields.get("In-Reply-To") or ""))
        if own is None:
            return []
        return [*[one for one in dict.fromkeys(before) if one != own[0]][-MAX_REFERENCES + 1 :], own[0]]

    @property
    def is_automatic_reply(self) -> bool:
        """Whether a program answered with it, so that it must not be answered (RFC 3834 section 2)."""
        fields = BytesHeaderParser(policy=compat32).parsebytes(self.header)
        automatic = _KEYWORD.match(str(fields.get("Auto-Submitted", "no")))
        replied = automatic is not None and automatic[1].lower() in ("auto-replied", "auto-notified")
        return replied or "X-Mailbridge-Loop" in fields


def header_of(content: bytes) -> bytes:
    """Return the header of a mail's first bytes, cut after a whole field where it is longer than MAX_HEADER."""
    end = re.search(rb"\r?\n\r?\n", content)
    header = content[: end.start()] if end else content
    if len(header) > MAX_HEADER or end is None:
        lines = header[:MAX_HEADER].split(b"\n")
        header = b"\n".join(lines[: _last_field(lines)])
    return b"\r\n".join(header.replace(b"\r\n", b"\n").split(b"\n")) + b"\r\n"


def _last_field(lines: list[bytes]) -> int:
    """Return how many lines there are before the last field, which may be incomplete."""
    last = len(lines) - 1
    while last > 0 and lines[last][:1] in (b" ", b"\t"):
        last -= 1
    return max(last, 1)


def bits(content: bytes) -> int | None:
    """Return 7 or 8: the bits that a transport needs for this mail. None where no transport would keep it as it is."""
    bare = re.search(rb"\x00|\r(?!\n)|(?<!\r)\n", content)
    if bare or any(len(line) > _LONGEST_LINE for line in content.split(b"\r\n")):
        return None
    return 7 if content.isascii() else 8
