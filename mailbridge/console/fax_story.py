"""The story of a fax: its events, its attempts and what people did, in the order in which they happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from markupsafe import Markup

from mailbridge.console.rendering import Display
from mailbridge.console.texts import Texts
from mailbridge.console.visit import Visit
from mailbridge.store.retention_interface import AuditLine


class Moment(NamedTuple):
    """One thing that happened."""

    at: datetime
    text: Markup


def tell(visit: Visit, fax: Mapping[str, Any], done_by_people: Sequence[AuditLine]) -> list[Moment]:
    """Return the story of a sent or received fax, oldest first. Who has looked at documents is only for those who see all."""
    texts, show = visit.texts, visit.display
    # Sorting keeps this order where times are equal: an attempt begins before its event.
    moments = [*_attempts(fax.get("attempts", ()), texts, show), *_events(fax, texts, show)]
    moments += [_person(line, texts, show) for line in done_by_people if visit.user.sees_all and texts.has(f"did.{line.what}")]
    return sorted(moments, key=lambda moment: moment.at)


def _events(fax: Mapping[str, Any], texts: Texts, show: Display) -> Iterator[Moment]:
    for event in fax["events"]:
        yield Moment(datetime.fromisoformat(event["at"]), _event(event, texts, show))


def _event(event: Mapping[str, Any], texts: Texts, show: Display) -> Markup:
    type_, data = event["type"], event["data"]
    error = data.get("error") or {}
    way = f"way.{data.get('source')}"
    values = {
        "way": texts.text(way if texts.has(way) else "way.none"),
        "why": show.why(error.get("code") or "unknown"),
        "code": show.code(data.get("fax_code")),
    }
    key = f"event.{type_}"
    text = texts.text(key, **values) if texts.has(key) else show.code(type_)
    return text + _report(type_, data, texts, show)


def _report(type_: str, data: Mapping[str, Any], texts: Texts, show: Display) -> Markup:
    """Return what the report mail said that decided a result, or that decided nothing."""
    report = data.get("report") or {}
    if not report or (type_ != "report.received" and data.get("source") != "report"):
        return Markup("")
    said = Markup(" ") + texts.text("report.subject", subject=show.foreign(report.get("subject")))
    return said if report.get("trusted") else said + Markup(" ") + texts.text("report.untrusted")


def _attempts(attempts: Iterable[Mapping[str, Any]], texts: Texts, show: Display) -> Iterator[Moment]:
    for attempt in attempts:
        begun = datetime.fromisoformat(attempt["started_at"])
        yield Moment(begun, texts.text("attempt.begun", n=attempt["n"]))
        if attempt["ended_at"] is not None and not attempt["fax_code"]:
            why = show.why(attempt["error_code"]) if attempt["error_code"] else texts.text("attempt.not_accepted")
            yield Moment(datetime.fromisoformat(attempt["ended_at"]), texts.text("attempt.ended", n=attempt["n"], why=why))


def _person(line: AuditLine, texts: Texts, show: Display) -> Moment:
    record = line.record
    as_, document = record.get("resolved_as"), record.get("document", "")
    looked_at = f"looked_at.{document}"
    values = {
        "who": show.foreign(record.get("user", "")),
        "document": texts.text(looked_at) if texts.has(looked_at) else show.foreign(document),
        "resolved_as": texts.text(f"resolve.{as_}") if as_ else "",
    }
    return Moment(line.at, texts.text(f"did.{line.what}", **values))
