"""Connections to PostgreSQL that fail soon when the server is silent, and text as PostgreSQL can hold it."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.string import StrDumper
from sqlalchemy import Engine, create_engine, event

from mailbridge.errors import StoreUnavailable
from mailbridge.store import rows
from mailbridge.store.postgres_faults import leave_server

T = TypeVar("T")
# Seconds until a server that does not let us connect is given up.
_CONNECT: Final = 5
# libpq: seconds until a server that does not answer any more is given up.
_PATIENCE: Final = {
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


@dataclass
class Patience:
    """The seconds to wait for a server that is silent, None for the usual ones. Connections that share it follow a change."""

    seconds: float | None = None

    @property
    def limit(self) -> float:
        """The seconds."""
        return _SILENCE if self.seconds is None else self.seconds


class _Connection(psycopg.Connection[Any]):
    """A connection that ends with an error when the server is silent for too long."""

    patience = Patience()

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        return super().wait(self._while_answered(gen), *args, **kwargs)

    def _while_answered(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """Run a step of the driver, which yields what it waits for, and gets what is ready: nothing after a tenth of a second."""
        heard = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > self.patience.limit:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the database server has not answered for {self.patience.limit:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result


def engine(url: str, connections: int = 1, patience: Patience | None = None) -> Engine:
    """Return an engine with so many connections. Raises StoreUnavailable for a URL that cannot be read."""
    parameters = _parameters(url)

    def open_connection(_: object, __: object, ___: object, options: dict[str, Any]) -> psycopg.Connection[Any]:
        return _open(parameters, patience or Patience(), autocommit=False, context=options["context"])

    made = create_engine(
        "postgresql+psycopg://",
        isolation_level="READ COMMITTED",
        pool_size=connections,
        max_overflow=0,
        json_serializer=_to_json,
        hide_parameters=True,  # an error's text has no token or address
        # Positions instead of names, as in SQLite: see `multi_insert`.
        paramstyle="format",
    )
    event.listen(made, "do_connect", open_connection)
    event.listen(made, "begin", lambda opened: opened.exec_driver_sql(_LIMITS))
    event.listen(made, "handle_error", leave_server)
    return made


def connect(url: str, patience: Patience | None = None) -> psycopg.Connection[Any]:
    """Connect without SQLAlchemy; each statement is a transaction. Raises psycopg.Error, StoreUnavailable."""
    return _open(_parameters(url), patience or Patience(), autocommit=True)


def check_url(url: str) -> None:
    """Raise StoreUnavailable for a URL that cannot be read."""
    _parameters(url)


def _open(parameters: Mapping[str, Any], patience: Patience, **options: Any) -> psycopg.Connection[Any]:
    # No prepared statements: a pool such as pgbouncer gives each transaction to another connection.
    opened = _Connection.connect(**{**_within(patience.limit, parameters), **parameters}, **options, prepare_threshold=None)
    opened.patience = patience
    opened.adapters.register_dumper(str, _CleanDumper)
    return opened


def _within(seconds: float, parameters: Mapping[str, Any]) -> dict[str, int]:
    """Return the time to connect to each host, so that all are asked in less than `seconds`. libpq waits for at least two."""
    hosts = str(parameters.get("hostaddr") or parameters.get("host") or "").count(",") + 1
    return {"connect_timeout": max(2, min(_CONNECT, int(seconds / hosts)))}


def _parameters(url: str) -> dict[str, Any]:
    """Return the parameters of a connection that a URL has, with the defaults of mailbridge.

    By libpq's own rules: the URL may name several hosts. No error repeats it, as it may contain a password.
    """
    try:
        given = {"application_name": "mailbridge", **_PATIENCE, **conninfo_to_dict(url)}
    except psycopg.Error:
        raise StoreUnavailable("store.url or listen_url cannot be read; write postgresql://USER@HOST/DATABASE") from None
    # The role, the database, or PGCLIENTENCODING may have another one.
    return given | {"client_encoding": "UTF8"}


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
