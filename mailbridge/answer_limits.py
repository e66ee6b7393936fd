"""Limits of what other servers answer over HTTP: whatever an answer is made of, it holds the event loop for little time."""

from __future__ import annotations

from typing import Final

from httpcore import AsyncHTTP11Connection

# Bytes of one read. In chunks of a byte, 64 KB take a fifth of a second, in which nothing else happens.
READ_SIZE: Final = 8_192
# Bytes of an answer's status and fields.
MAX_HEAD: Final = 32_768


def limit_answers() -> None:
    """Set the limits for every HTTP client of this process. httpx and httpcore have no setting for them."""
    AsyncHTTP11Connection.READ_NUM_BYTES = READ_SIZE
    AsyncHTTP11Connection.MAX_INCOMPLETE_EVENT_SIZE = MAX_HEAD
