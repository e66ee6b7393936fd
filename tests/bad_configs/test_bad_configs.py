"""Invalid configurations, each with the expected error: key, fault and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailbridge.cli.store_query import find_state_dir
from mailbridge.config import load, problems
from mailbridge.errors import ConfigError

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("*.toml")))
def test_error_names_key_fault_and_remedy(name: str) -> None:
    expected = (HERE / f"{name}.error").read_text(encoding="utf-8").strip()
    with pytest.raises(ConfigError) as raised:
        load(HERE / f"{name}.toml", {})
    assert expected in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read .*; name the file with --config"):
        load(tmp_path / "config.toml", {})


def test_all_errors_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('lanugage = "he"\n[account.office]\nemail = "x"\n', encoding="utf-8")
    keys = {error.key for error in problems(path, {})}
    assert keys == {"lanugage", "account.office.email", "account.office.password"}
    with pytest.raises(ConfigError) as raised:
        load(path, {})
    assert {raised.value.key, *(other.key for other in raised.value.others)} == keys


def test_missing_secret_hides_no_other_error(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    secrets = [f'{{ file = "{tmp_path}/none-{n}" }}' for n in range(4)]
    path.write_text(
        f"""
[account.office]
email = "office@example.co.il"
password = {secrets[0]}
[user.anna]
password_hash = {secrets[1]}
[mailbox.office]
host = "imap.example.co.il"
tls = "starttls"
username = "office"
password = {secrets[2]}
[webhook.crm]
url = "http://crm.example.co.il/"
secret = {secrets[3]}
""",
        encoding="utf-8",
    )
    assert sorted(error.key for error in problems(path, {})) == [
        "account.office.password",
        "mailbox.office",
        "mailbox.office.password",
        "user.anna.password_hash",
        "webhook.crm.secret",
    ]


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[account.office]\nemail = "office@example.co.il"\npassword = "x"\n', encoding="utf-8-sig")
    assert load(path, {}).default_account == "office"
    assert find_state_dir(path) == Path("/var/lib/mailbridge")
