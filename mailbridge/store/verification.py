"""Verifies a backup, or the state_dir of a stopped daemon: every file is there and undamaged, and every state is possible."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, get_args

from mailbridge.errors import MailbridgeError, NotFound, StoreUnavailable
from mailbridge.lifecycle import FAX_FINAL, DeliveryState, FaxState
from mailbridge.model import EXTERNAL, Document, received_documents
from mailbridge.store import schema, sqlite
from mailbridge.store.backup import MANIFEST, copy_database, named_files, read_only
from mailbridge.store.local_spool import document_in
from mailbridge.store.state_dir import DATABASE

_CHUNK = 1 << 20


class Verified(NamedTuple):
    """What a verification found."""

    faxes: int
    documents: int
    problems: tuple[str, ...]  # a sentence each


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


_FINAL = _list(tuple(sorted(FAX_FINAL)))
# What must not be: a sentence, and the ids of what contradicts it.
_IMPOSSIBLE = {
    "has an unknown state": f"SELECT id FROM fax WHERE state NOT IN ({_list(get_args(FaxState))})",
    "is final without a time": f"SELECT id FROM fax WHERE state IN ({_FINAL}) AND final_at IS NULL",
    "has a final time, but its state is not final": f"SELECT id FROM fax WHERE state NOT IN ({_FINAL}) AND final_at IS NOT NULL",
    "is submitted without a FAX_CODE": "SELECT id FROM fax WHERE state = 'submitted' AND fax_code IS NULL",
    "has failed without a reason": "SELECT id FROM fax WHERE state = 'failed' AND coalesce(failure, 'null') = 'null'",
    "has no document": "SELECT id FROM fax WHERE json_array_length(documents) = 0",
    "belongs to no stored mail": (
        "SELECT id FROM fax WHERE envelope_id IS NOT NULL AND envelope_id NOT IN (SELECT id FROM envelope)"
    ),
    "has an unknown delivery state": f"SELECT id FROM delivery WHERE state NOT IN ({_list(get_args(DeliveryState))})",
    "is settled without a time, or waits with one": (
        "SELECT id FROM delivery WHERE (state IN ('delivered', 'dead')) <> (settled_at IS NOT NULL)"
    ),
    "delivers no stored event": "SELECT id FROM delivery WHERE event_id NOT IN (SELECT id FROM event)",
    "is counted wrongly": (
        "SELECT kind || ' ' || state FROM counter AS c"
        " WHERE kind = 'fax' AND n <> (SELECT count(*) FROM fax WHERE fax.state = c.state)"
    ),
}


def verify(directory: Path) -> Verified:
    """Verify a backup or a state_dir, blocking. Raises StoreUnavailable if it has no database that can be read, SchemaTooNew."""
    database = directory / DATABASE
    if not database.is_file():
        raise StoreUnavailable(f"{directory} has no {DATABASE}; name the directory of a backup")
    with ExitStack() as stack:
        try:
            found = _schema(database)
            if found < schema.SCHEMA_VERSION:
                # The checks know the newest tables.
                database = _migrated(database, Path(stack.enter_context(tempfile.TemporaryDirectory())))
            connection = stack.enter_context(read_only(database))
            problems = [*_damaged(directory), *_contradictions(connection), *_missing(directory, database)]
            documents, bad = _documents(directory / "spool", connection)
            faxes = int(connection.execute("SELECT count(*) FROM fax").fetchone()[0])
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{database} cannot be read ({error}); use another backup") from None
    return Verified(faxes, documents, tuple(dict.fromkeys([*problems, *bad])))


def _schema(database: Path) -> int:
    with read_only(database) as connection:
        stored = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    if stored is None or not str(stored[0]).isdecimal():
        raise StoreUnavailable(f"{database} has no schema number; use another backup")
    return int(stored[0])


def _migrated(database: Path, folder: Path) -> Path:
    copy_database(database, folder / DATABASE)
    sqlite.migrate(folder)
    return folder / DATABASE


def _damaged(directory: Path) -> Iterator[str]:
    """Yield a problem for each file that is not as `backup.json` says. A state_dir has none."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        files = {str(name): (int(facts["size"]), str(facts["sha256"])) for name, facts in manifest["files"].items()}
    except FileNotFoundError:
        if not (directory / "lock").exists():
            yield f"{MANIFEST} is missing: the backup is not complete"
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        yield f"{MANIFEST} cannot be read"
        return
    for name, (size, digest) in files.items():
        try:
            with open(directory / name, "rb") as file:
                same = (directory / name).stat().st_size == size and hashlib.file_digest(file, "sha256").hexdigest() == digest
        except FileNotFoundError:
            yield f"{name} is missing"
        except OSError as error:
            yield f"{name} cannot be read ({error.strerror})"
        else:
            if not same:
                yield f"{name} was changed after the backup"


def _contradictions(connection: sqlite3.Connection) -> Iterator[str]:
    for (fault,) in connection.execute("PRAGMA integrity_check(10)"):
        if fault != "ok":
            yield f"{DATABASE}: {fault}"
    for fault, question in _IMPOSSIBLE.items():
        for (id_,) in connection.execute(question):
            yield f"{id_} {fault}"


def _missing(directory: Path, database: Path) -> Iterator[str]:
    for path, required in named_files(database):
        if required and not (directory / "spool" / path).is_file():
            yield f"spool/{path} is missing"


def _documents(spool: Path, connection: sqlite3.Connection) -> tuple[int, list[str]]:
    """Return how many documents were read, and a problem for each that is not what was accepted or received."""
    count, problems = 0, list[str]()
    known: set[tuple[str, int, str]] = set()
    for fax_id, document in (*_sent(connection), *_received(connection)):
        what = (document.path, document.offset, document.sha256)
        if not document.path or document.content_type == EXTERNAL or what in known:
            continue
        count += 1
        fault = _fault(spool, document)
        if fault is None:
            known.add(what)
        else:
            problems.append(f"{fax_id}: the document {document.name!r} {fault}")
    return count, problems


def _sent(connection: sqlite3.Connection) -> Iterator[tuple[str, Document]]:
    for fax_id, stored in connection.execute("SELECT id, documents FROM fax WHERE documents_deleted_at IS NULL ORDER BY id"):
        yield from ((fax_id, Document(**facts)) for facts in json.loads(stored))


def _received(connection: sqlite3.Connection) -> Iterator[tuple[str, Document]]:
    for fax_id, data in connection.execute("SELECT fax_id, data FROM event WHERE document IS NOT NULL ORDER BY id"):
        for stored in received_documents(json.loads(data)):
            facts = {name: stored[name] for name in ("path", "sha256", "size", "content_type") if name in stored}
            if len(facts) == 4:
                name = stored.get("filename") or "fax"
                yield fax_id, Document(**facts, name=name, offset=0, length=stored["size"])


def _fault(spool: Path, document: Document) -> str | None:
    digest, size = hashlib.sha256(), 0
    try:
        with document_in(spool, document) as reader:
            while chunk := reader.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except NotFound:
        return "is missing"
    except (MailbridgeError, OSError, ValueError) as error:
        return f"cannot be read ({error})"
    return None if (size, digest.hexdigest()) == (document.size, document.sha256) else "is damaged"
