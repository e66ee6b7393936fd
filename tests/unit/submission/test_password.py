"""Password hashes: what was hashed is known again, and nothing else is."""

from __future__ import annotations

import pytest

from mailbridge.submission.password import UNKNOWN_USER, check_password, hash_password


def test_a_password_is_known_again() -> None:
    hashed = hash_password("סיסמה 1")
    assert hashed.startswith("scrypt$16384$8$1$")
    assert check_password(hashed, "סיסמה 1")
    assert check_password(hashed, "סיסמה 1".encode())
    assert not check_password(hashed, "סיסמה 2")
    assert hash_password("x") != hash_password("x")
    assert not check_password(UNKNOWN_USER, "")


@pytest.mark.parametrize("hashed", ["", "x", "scrypt$a$8$1$YQ==$YQ==", "scrypt$16384$8$1$!$!", "scrypt$1073741824$8$1$YQ==$YQ=="])
def test_a_hash_that_cannot_be_read(hashed: str) -> None:
    assert not check_password(hashed, "x")
