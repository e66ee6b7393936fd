"""What mailbridge needs of a PostgreSQL server and of its database, and says if it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, inspect, text

from mailbridge.errors import SchemaTooNew, StoreUnavailable
from mailbridge.store import database_facts, schema

_OLDEST_SERVER: Final = 14
# Settings that lose what was committed: (name, value).
_UNSAFE: Final = (("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off"))
_NO_TABLES: Final = "the database of store.url has no tables of mailbridge; run mailbridge migrate"
# Tables in which this user may not do everything. An audit line is never changed.
_MISSING_RIGHTS: Final = text(
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'v')"
    " AND NOT (has_table_privilege(oid, 'SELECT') AND (relkind = 'v' OR has_table_privilege(oid, 'INSERT')"
    " AND (relname = 'audit' OR has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')))) ORDER BY 1"
)
_MAY_CREATE: Final = text(
    "SELECT current_schema() IS NOT NULL AND has_schema_privilege(current_schema(), 'CREATE')"
    " AND has_schema_privilege(current_schema(), 'USAGE')"
)


def server_faults(connection: Connection, *, unsafe: bool) -> Iterator[str]:
    """Yield what a server lacks, each with its remedy. With `unsafe` it may lose commits in a crash."""

    def setting(name: str) -> str:
        return str(connection.exec_driver_sql(f"SHOW {name}").scalar_one())

    number = int(setting("server_version_num")) // 10000
    if number < _OLDEST_SERVER:
        yield f"PostgreSQL {number} is too old; mailbridge needs {_OLDEST_SERVER} or newer"
    if setting("server_encoding") != "UTF8":
        yield "the database does not store UTF-8; create one with ENCODING 'UTF8'"
    if setting("transaction_read_only") == "on":
        yield "the database server is read-only, as a standby is; store.url must lead to the server that accepts writes"
    for name, value in _UNSAFE:
        if setting(name) == value and not unsafe:
            yield f"the database server has {name} = {value}, and would lose faxes in a crash; set it to on"


def check_server(connection: Connection, *, unsafe: bool) -> None:
    """Refuse a server that lacks what mailbridge needs. Raises StoreUnavailable."""
    for fault in server_faults(connection, unsafe=unsafe):
        raise StoreUnavailable(fault)


def found_schema(connection: Connection) -> int:
    """Return the version of the schema, 0 if there are no tables. Raises SchemaTooNew, StoreUnavailable."""
    if not inspect(connection).has_table("meta"):
        return 0
    found = database_facts.schema_version(connection)
    if found is None:
        raise StoreUnavailable("the database of store.url has no schema number; restore a backup of it")
    if found > schema.SCHEMA_VERSION and not database_facts.suits_this_version(connection):
        raise SchemaTooNew(database_facts.too_new("the database of store.url", found))
    return found


def check_schema(connection: Connection) -> int:
    """Return the version of the schema, which this version of mailbridge can use. Raises SchemaTooNew, StoreUnavailable."""
    found = found_schema(connection)
    if not found:
        raise StoreUnavailable(_NO_TABLES)
    if found < schema.SCHEMA_VERSION:
        raise StoreUnavailable(
            f"the database of store.url has schema {found}, this mailbridge needs {schema.SCHEMA_VERSION}; run mailbridge migrate"
        )
    return found


def rights_faults(connection: Connection, *, migrated: bool) -> Iterator[str]:
    """Yield which rights this user lacks: on the tables, or where there are none yet, to create them."""
    if not migrated:
        if not connection.execute(_MAY_CREATE).scalar():
            yield (
                "the database user may not create tables; as the owner of the database, run"
                " GRANT CREATE ON SCHEMA public TO the user"
            )
        return
    if lacking := connection.execute(_MISSING_RIGHTS).scalars().all():
        some = ", ".join(lacking[:3]) + (" …" if len(lacking) > 3 else "")
        yield (
            f"the database user lacks rights on {some}; use the user that ran mailbridge migrate, or as that user run"
            " GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO the other"
        )
