"""`store.url`: what libpq takes is taken, and no error repeats a password."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mailbridge.config import StoreOptions


def options(**keys: Any) -> StoreOptions:
    return StoreOptions.model_validate(keys)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://mailbridge@db.example.co.il/mailbridge",
        "postgres://mailbridge:p%40ss@db:5433/mailbridge?sslmode=verify-full",
        "postgresql://mailbridge@db1,db2/mailbridge?target_session_attrs=read-write",
        "postgresql://mailbridge@[2001:db8::1]:5432,[2001:db8::2]:5432/mailbridge",
        "postgresql:///mailbridge?host=/run/postgresql",
        "postgresql://?service=mailbridge",
    ],
)
def test_a_url_as_libpq_takes_it_is_valid(url: str) -> None:
    found = options(url=url).url
    assert found is not None
    assert found.get_secret_value() == url
    assert "mailbridge" not in repr(options(url=url)).replace("mailbridge.config", "")


@pytest.mark.parametrize("mark", ["@", "/", "?", "#", "[", "]", ":", "%", " "])
def test_no_error_repeats_a_password_with_a_special_character(mark: str) -> None:
    url = f"postgresql://mailbridge:hunter{mark}two@db/mailbridge"
    try:
        options(url=url)
    except ValidationError as error:
        [one] = error.errors()
        assert one["type"] == "mailbridge"
        assert "hunter" not in one["msg"] + one["ctx"]["remedy"]


@pytest.mark.parametrize(
    "url", ["", "mailbridge", "sqlite:///x", "postgresql://db", "postgresql:mailbridge", "POSTGRESQL://x@y/z"]
)
def test_what_is_no_such_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        options(url=url)


def test_a_url_that_libpq_cannot_read_is_refused_without_repeating_it() -> None:
    from mailbridge.errors import StoreUnavailable
    from mailbridge.store.postgres_connection import check_url

    for bad in ("postgresql://mailbridge:hunter%zz@db/mailbridge", "postgresql://a:hunter2@db/x?unknown=1"):
        with pytest.raises(StoreUnavailable) as refused:
            check_url(bad)
        assert "hunter" not in str(refused.value)
