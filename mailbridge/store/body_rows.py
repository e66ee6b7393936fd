"""The rows of bodies in PostgreSQL, as a transaction that records mails writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Connection

from mailbridge.errors import StoreUnavailable
from mailbridge.model import QueuedMail
from mailbridge.store.rivals import NOW

PIECE: Final = 1 << 18  # bytes in a row
_MOST_AT_ONCE: Final = 1 << 20  # bytes in a statement
_ADD: Final = """
    WITH piece AS (INSERT INTO body_piece (name, n, bytes) VALUES {} RETURNING name, octet_length(bytes) AS size)
    INSERT INTO body (name, size, stored_at) SELECT name, size, {} FROM piece"""
# Whoever deletes old bodies waits for this row, and then sees that it is not old any more.
_CONFIRM: Final = f"UPDATE body SET stored_at = {NOW} WHERE name = ANY(%s)"


def store_bodies(connection: Connection, mails: Sequence[QueuedMail]) -> None:
    """Store small mails, and make sure that those which were put before are still there. Raises StoreUnavailable."""
    for small in _portions([mail for mail in mails if mail.body]):
        values = ", ".join(["(%s, 0, %s)"] * len(small))
        connection.exec_driver_sql(_ADD.format(values, NOW), tuple(value for one in small for value in one))
    large = [mail.envelope.path for mail in mails if mail.body is not None and not mail.body]
    if large and connection.exec_driver_sql(_CONFIRM, (large,)).rowcount != len(large):
        raise StoreUnavailable("the mail was deleted from the database before it was accepted; it took too long")


def _portions(mails: Sequence[QueuedMail]) -> Iterator[list[tuple[str, bytes]]]:
    """Yield paths and bodies, not many bytes at a time: the driver copies them."""
    portion, size = list[tuple[str, bytes]](), 0
    for mail in mails:
        body = b"".join(mail.body or ())
        if size + len(body) > _MOST_AT_ONCE and portion:
            yield portion
            portion, size = [], 0
        portion.append((mail.envelope.path, body))
        size += len(body)
    if portion:
        yield portion
