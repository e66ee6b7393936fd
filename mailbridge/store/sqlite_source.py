"""Reads a state_dir with SQLite for `mailbridge import`: the rows of its database, and what is in its spool, as bodies.

In a spool of files there may be others beside a mail. A body has the mail, and what was derived from it behind it, so documents
in those files get another place.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

from sqlalchemy import Table, create_engine, func, select
from sqlalchemy.pool import StaticPool

from mailbridge.store import schema
from mailbridge.store.multi_insert import MAX_ROWS
from mailbridge.store.spool_paths import BESIDE_MAIL, files_beside, stretch_of
from mailbridge.store.state_dir import DATABASE
from mailbridge.store.stored_files import open_stored, path_in

Row = dict[str, Any]
# Facts about a database itself, which another one has of its own.
OWN_FACTS: Final = ("schema", "oldest", "home", "written", "imported")
_CHUNK: Final = 1 << 18
_NOT_PENDING: Final = "NOT EXISTS (SELECT 1 FROM pending_deletion AS p WHERE p.path = {})"
_MAILS: Final = f"""
    SELECT DISTINCT path FROM envelope WHERE {_NOT_PENDING.format("envelope.path")}
    AND EXISTS (SELECT 1 FROM fax WHERE fax.envelope_id = envelope.id AND fax.documents_deleted_at IS NULL)"""
_RECEIVED: Final = f"""
    SELECT document FROM event WHERE document IS NOT NULL AND {_NOT_PENDING.format("event.document")}
    UNION SELECT json_extract(value, '$.path') FROM event, json_each(event.data, '$.documents')
    WHERE document IS NOT NULL AND {_NOT_PENDING.format("event.document")}"""
_LINK_KEY_SIZE: Final = 32


class SourceBody(NamedTuple):
    """A body to be copied: its name, and the paths in the spool that have its bytes, one behind the other."""

    name: str
    paths: tuple[str, ...]
    size: int


class SqliteSource:
    """A state_dir whose database has the newest schema. `database` is another place of the database. Raises sqlite3.Error.

    `tables` are those that are copied: counters are counted anew.
    """

    def __init__(self, state_dir: Path, database: Path | None = None) -> None:
        self._state_dir, self._root = state_dir, state_dir / "spool"
        where = f"file:{quote(str((database or state_dir / DATABASE).absolute()))}?mode=ro"
        self._engine = create_engine(
            "sqlite://", creator=lambda: sqlite3.connect(where, uri=True), poolclass=StaticPool, hide_parameters=True
        )
        self._size = lru_cache(maxsize=1024)(self._file_size)
        self.tables = [table for table in schema.metadata.sorted_tables if table is not schema.counter]

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def counts(self) -> dict[str, int]:
        """Return how many rows each table has, without those that are not copied."""
        with self._engine.connect() as connection:
            counted = {table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in self.tables}
            own = connection.scalar(select(func.count()).where(schema.meta.c.key.in_(OWN_FACTS))) or 0
        more = {table.name: len(list(self._in_files(table))) for table in (schema.secret, schema.oauth_token)}
        return {name: n + more.get(name, 0) - (own if name == schema.meta.name else 0) for name, n in counted.items()}

    def uploading(self) -> int:
        """Return how many faxes are in an upload that has not ended."""
        with self._engine.connect() as connection:
            this = schema.fax.c.state == "uploading"
            return int(connection.execute(select(func.count()).select_from(schema.fax).where(this)).scalar_one())

    def rows(self, table: Table) -> Iterator[list[Row]]:
        """Yield all rows of a table, as many at a time as one statement inserts."""
        with self._engine.connect() as connection:
            found = connection.execution_options(yield_per=MAX_ROWS).execute(select(table)).mappings()
            for part in found.partitions(MAX_ROWS):
                if rows := [self._row(table, dict(row)) for row in part if table is not schema.meta or _is_copied(row["key"])]:
                    yield rows
        if more := list(self._in_files(table)):
            yield more

    def _row(self, table: Table, row: Row) -> Row:
        if table is schema.fax:
            row["documents"] = [self._placed(document) for document in row["documents"]]
        return row

    def _placed(self, document: Row) -> Row:
        """Return a document with its place in the body of its mail."""
        path = document["path"]
        mail = next((f"{path.removesuffix(end)}.eml" for end in BESIDE_MAIL if path.endswith(end)), None)
        if mail is None or stretch_of(path) is not None:
            return document
        before = [mail, *files_beside(mail)]
        offset = sum(self._size(one) or 0 for one in before[: before.index(path)])
        return {**document, "path": mail, "offset": document["offset"] + offset}

    def _in_files(self, table: Table) -> Iterator[Row]:
        """Yield the rows that earlier versions had in files, and that have not moved into the database yet."""
        with self._engine.connect() as connection:
            known = set(connection.scalars(select(table.c[0])))
        if table is schema.secret and "link key" not in known:
            key = self._read("link.key")
            if len(key) == _LINK_KEY_SIZE:
                yield {"name": "link key", "value": base64.b64encode(key).decode()}
        if table is schema.oauth_token:
            for file in sorted(self._state_dir.glob("oauth2-*.json")):
                mailbox = unquote(file.stem.removeprefix("oauth2-"))
                try:
                    saved = json.loads(self._read(file.name))
                    kept = {name: str(saved[name]) for name in ("configured", "refresh_token")}
                except (ValueError, KeyError, TypeError):
                    continue
                if mailbox not in known:
                    yield {**dict.fromkeys(column.name for column in table.columns), "mailbox": mailbox, **kept}

    def _read(self, name: str) -> bytes:
        path = self._state_dir / name
        return path.read_bytes() if path.is_file() else b""

    def bodies(self) -> tuple[list[SourceBody], list[str]]:
        """Return the mails and received documents that records need, and the names of those that are not in the spool."""
        with self._engine.connect() as connection:
            names = [str(name) for question in (_MAILS, _RECEIVED) for (name,) in connection.exec_driver_sql(question)]
        found, missing = list[SourceBody](), list[str]()
        for name in names:
            beside = [path for path in files_beside(name) if name.startswith("mail/") and self._size(path) is not None]
            size = self._size(name)
            if size is None:
                missing.append(name)
            else:
                found.append(SourceBody(name, (name, *beside), size + sum(self._size(path) or 0 for path in beside)))
        return found, missing

    def _file_size(self, path: str) -> int | None:
        stretch = stretch_of(path)
        try:
            size = path_in(self._root, stretch.segment if stretch else path).stat().st_size
        except OSError:
            return None
        if stretch is None:
            return size
        return stretch.length if stretch.start + stretch.length <= size else None

    def content(self, body: SourceBody) -> Iterator[bytes]:
        """Yield the bytes of a body. Raises OSError."""
        for path in body.paths:
            with open_stored(self._root, path) as file:
                while piece := file.read(_CHUNK):
                    yield piece


def _is_copied(key: str) -> bool:
    return key not in OWN_FACTS
