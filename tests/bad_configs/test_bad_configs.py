"""Each mistake that a person makes, with the message that names key, fault and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailbridge.config import load, problems
from mailbridge.errors import ConfigError

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("*.toml")))
def test_the_message_names_key_fault_and_remedy(name: str) -> None:
    expected = (HERE / f"{name}.error").read_text(encoding="utf-8").strip()
    with pytest.raises(ConfigError) as raised:
        load(HERE / f"{name}.toml", {})
    assert expected in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read .*; name the file with --config"):
        load(tmp_path / "config.toml", {})


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('lanugage = "he"\n[account.office]\nemail = "x"\n', encoding="utf-8")
    assert {mistake.key for mistake in problems(path, {})} == {"lanugage", "account.office.email", "account.office.password"}
