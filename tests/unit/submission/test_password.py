"""Password hashes: a hash matches its own password and no other."""

from __future__ import annotations

import pytest

from mailbridge.submission.password import UNKNOWN_USER, check_password, hash_password


def test_hash_matches_its_password_alone() -> None:
    hashed = hash_password("סיסמה 1")
    assert hashed.startswith("scrypt$16384$8$1$")
    assert check_password(hashed, "סיסמה 1")
    assert check_password(hashed, "סיסמה 1".encode())
    assert not check_password(hashed, "סיסמה 2")
    assert hash_password("x") != hash_password("x")


def test_the_hash_of_an_unknown_user_matches_no_password_and_costs_as_much_as_any_other() -> None:
    assert not check_password(UNKNOWN_USER, "")
    hashed, unknown = (hash.split("$") for hash in (hash_password("x"), UNKNOWN_USER))
    assert (unknown[:4], [*map(len, unknown)]) == (hashed[:4], [*map(len, hashed)])


@pytest.mark.parametrize("hashed", ["", "x", "scrypt$a$8$1$YQ==$YQ==", "scrypt$16384$8$1$!$!", "scrypt$1073741824$8$1$YQ==$YQ=="])
def test_invalid_hash_matches_nothing(hashed: str) -> None:
    assert not check_password(hashed, "x")
