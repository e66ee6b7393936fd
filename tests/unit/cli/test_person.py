"""Who calls a command, as the audit has it."""

from __future__ import annotations

import getpass

import pytest

from mailbridge.cli.store_query import person


def test_it_is_the_user_of_the_system_also_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert person() == {"user": getpass.getuser(), "via": "command line"}
    monkeypatch.setenv("SUDO_USER", "dana")
    assert person()["user"] == "dana"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(getpass, "getuser", unknown)
    assert person()["user"].isdecimal()
