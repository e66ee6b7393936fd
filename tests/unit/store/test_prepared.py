"""Statements that the driver runs itself give what SQLAlchemy gives, and fail as its statements do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from mailbridge.store import rows, schema
from mailbridge.store.prepared import Prepared, run_text
from mailbridge.store.sql import any_of

NOW = datetime(2026, 11, 27, 6, tzinfo=UTC)
_event = schema.event.c
_BY_IDS = select(schema.event).where(_event.id.in_(any_of("ids")), _event.seq < 9).order_by(_event.id).limit(5)


def event(id: str) -> dict[str, Any]:
    data = {"text": "שלום", "none": None, "list": [1, 2.5, True]}
    return {"id": id, "type": "ping", "at": NOW, "fax_id": None, "seq": 0, "data": data, "document": None}


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://", json_serializer=rows.to_json)
    schema.metadata.create_all(engine)
    with engine.begin() as opened:
        yield opened
    engine.dispose()


def test_rows_are_those_of_sqlalchemy(connection: Connection) -> None:
    adding, by_ids = Prepared(insert(schema.event)), Prepared(_BY_IDS)
    assert [adding.change(connection, event(id)) for id in ("evt_1", "evt_2", "evt_3")] == [1, 1, 1]
    for ids in (["evt_1"], ["evt_3", "evt_1"], ["evt_9"], []):
        expected = [dict(row) for row in connection.execute(_BY_IDS, {"ids": ids}).mappings()]
        assert by_ids.rows(connection, {"ids": ids}) == expected
        assert [row["id"] for row in expected] == sorted(id for id in ids if id != "evt_9")
    assert by_ids.rows(connection, {"ids": ["evt_2"]}) == [event("evt_2")]


def test_a_change_counts_its_rows(connection: Connection) -> None:
    connection.execute(insert(schema.event), [event("evt_1"), event("evt_2")])
    change = Prepared(update(schema.event).where(_event.id.in_(any_of("ids"))).values(type="pong"))
    assert [change.change(connection, {"ids": ids}) for ids in (["evt_1"], ["evt_1", "evt_2"], ["evt_9"], [])] == [1, 2, 0, 0]


def test_errors_are_those_of_sqlalchemy(connection: Connection) -> None:
    adding = Prepared(insert(schema.event))
    adding.change(connection, event("evt_1"))
    with pytest.raises(IntegrityError) as found:
        adding.change(connection, event("evt_1"))
    assert getattr(found.value.orig, "sqlite_errorname", "") == "SQLITE_CONSTRAINT_PRIMARYKEY"
    with pytest.raises(DBAPIError, match="no such table"):
        run_text(connection, "DELETE FROM missing")
