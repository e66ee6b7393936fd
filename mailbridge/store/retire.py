"""The verbs of retention, in SQLAlchemy Core: what may go, what is noted before and after, and what goes.

Files are noted for erasure, then unlinked outside the transaction, then told in the audit; rows go in the transaction that
tells it. So a crash at any point leaves either the thing or its line, and a note of the files that are still to go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, insert, or_, select, tuple_, update

from mailbridge.model import new_id
from mailbridge.store import rows, schema
from mailbridge.store.interface import AuditLine, Erasure

_fax, _event, _delivery, _envelope = schema.fax.c, schema.event.c, schema.delivery.c, schema.envelope.c
_TOLD_OF_A_DOCUMENT = ("sha256", "size", "pages")


class Retiring:
    """The part of a transaction that deletes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _rows(self, statement: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self._connection.execute(statement).mappings()]

    # documents

    def retire_documents(self, before: datetime, now: datetime, limit: int) -> int:
        done = 0
        for path in dict.fromkeys(row["path"] for row in self._rows(_finished_mails(before, limit))):
            if done < limit:
                mine = select(schema.fax).join(schema.envelope, _fax.envelope_id == _envelope.id).where(_envelope.path == path)
                done += self._retire_mail(path, self._rows(mine.where(_fax.documents_deleted_at.is_(None))), now)
        return done

    def _retire_mail(self, path: str, faxes: list[dict[str, Any]], now: datetime) -> int:
        paths = {document["path"] for fax in faxes for document in fax["documents"]} - {""}
        page = str(PurePosixPath(path).with_suffix(".page.pdf"))
        self._note(path, sorted({path, page, *paths}), [_line("document.deleted", fax) for fax in faxes])
        for fax in faxes:
            bare = [{**document, "path": ""} for document in fax["documents"]]
            changed = update(schema.fax).where(_fax.id == fax["id"]).values(documents=bare, documents_deleted_at=now)
            self._connection.execute(changed)
        return len(faxes)

    def retire_received(self, before: datetime, now: datetime, limit: int) -> int:
        due = (
            select(schema.event)
            .where(_event.document.is_not(None), _event.at <= before, ~_unsettled())
            .order_by(_event.at)
            .limit(limit)
        )
        found = self._rows(due)
        for event in found:
            self._note(event["document"], [event["document"]], [_event_line("document.deleted", event)])
            data = {**event["data"], "document": {**event["data"]["document"], "path": ""}}
            self._connection.execute(update(schema.event).where(_event.id == event["id"]).values(document=None, data=data))
        return len(found)

    def _note(self, path: str, files: list[str], lines: list[dict[str, Any]]) -> None:
        # A path may be noted twice: a fax that was dialled again from a mail whose first note is still open.
        erasure = schema.erasure.c
        noted = self._rows(select(erasure.lines).where(erasure.path == path))
        if noted:
            both = update(schema.erasure).where(erasure.path == path).values(lines=[*noted[0]["lines"], *lines])
            self._connection.execute(both)
        else:
            self._connection.execute(insert(schema.erasure), {"path": path, "files": files, "lines": lines})

    def erasures(self, limit: int, after: str = "") -> list[Erasure]:
        noted = select(schema.erasure).where(schema.erasure.c.path > after).order_by(schema.erasure.c.path).limit(limit)
        return [Erasure(row["path"], tuple(row["files"])) for row in self._rows(noted)]

    def erased(self, paths: Collection[str], now: datetime) -> list[AuditLine]:
        gone = schema.erasure.c.path.in_(paths)
        lines = [line for row in self._rows(select(schema.erasure.c.lines).where(gone)) for line in row["lines"]]
        self._connection.execute(delete(schema.erasure).where(gone))
        return self._tell(lines, now)

    def known_files(self, paths: Collection[str]) -> set[str]:
        mails, received = (_envelope.path, _envelope.path.in_(paths)), (_event.document, _event.document.in_(paths))
        noted = (schema.erasure.c.path, schema.erasure.c.path.in_(paths))
        return {
            path for column, among in (mails, received, noted) for path in self._connection.scalars(select(column).where(among))
        }

    # records

    def delete_faxes(self, before: datetime, now: datetime, limit: int) -> list[AuditLine]:
        needed = exists().where(_event.fax_id == _fax.id, _unsettled())
        due = (
            select(schema.fax)
            .where(_fax.final_at <= before, _fax.documents_deleted_at.is_not(None), ~needed)
            .order_by(_fax.final_at)
            .limit(limit)
        )
        faxes = self._rows(due)
        if not faxes:
            return []
        ids = [fax["id"] for fax in faxes]
        self._delete_raised(_event.fax_id.in_(ids))
        self._connection.execute(delete(schema.fax).where(_fax.id.in_(ids)))
        mails = _envelope.id.in_({fax["envelope_id"] for fax in faxes})
        self._connection.execute(delete(schema.envelope).where(mails, ~exists().where(_fax.envelope_id == _envelope.id)))
        return self._tell([_line("fax.deleted", fax) for fax in faxes], now)

    def delete_events(self, before: datetime, now: datetime, limit: int) -> list[AuditLine]:
        ours = exists().where(_fax.id == _event.fax_id)
        due = (
            select(schema.event)
            .where(_event.at <= before, _event.document.is_(None), ~ours, ~_unsettled())
            .order_by(_event.at)
            .limit(limit)
        )
        events = self._rows(due)
        if not events:
            return []
        self._delete_raised(_event.id.in_([event["id"] for event in events]))
        return self._tell([_event_line("event.deleted", event) for event in events], now)

    def _delete_raised(self, chosen: ColumnElement[bool]) -> None:
        self._connection.execute(delete(schema.delivery).where(_delivery.event_id.in_(select(_event.id).where(chosen))))
        self._connection.execute(delete(schema.event).where(chosen))

    def delete_handled(self, before: datetime, limit: int) -> int:
        handled = schema.handled.c
        key = tuple_(handled.mailbox, handled.digest)
        old = select(handled.mailbox, handled.digest).where(handled.at <= before).order_by(handled.at).limit(limit)
        return self._connection.execute(delete(schema.handled).where(key.in_(old))).rowcount

    # audit

    def _tell(self, lines: Iterable[Mapping[str, Any]], now: datetime) -> list[AuditLine]:
        told = [AuditLine(new_id("aud"), now, line["what"], line["subject"], line["number"], line["record"]) for line in lines]
        if told:
            self._connection.execute(insert(schema.audit), [line._asdict() for line in told])
        return told

    def audit(self, subject: str | None = None, number: str | None = None, limit: int = 100) -> list[AuditLine]:
        audit = schema.audit.c
        chosen = select(schema.audit).order_by(audit.at.desc(), audit.id.desc()).limit(limit)
        if subject is not None:
            chosen = chosen.where(audit.subject == subject)
        if number is not None:
            chosen = chosen.where(audit.number == number)
        return [AuditLine(**row) for row in self._rows(chosen)]


def _finished_mails(before: datetime, limit: int) -> Any:
    """The paths of mails of which no fax is unfinished, or finished only after `before`; also not of another envelope's."""
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


def _unsettled() -> ColumnElement[bool]:
    return exists().where(and_(_delivery.event_id == _event.id, _delivery.state.in_(("pending", "sending"))))


def _line(what: str, fax: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a fax whose documents or record go. Names, addresses and subjects of people are not kept."""
    told = ("account", "state", "created_at", "final_at", "fax_code", "pages", "failure", "documents_deleted_at")
    record = {
        **{name: rows.plain(fax[name]) for name in told},
        "attempts": [
            {name: attempt[name] for name in ("n", "started_at", "ended_at", "fax_code")} for attempt in fax["attempts"]
        ],
        "documents": [{name: document[name] for name in _TOLD_OF_A_DOCUMENT} for document in fax["documents"]],
    }
    return {"what": what, "subject": fax["id"], "number": fax["number"], "record": record}


def _event_line(what: str, event: Mapping[str, Any]) -> dict[str, Any]:
    data, document = event["data"], event["data"].get("document")
    record = {
        "type": event["type"],
        "at": rows.plain(event["at"]),
        **{name: data[name] for name in ("account", "mailbox", "from", "to", "received_at") if name in data},
        "documents": [{name: document.get(name) for name in _TOLD_OF_A_DOCUMENT}] if document else [],
    }
    # A received fax is known by its own id, everything else by its event's.
    return {"what": what, "subject": event["fax_id"] or event["id"], "number": data.get("from"), "record": record}
