"""Retention: which documents and records have expired, and their deletion.

Files are recorded as pending deletions, then unlinked outside the transaction, and then written to the audit. Rows are deleted in
the transaction that writes their audit line. So after a crash at any point, either the record or its audit line exists, and files
that are still to be unlinked are recorded.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, exists, insert, or_, select, tuple_, update

from mailbridge.model import received_documents
from mailbridge.store import schema
from mailbridge.store.audit import Audit, event_line, fax_line
from mailbridge.store.received_notes import delete_notes
from mailbridge.store.retention_interface import AuditLine, PendingDeletion
from mailbridge.store.spool_paths import files_beside
from mailbridge.store.sql import Sql

_fax, _event, _delivery, _envelope = schema.fax.c, schema.event.c, schema.delivery.c, schema.envelope.c
_try = schema.delivery_try.c
_deletion, _processed, _item = schema.pending_deletion.c, schema.processed_mail.c, schema.received_item.c


class RetentionQueries:
    """See `store.retention_interface.Retention`."""

    __slots__ = ("_audit", "_sql")

    def __init__(self, sql: Sql, audit: Audit) -> None:
        self._sql, self._audit = sql, audit

    # documents

    def discard_documents(self, before: datetime, now: datetime, limit: int) -> int:
        done = 0
        for path in dict.fromkeys(row["path"] for row in self._sql.rows(_finished_mails(before, limit))):
            if done < limit:
                of_mail = select(schema.fax).join(schema.envelope, _fax.envelope_id == _envelope.id).where(_envelope.path == path)
                done += self._discard_mail(path, self._sql.rows(of_mail.where(_fax.documents_deleted_at.is_(None))), now)
        return done

    def _discard_mail(self, path: str, faxes: list[dict[str, Any]], now: datetime) -> int:
        paths = {document["path"] for fax in faxes for document in fax["documents"]} - {""}
        beside = set(files_beside(path))
        self._record_pending(path, sorted({path, *beside, *paths}), [fax_line("document.deleted", fax) for fax in faxes])
        for fax in faxes:
            without_path = [{**document, "path": ""} for document in fax["documents"]]
            changed = update(schema.fax).where(_fax.id == fax["id"]).values(documents=without_path, documents_deleted_at=now)
            self._sql.execute(changed)
        return len(faxes)

    def discard_received(self, before: datetime, now: datetime, limit: int) -> int:
        due = (
            select(schema.event)
            .where(_event.document.is_not(None), _event.at <= before, ~_undelivered())
            .order_by(_event.at)
            .limit(limit)
        )
        found = self._sql.rows(due)
        for event in found:
            data, documents = event["data"], received_documents(event["data"])
            self._record_pending(event["document"], [one["path"] for one in documents], [event_line("document.deleted", event)])
            without_path = [{**one, "path": ""} for one in documents]
            data = {**data, "document": without_path[0], **({"documents": without_path} if "documents" in data else {})}
            self._sql.execute(update(schema.event).where(_event.id == event["id"]).values(document=None, data=data))
        return len(found)

    def _record_pending(self, path: str, files: list[str], lines: list[dict[str, Any]]) -> None:
        # A path may be pending already: a fax was dialled again from a mail whose files are not unlinked yet.
        pending = self._sql.rows(select(_deletion.lines).where(_deletion.path == path))
        if pending:
            both = update(schema.pending_deletion).where(_deletion.path == path).values(lines=[*pending[0]["lines"], *lines])
            self._sql.execute(both)
        else:
            self._sql.execute(insert(schema.pending_deletion), {"path": path, "files": files, "lines": lines})

    def pending_deletions(self, limit: int, after: str = "") -> list[PendingDeletion]:
        pending = select(schema.pending_deletion).where(_deletion.path > after).order_by(_deletion.path).limit(limit)
        return [PendingDeletion(row["path"], tuple(row["files"])) for row in self._sql.rows(pending)]

    def finish_deletions(self, paths: Collection[str], now: datetime) -> list[AuditLine]:
        finished = _deletion.path.in_(paths)
        lines = [line for row in self._sql.rows(select(_deletion.lines).where(finished)) for line in row["lines"]]
        self._sql.execute(delete(schema.pending_deletion).where(finished))
        return self._audit.add(lines, now)

    def known_files(self, paths: Collection[str]) -> set[str]:
        columns = (_envelope.path, _event.document, _deletion.path)
        return {path for column in columns for path in self._sql.connection.scalars(select(column).where(column.in_(paths)))}

    def known_segments(self, segments: Collection[str]) -> set[str]:
        undeleted = exists().where(_fax.envelope_id == _envelope.id, _fax.documents_deleted_at.is_(None))
        known = select(_envelope.path).where(undeleted), select(_deletion.path)
        return {path for path in segments if any(self._has_stretches(question, path) for question in known)}

    def _has_stretches(self, paths: Select[str], segment: str) -> bool:
        """Whether one of the paths is a stretch of the segment: they sort between its name with "/" and with "0" behind it."""
        (column,) = paths.selected_columns
        first = paths.where(column > f"{segment}/", column < f"{segment}0").limit(1)
        return self._sql.connection.scalar(first) is not None

    # records

    def delete_faxes(self, before: datetime, now: datetime, limit: int) -> list[AuditLine]:
        needed = exists().where(_event.fax_id == _fax.id, _undelivered())
        due = (
            select(schema.fax)
            .where(_fax.final_at <= before, _fax.documents_deleted_at.is_not(None), ~needed)
            .order_by(_fax.final_at)
            .limit(limit)
        )
        faxes = self._sql.rows(due)
        if not faxes:
            return []
        ids = [fax["id"] for fax in faxes]
        self._delete_with_deliveries(_event.fax_id.in_(ids))
        self._sql.execute(delete(schema.former_token).where(schema.former_token.c.fax_id.in_(ids)))
        self._sql.execute(delete(schema.fax).where(_fax.id.in_(ids)))
        mails = _envelope.id.in_({fax["envelope_id"] for fax in faxes})
        self._sql.execute(delete(schema.envelope).where(mails, ~exists().where(_fax.envelope_id == _envelope.id)))
        return self._audit.add([fax_line("fax.deleted", fax) for fax in faxes], now)

    def delete_events(self, before: datetime, now: datetime, limit: int) -> list[AuditLine]:
        of_a_fax = exists().where(_fax.id == _event.fax_id)
        due = (
            select(schema.event)
            .where(_event.at <= before, _event.document.is_(None), ~of_a_fax, ~_undelivered())
            .order_by(_event.at)
            .limit(limit)
        )
        events = self._sql.rows(due)
        if not events:
            return []
        self._delete_with_deliveries(_event.id.in_([event["id"] for event in events]))
        delete_notes(self._sql, [event["fax_id"] for event in events if event["fax_id"]])
        return self._audit.add([event_line("event.deleted", event) for event in events], now)

    def _delete_with_deliveries(self, events: ColumnElement[bool]) -> None:
        of_events = _delivery.event_id.in_(select(_event.id).where(events))
        self._sql.execute(delete(schema.delivery_try).where(_try.delivery_id.in_(select(_delivery.id).where(of_events))))
        self._sql.execute(delete(schema.delivery).where(of_events))
        self._sql.execute(delete(schema.event).where(events))

    def delete_processed_mails(self, before: datetime, limit: int) -> int:
        key = (_processed.mailbox, _processed.digest)
        old = select(*key).where(_processed.at <= before).order_by(_processed.at).limit(limit)
        return self._sql.execute(delete(schema.processed_mail).where(tuple_(*key).in_(old))).rowcount

    def delete_received_items(self, before: datetime, limit: int) -> int:
        old = select(_item.id).where(_item.noted_at <= before).order_by(_item.noted_at).limit(limit)
        return self._sql.execute(delete(schema.received_item).where(_item.id.in_(old))).rowcount


def _finished_mails(before: datetime, limit: int) -> Any:
    """Return the query for the paths of mails whose faxes were all final at `before`, those of every envelope with that path."""
    other_fax, other_mail = schema.fax.alias("other_fax"), schema.envelope.alias("other_mail")
    kept = exists().where(
        other_mail.c.path == _envelope.path,
        other_fax.c.envelope_id == other_mail.c.id,
        or_(other_fax.c.final_at.is_(None), other_fax.c.final_at > before),
    )
    return (
        select(_envelope.path)
        .join(schema.fax, _fax.envelope_id == _envelope.id)
        .where(_fax.documents_deleted_at.is_(None), _fax.final_at <= before, ~kept)
        .order_by(_fax.final_at)
        .limit(limit)
    )


def _undelivered() -> ColumnElement[bool]:
    return exists().where(and_(_delivery.event_id == _event.id, _delivery.state.in_(("pending", "sending"))))
