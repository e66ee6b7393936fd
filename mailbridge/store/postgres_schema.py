"""What PostgreSQL has in another form than SQLite: triggers, the conditions of indexes, and how text is compared.

The tables are those of `store.schema`. Ids and names are compared byte by byte, as SQLite does, whatever locale the
database has.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, MetaData, Text

from mailbridge.store import schema

# One row of a counter for each server process, summed when read: transactions that change the same row would wait for each other,
# and two that do so in another order would deadlock. One server process has one transaction at a time.
_COUNTER: Final = """
CREATE TABLE counter_part (
    kind text COLLATE "C", endpoint text COLLATE "C", state text COLLATE "C", process integer, n bigint NOT NULL,
    PRIMARY KEY (kind, endpoint, state, process)
) WITH (fillfactor = 50);
CREATE VIEW counter AS SELECT kind, endpoint, state, sum(n)::bigint AS n FROM counter_part GROUP BY kind, endpoint, state;

CREATE FUNCTION count_state(kind text, endpoint text, state text, change integer) RETURNS void LANGUAGE sql AS $$
    INSERT INTO counter_part AS part VALUES ($1, $2, $3, pg_backend_pid(), $4)
    ON CONFLICT (kind, endpoint, state, process) DO UPDATE SET n = part.n + excluded.n
$$;
"""
# `endpoint` is an expression on a row, {row} is NEW or OLD.
_COUNT: Final = """
CREATE FUNCTION {kind}_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN PERFORM count_state('{kind}', {old}, OLD.state, -1); END IF;
    IF TG_OP <> 'DELETE' THEN PERFORM count_state('{kind}', {new}, NEW.state, 1); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER {kind}_count_rows AFTER INSERT OR DELETE ON {kind} FOR EACH ROW EXECUTE FUNCTION {kind}_count();
CREATE TRIGGER {kind}_count_state AFTER UPDATE OF state ON {kind} FOR EACH ROW
    WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION {kind}_count();
"""
# `at` and `seen_at` are by the database's clock, in microseconds since 1970.
_NODES: Final = """
CREATE TABLE node (
    id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    version text NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    facts jsonb NOT NULL
);
COMMENT ON TABLE node IS 'The daemons that use this database. Each writes its own row every few seconds.';
COMMENT ON COLUMN node.seen_at IS 'its last heartbeat; long ago: it has ended, and others go on with its work';
COMMENT ON COLUMN node.facts IS 'what others should know of its services, by their lease: is a mailbox connected?';
CREATE TABLE lease (name text COLLATE "C" PRIMARY KEY, node text COLLATE "C" NOT NULL, taken_at bigint NOT NULL);
COMMENT ON TABLE lease IS 'What one node at a time does, such as watching a mailbox. A lease ends with its node.';
"""
# Not compressed: documents are so already, and a part of a compressed value could not be read alone.
_BODIES: Final = """
CREATE TABLE body (name text COLLATE "C" PRIMARY KEY, size bigint NOT NULL, stored_at bigint NOT NULL);
CREATE TABLE body_piece (name text COLLATE "C", n integer, bytes bytea NOT NULL, PRIMARY KEY (name, n));
ALTER TABLE body_piece ALTER COLUMN bytes SET STORAGE EXTERNAL;
COMMENT ON TABLE body IS 'Mails and received documents; their bytes are in body_piece, 256 KiB in each row.';
"""
_AUDIT: Final = """
CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit is append-only';
END $$;
CREATE TRIGGER audit_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON audit EXECUTE FUNCTION audit_append_only();
"""
_STATEMENTS: Final = (
    _COUNTER,
    _COUNT.format(kind="fax", old="''", new="''"),
    _COUNT.format(kind="delivery", old="OLD.endpoint", new="NEW.endpoint"),
    _NODES,
    _BODIES,
    _AUDIT,
)


def create(connection: Connection) -> None:
    """Create the tables, indexes and triggers of the newest schema."""
    _tables().create_all(connection)
    for statement in _STATEMENTS:
        connection.exec_driver_sql(statement)


def _tables() -> MetaData:
    """Return a copy of the tables for PostgreSQL."""
    copy = MetaData()
    for table in schema.metadata.sorted_tables:
        if table is not schema.counter:
            table.to_metadata(copy)
    for table in copy.tables.values():
        for column in table.columns:
            if isinstance(column.type, Text):
                column.type = Text(collation="C")
        for index in table.indexes:
            index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]
    return copy
