"""The errors of PostgreSQL, by their SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ExceptionContext
from sqlalchemy.exc import DBAPIError

from mailbridge.errors import StoreUnavailable, Undecided

_DISK_FULL: Final = "53100"
_READ_ONLY: Final = "25006"
# Another transaction was in the way: serialization failure, deadlock, lock timeout, a key that has just been taken.
_RIVALRY: Final = ("40001", "40P01", "55P03", "23505")
# The server ends this connection, or it has become a standby: another connection may find the server that works.
_LEAVE: Final = ("57P01", "57P02", "57P03", "25P03", _READ_ONLY)
_ENDED: Final = ("08", "57")  # classes: connection exception, operator intervention
_RIGHTS: Final = "42501"
_MEANING: Final = {
    _DISK_FULL: "the disk of the database server is full; make room there: nothing that was accepted is lost",
    _READ_ONLY: "the database server is read-only, as a standby is; store.url must lead to the server that accepts writes",
    _RIGHTS: "the database user lacks a right; run mailbridge migrate as the owner of the tables",
}


def sqlstate(error: BaseException | None) -> str:
    """Return the SQLSTATE of an error, "" if the server has sent none, as after a lost connection."""
    return str(getattr(error, "sqlstate", None) or "")


def message(error: BaseException | None) -> str:
    """Return the text of an error in one line, without the server's details, which may repeat a row."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    return " ".join(str(primary or error).split())


class PostgresFaults:
    """The errors of PostgreSQL; see `store.faults.Faults`."""

    def unavailable(self, error: DBAPIError | OSError, *, committing: bool) -> StoreUnavailable:
        cause = error.orig if isinstance(error, DBAPIError) else error
        state = sqlstate(cause)
        why = f": {_MEANING[state]}" if state in _MEANING else f" ({message(cause)})"
        # If the connection ends before COMMIT is answered, nobody knows whether it happened.
        lost = committing and self.is_gone(error)
        return (Undecided if lost else StoreUnavailable)(f"the database cannot be written{why}")

    def not_reached(self, error: DBAPIError) -> StoreUnavailable:
        """Return the error of a connection that is made while nothing is to be written."""
        state = sqlstate(error.orig)
        why = _MEANING.get(state) or message(error.orig)
        if "Peer authentication failed" in why or "no password supplied" in why:
            why += "; run commands as the user of the service, who may log in: sudo -u mailbridge mailbridge …"
        return StoreUnavailable(f"the database of store.url cannot be used: {why}")

    def is_rivalry(self, error: DBAPIError | OSError) -> bool:
        return isinstance(error, DBAPIError) and sqlstate(error.orig) in _RIVALRY

    def is_gone(self, error: DBAPIError | OSError) -> bool:
        state = sqlstate(error.orig) if isinstance(error, DBAPIError) else ""
        return not state or state.startswith(_ENDED)


def leave_server(context: ExceptionContext) -> None:
    """Let SQLAlchemy close the connection after an error that another server would not have. A listener of `handle_error`."""
    if sqlstate(context.original_exception) in _LEAVE:
        context.is_disconnect = True
