"""The model against the example file, in both directions, and what a value becomes."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from mailbridge.config import Config, OAuth2, load

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
SECRETS = {"file": "password-of-a-file", "env": "whsec_" + "A" * 43 + "=", "credential": "password-of-a-credential"}
# A section or a key, and a key that may be commented out.
NAMED = r"\[\w[\w.]*\]$|\w+ = "
KEY = r"^(?:# )?\w+ = "
LEAST = '[account.office]\nemail = "office@example.co.il"\npassword = "secret-password"\n'


def keys_of_the_model(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        here = (*path, field.alias or name)
        options = [field.annotation, *get_args(field.annotation)]
        section = next((one for one in options if isinstance(one, type) and issubclass(one, BaseModel)), None)
        if section is None:
            yield here
        elif section in get_args(field.annotation) and str in get_args(field.annotation):
            yield from keys_of_the_model(section, (*here, "NAME"))
        else:
            yield from keys_of_the_model(section, here)


def keys_of_the_file(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        named = path[-1:] in (("account",), ("user",), ("mailbox",), ("webhook",)) and len(path) == 1
        here = (*path, "NAME" if named else key)
        if isinstance(value, dict) and not set(value) <= SECRETS.keys():
            yield from keys_of_the_file(value, here)
        else:
            yield here


def uncommented() -> dict[str, Any]:
    text = EXAMPLE.read_text(encoding="utf-8")
    return tomllib.loads(re.sub(rf"^# (?={NAMED})", "", text, flags=re.MULTILINE))


def test_the_example_documents_every_key_and_no_other() -> None:
    assert set(keys_of_the_file(uncommented())) == set(keys_of_the_model(Config))


def test_every_section_of_the_example_says_in_words_what_its_keys_are_for() -> None:
    sections = [part for part in EXAMPLE.read_text(encoding="utf-8").split("\n\n") if re.search(KEY, part, re.MULTILINE)]
    assert len(sections) > 15
    assert [part for part in sections if not re.search(rf"^# (?!{NAMED})", part, re.MULTILINE)] == []


def test_the_example_shows_the_defaults(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    (tmp_path / "office").write_text("secret-password\n")
    (tmp_path / "imap-office").write_text("secret-password\n")
    (tmp_path / "webhook-crm").write_text(SECRETS["env"] + "\n")
    (tmp_path / "example.toml").write_text(text, encoding="utf-8")
    example = load(tmp_path / "example.toml", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    (tmp_path / "least.toml").write_text(LEAST)
    least = load(tmp_path / "least.toml", {})
    given = {"accounts", "mailboxes", "webhooks"}
    assert example.model_dump(exclude=given) == least.model_dump(exclude=given)
    for section in (example.accounts["office"], example.mailboxes["office"], example.webhooks["crm"]):
        for name, field in type(section).model_fields.items():
            if not field.is_required() and name != "password":
                assert getattr(section, name) == field.get_default(), name


def test_values_become_seconds_bytes_and_secrets(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(LEAST + '[smtp]\nmax_size = "1.5MB"\n[myfax]\ntimeout = "200ms"\n[incoming]\nevery = "off"\n')
    config = load(path, {"STATE_DIRECTORY": "/run/state"})
    assert (config.smtp.max_size, config.myfax.timeout, config.incoming.every) == (1_500_000, 0.2, None)
    assert (config.state_dir, config.default_account) == (Path("/run/state"), "office")
    assert config.accounts["office"].password.get_secret_value() == "secret-password"
    assert "secret-password" not in repr(config)


def test_a_credential_is_found_under_the_name_that_systemd_gives_to_those_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mailbridge_pw").write_text("from-the-folder\n")
    path = tmp_path / "config.toml"
    path.write_text(LEAST.replace('"secret-password"', '{ credential = "pw" }'))
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load(path, environ).accounts["office"].password.get_secret_value() == "from-the-folder"
    (tmp_path / "pw").write_text("of-its-own\n")
    assert load(path, environ).accounts["office"].password.get_secret_value() == "of-its-own"


@pytest.mark.parametrize("kind", ["file", "env", "credential"])
def test_a_secret_comes_from_where_it_is_kept(tmp_path: Path, kind: str) -> None:
    (tmp_path / "pw").write_text("from-there\n")
    name = str(tmp_path / "pw") if kind == "file" else "pw"
    path = tmp_path / "config.toml"
    path.write_text(LEAST.replace('"secret-password"', f'{{ {kind} = "{name}" }}'))
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
def test_the_secrets_of_oauth2_go_only_where_they_are_safe(url: str, good: bool) -> None:
    if good:
        assert OAuth2(token_url=url, client_id="x").token_url == url
        return
    with pytest.raises(ValidationError, match="in clear"):
        OAuth2(token_url=url, client_id="x")
