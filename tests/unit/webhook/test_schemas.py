"""Every event that the code emits, and every one that a scenario expects, matches the schema of its type."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from mailbridge.cli import main
from mailbridge.lifecycle import FAX, FAX_AFTER_FINAL
from mailbridge.webhook.schemas import EVENTS, schema
from tests.unit.webhook.example_events import bodies

# It has no type hints of its own.
jsonschema: Any = importlib.import_module("jsonschema")
SCENARIOS = sorted((Path(__file__).parents[2] / "e2e").glob("*/expected.json"))


def validator(of: dict[str, Any]) -> Any:
    return jsonschema.Draft202012Validator(of, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def test_every_type_has_a_schema_and_is_emitted() -> None:
    emitted = {type_ for transition in {**FAX, **FAX_AFTER_FINAL}.values() for type_ in transition.events}
    assert emitted <= set(EVENTS)
    assert {body["type"] for body in bodies()} == set(EVENTS)


@pytest.mark.parametrize("type_", list(EVENTS))
def test_every_emitted_event_matches_its_schema(type_: str) -> None:
    whole = schema(type_)
    jsonschema.Draft202012Validator.check_schema(whole)
    for body in (one for one in bodies() if one["type"] == type_):
        assert [error.message for error in validator(whole).iter_errors(body)] == []
        # A name that is not in the schema is not in the contract either.
        if type_ != "ping":
            known = whole["properties"]["data"]["properties"]
            assert set(body["data"]) <= set(known)


@pytest.mark.parametrize("type_", [name for name in EVENTS if name != "ping"])
def test_a_schema_rejects_a_missing_name_and_a_wrong_type(type_: str) -> None:
    body = next(one for one in bodies() if one["type"] == type_)
    check = validator(schema(type_))
    for name in schema(type_)["properties"]["data"]["required"]:
        data = dict(body["data"])
        del data[name]
        assert not check.is_valid({**body, "data": data}), name
        assert not check.is_valid({**body, "data": {**data, name: object}}), name
    assert not check.is_valid({**body, "type": "fax.other"})


def partly(expected: Any, of: dict[str, Any]) -> list[str]:
    """Return the errors of a partial expectation, whose texts may have `*` and `?`, against a schema."""
    if isinstance(expected, str) and ("*" in expected or "?" in expected):
        return [] if validator(of).is_valid("x") or validator(of).is_valid("2026-01-04T09:12:44Z") else [f"{expected} is a text"]
    if isinstance(expected, dict):
        inner = next((one for one in (of, *of.get("anyOf", [])) if "properties" in one), None)
        if inner is None:
            return [error.message for error in validator(of).iter_errors(expected)]
        strange = [f"no name {name}" for name in expected if name not in inner["properties"]]
        return strange + [
            words
            for name, value in expected.items()
            if name in inner["properties"]
            for words in partly(value, inner["properties"][name])
        ]
    if isinstance(expected, list) and "items" in of:
        return [words for value in expected for words in partly(value, of["items"])]
    return [error.message for error in validator(of).iter_errors(expected)]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.parent.name)
def test_the_expectations_of_a_scenario_match_the_schemas(path: Path) -> None:
    for expected in json.loads(path.read_text(encoding="utf-8")).get("webhooks", []):
        assert partly(expected, schema(expected["type"])) == [], expected["type"]


def test_the_command_prints_the_schemas(capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["events", "--schema", *arguments])
        return (ended.value.code, *capsys.readouterr())

    assert json.loads(said()[1]) == {type_: schema(type_) for type_ in EVENTS}
    assert json.loads(said("fax.failed")[1]) == schema("fax.failed")
    status, _, words = said("fax.eaten")
    assert (status, "use one of fax.queued, " in words) == (2, True)
