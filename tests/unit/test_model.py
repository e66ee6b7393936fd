"""Ids, tokens, and what all records have in common."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from mailbridge import model
from mailbridge.model import Attempt, last_attempt, new_id, new_token
from mailbridge.random_bytes import random_bytes
from tests.factories import a_fax
from tests.wait_helpers import PATIENCE

NOW = datetime(2026, 1, 4, 9, 0, tzinfo=UTC)
# Crockford's: no I, L, O or U, so that nobody mistakes one for another on the telephone.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Clock:
    def __init__(self) -> None:
        self.ms = 1_767_517_200_000

    def time_ns(self) -> int:
        return self.ms * 1_000_000 + 999_999


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(model, "time", clock)
    return clock


@pytest.mark.parametrize("prefix", ["fax", "evt", "env", "dlv"])
def test_an_id_is_a_prefix_and_a_ulid(prefix: str) -> None:
    assert re.fullmatch(rf"{prefix}_[{ALPHABET}]{{26}}", new_id(prefix))


def test_ids_sort_by_time(clock: Clock) -> None:
    ids = []
    for step in (0, 1, 30, 32, 1023, 1024, 10**9):
        clock.ms += step
        ids.append(new_id("fax"))
    by_time = [one[:14] for one in ids]
    assert by_time == sorted(set(by_time))


def test_an_ids_time_is_the_milliseconds_of_a_ulid(clock: Clock) -> None:
    # The example of the ULID specification: this millisecond is written so.
    clock.ms = 1_469_918_176_385
    assert new_id("fax").startswith("fax_01ARYZ6S41")


def test_ids_of_one_millisecond_differ(clock: Clock) -> None:
    assert len({new_id("fax") for _ in range(10_000)}) == 10_000


def test_a_token_can_be_read_aloud_and_found_in_a_file_name() -> None:
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(re.fullmatch(rf"MB-[{ALPHABET}]{{8}}", token) for token in tokens)
    assert set("".join(tokens)) == {*ALPHABET, "M", "B", "-"}


def test_records_are_frozen_and_have_no_behaviour() -> None:
    records = [one for one in vars(model).values() if dataclasses.is_dataclass(one) and isinstance(one, type)]
    assert len(records) >= 10
    for record in records:
        assert record.__dataclass_params__.frozen, record  # type: ignore[attr-defined]
        assert hasattr(record, "__slots__"), record
        assert not [name for name in vars(record) if not name.startswith("_") and callable(getattr(record, name))], record


def test_a_fax_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        a_fax().state = "failed"  # type: ignore[misc]


def test_only_the_last_attempt_is_changed() -> None:
    first, second = Attempt(n=1, started_at=NOW), Attempt(n=2, started_at=NOW)
    changed = last_attempt(a_fax(attempts=(first, second)), fax_code="abc")
    assert changed == (first, Attempt(n=2, started_at=NOW, fax_code="abc"))
    assert last_attempt(a_fax(), fax_code="abc") == ()


def test_random_bytes_are_used_once_also_after_a_fork() -> None:
    program = (
        "import os\n"
        "from mailbridge.model import new_id\n"
        "new_id('fax')\n"  # others are ready for the next ids
        "child = os.fork()\n"
        "os.write(1, ''.join(f'{new_id(\"fax\")[-16:]}\\n' for _ in range(200)).encode())\n"
        "child and os.waitpid(child, 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True)
    found = done.stdout.split()
    assert len(found) == len(set(found)) == 400


def test_random_bytes_are_used_once_by_all_threads() -> None:
    with ThreadPoolExecutor(4) as threads:
        found = set(threads.map(lambda _: random_bytes(), range(2000)))
    assert len(found) == 2000
    assert {len(one) for one in found} == {10}
