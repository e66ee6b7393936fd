"""The loader: values, their units, and the sources of secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from mailbridge.config import OAuth2, load

SECRETS = {"file": "password-of-a-file", "env": "whsec_" + "A" * 43 + "=", "credential": "password-of-a-credential"}
MINIMAL = '[account.office]\nemail = "office@example.co.il"\npassword = "secret-password"\n'


def test_durations_sizes_and_secrets_are_parsed(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL + '[smtp]\nmax_size = "1.5MB"\n[myfax]\ntimeout = "200ms"\n[incoming]\nevery = "off"\n')
    config = load(path, {"STATE_DIRECTORY": "/run/state"})
    assert (config.smtp.max_size, config.myfax.timeout, config.incoming.every) == (1_500_000, 0.2, None)
    assert (config.state_dir, config.default_account) == (Path("/run/state"), "office")
    assert config.accounts["office"].password.get_secret_value() == "secret-password"
    assert "secret-password" not in repr(config)


def test_domains_of_a_file_that_names_none(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL)
    assert load(path, {}).smtp.domains == ("fax.local", "fax.internal", "myfax.co.il")


def test_credential_of_a_loaded_directory_has_the_unit_id_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "mailbridge_pw").write_text("from-the-directory\n")
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL.replace('"secret-password"', '{ credential = "pw" }'))
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load(path, environ).accounts["office"].password.get_secret_value() == "from-the-directory"
    (tmp_path / "pw").write_text("own-name\n")
    assert load(path, environ).accounts["office"].password.get_secret_value() == "own-name"


@pytest.mark.parametrize("kind", ["file", "env", "credential"])
def test_secret_is_read_from_file_variable_or_credential(tmp_path: Path, kind: str) -> None:
    (tmp_path / "pw").write_text("from-there\n")
    name = str(tmp_path / "pw") if kind == "file" else "pw"
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL.replace('"secret-password"', f'{{ {kind} = "{name}" }}'))
    config = load(path, {"pw": "from-there", "CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert config.accounts["office"].password.get_secret_value() == "from-there"


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://login.example.com/token", True),
        ("http://127.0.0.1:8080/token", True),
        ("http://login.example.com/token", False),
        ("ftp://127.0.0.1/token", False),
    ],
)
def test_oauth2_token_url_must_be_https_or_loopback(url: str, good: bool) -> None:
    if good:
        assert OAuth2(token_url=url, client_id="x").token_url == url
        return
    with pytest.raises(ValidationError, match="in clear text"):
        OAuth2(token_url=url, client_id="x")
