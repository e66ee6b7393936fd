"""`hash-password`."""

from __future__ import annotations

import pytest

from mailbridge.submission.password import check_password
from tests.integration.cli_fixtures import one_line, run


def test_hash_password_reads_a_pipe() -> None:
    done = run("hash-password", stdin="סוד hunter2\n")
    assert (done.status, done.errors) == (0, "")
    assert "hunter2" not in done.output
    hashed = done.output.removesuffix("\n")
    assert "\n" not in hashed
    assert check_password(hashed, "סוד hunter2")
    assert not check_password(hashed, "hunter2")
    assert run("hash-password", stdin="x").output.startswith("scrypt$")


@pytest.mark.parametrize("stdin", ["", "\n"])
def test_hash_password_rejects_an_empty_password(stdin: str) -> None:
    done = run("hash-password", stdin=stdin)
    assert done.status == 2
    assert one_line(done).startswith("the password is empty")
