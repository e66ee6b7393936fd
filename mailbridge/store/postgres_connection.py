"""Connections to PostgreSQL that fail soon when the server is silent, and text as PostgreSQL can hold it."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, Final, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.string import StrDumper
from sqlalchemy import Engine, create_engine, event

from mailbridge.errors import StoreUnavailable
from mailbridge.store import rows
from mailbridge.store.postgres_faults import leave_server

T = TypeVar("T")
# libpq: seconds until a server that does not answer any more is given up, at a connect and later.
_PATIENCE: Final = {
    "connect_timeout": "5",
    "tcp_user_timeout": "10000",  # milliseconds
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
}
# Seconds without a byte of a server that has been asked something. A server that hangs still answers keepalives.
_SILENCE: Final = 12.0
# At the start of each transaction, since a setting of the connection does not pass pgbouncer. A process that is stopped in the
# middle of a transaction must not hold its locks for long.
_LIMITS: Final = "SET LOCAL lock_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = '10s'"


class _Connection(psycopg.Connection[Any]):
    """A connection that ends with an error when the server is silent for `_SILENCE`."""

    silence: float | None = None  # another limit than `_SILENCE`

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        limit = _SILENCE if self.silence is None else self.silence
        return super().wait(self._while_answered(gen, limit), *args, **kwargs)

    def _while_answered(self, gen: Generator[Any, Any, T], limit: float) -> Generator[Any, Any, T]:
        """Run a step of the driver, which yields what it waits for, and gets what is ready: nothing after a tenth of a second."""
        heard = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > limit:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the database server has not answered for {limit:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result


def engine(url: str, connections: int = 1, silence: float | None = None) -> Engine:
    """Return an engine with so many connections. Raises StoreUnavailable for a URL that cannot be read."""
    parameters = _parameters(url)

    def connect(_: object, __: object, ___: object, options: dict[str, Any]) -> psycopg.Connection[Any]:
        return connection(parameters, silence, autocommit=False, context=options["context"])

    made = create_engine(
        "postgresql+psycopg://",
        isolation_level="READ COMMITTED",
        pool_size=connections,
        max_overflow=0,
        json_serializer=_to_json,
        # Positions instead of names, as in SQLite: see `multi_insert`.
        paramstyle="format",
        hide_parameters=True,  # an error's text has no token or address
    )
    event.listen(made, "do_connect", connect)
    event.listen(made, "begin", lambda opened: opened.exec_driver_sql(_LIMITS))
    event.listen(made, "handle_error", leave_server)
    return made


def connect(url: str) -> psycopg.Connection[Any]:
    """Connect without SQLAlchemy; each statement is a transaction. Raises psycopg.Error, StoreUnavailable."""
    return connection(_parameters(url), None, autocommit=True)


def connection(parameters: dict[str, Any], silence: float | None, **options: Any) -> psycopg.Connection[Any]:
    """Connect with libpq's parameters and psycopg's options."""
    # No prepared statements: a pool such as pgbouncer gives each transaction to another connection.
    opened = _Connection.connect(**parameters, **options, prepare_threshold=None)
    opened.silence = silence
    opened.adapters.register_dumper(str, _CleanDumper)
    return opened


def _parameters(url: str) -> dict[str, Any]:
    """Return the parameters of a connection that a URL has, with the defaults of mailbridge.

    By libpq's own rules: the URL may name several hosts. No error repeats it, as it may contain a password.
    """
    try:
        return {"application_name": "mailbridge", **_PATIENCE, **conninfo_to_dict(url)}
    except psycopg.Error:
        raise StoreUnavailable("store.url cannot be read; write postgresql://USER@HOST/DATABASE") from None


class _CleanDumper(StrDumper):
    """Text as PostgreSQL can hold it: a zero byte, or half of a surrogate pair, becomes U+FFFD."""

    def dump(self, obj: str) -> bytes:
        return _clean(obj).encode()


def _clean(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _to_json(value: Any) -> str:
    """Return a plain value as JSON without what PostgreSQL cannot decode."""
    written = rows.to_json(value)
    return rows.to_json(_clean_all(value)) if "\\u0000" in written or "\\ud" in written else written


def _clean_all(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, dict):
        return {_clean(key): _clean_all(item) for key, item in value.items()}
    return [_clean_all(item) for item in value] if isinstance(value, list) else value
