"""Records as rows: JSON columns hold what was stored, whatever text it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mailbridge.store.rows import to_json


@pytest.mark.parametrize("value", [{}, [], {"a": None, "b": [1, "ש", {"c": True}]}, {"half": "a\ud83d"}, {"\udc80": "\x00"}, "€"])
def test_json_is_read_back_as_it_was_written(value: Any) -> None:
    assert json.loads(to_json(value)) == value
