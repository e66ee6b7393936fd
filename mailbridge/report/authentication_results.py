"""Authentication-Results (RFC 8601): what our own mail server found out about a mail's DKIM signatures. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.errors import HeaderParseError
from email.message import Message

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def passed(message: Message, authserv: str, is_sender: Callable[[str], bool]) -> bool:
    """Return whether the server with the authserv-id `authserv` says that DKIM passed for a domain of which `is_sender` holds.

    Only the topmost field counts (section 5): those below it may have come with the mail. Raises HeaderParseError.
    """
    head, results = read_results(message)
    # The authserv-id, and perhaps the version, which can only be 1 (section 2.2).
    if not head or head[0].lower() != authserv.lower() or head[1:] not in ([], ["1"]):
        return False
    # A server that found no signature prints no other result of DKIM: that one came from the mail, such as out of its sender's
    # address, which some servers print without quotes.
    if any(re.sub(r"\s*=\s*", "=", result).lower().split()[:1] == ["dkim=none"] for result in results):
        return False
    return any(_dkim_passed(result, is_sender) for result in results)


def read_results(message: Message) -> tuple[list[str], list[str]]:
    """Return the topmost field's words before the first semicolon, and the results after it. Raises HeaderParseError."""
    found = message.get_all("authentication-results", [])
    if not found:
        return [], []
    head, *results = _split(_without_comments(" ".join(str(found[0]).split())))
    # Some servers leave their ID out and begin with a result.
    return ([] if "=" in head else head.split()), results


def _dkim_passed(result: str, is_sender: Callable[[str], bool]) -> bool:
    """Whether a result is `dkim=pass` with one signer that is the sender. Gmail names the signer by `header.i` alone."""
    words = re.sub(r"\s*=\s*", "=", result).split()
    if not words or words[0].lower() not in ("dkim=pass", "dkim/1=pass"):
        return False
    properties = [word.lower().partition("=") for word in words[1:]]
    signers = [value for name, _, value in properties if name == "header.d"]
    signers = signers or [value.rpartition("@")[2] for name, _, value in properties if name == "header.i"]
    return len(signers) == 1 and is_sender(signers[0])


def _without_comments(value: str) -> str:
    """Drop comments (RFC 5322 section 3.2.2), nested ones too; a quoted string is kept. Raises HeaderParseError if unbalanced."""
    kept, depth, quoted, escaped = [], 0, False, False
    for character in value:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"' and depth == 0:
            quoted = not quoted
        elif character == "(" and not quoted:
            depth += 1
        elif character == ")" and not quoted and depth:
            depth -= 1
            continue
        if depth == 0:
            kept.append(character)
    if depth or quoted:
        raise HeaderParseError("unbalanced")
    return "".join(kept)


def _split(value: str) -> list[str]:
    """Split at semicolons outside quoted strings; a quoted string becomes one word without blanks and special characters."""
    return _QUOTED.sub(lambda match: re.sub(r"[^\w.@-]", "_", match[1]), value).split(";")
