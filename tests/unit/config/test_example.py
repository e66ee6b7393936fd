"""`config.example.toml`: generated from the model, complete, valid, and with the defaults."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailbridge.config import Config, load
from mailbridge.config.example import text
from mailbridge.config.section import Section, is_named, keys, subsection
from tests.unit.config.test_loader import MINIMAL, SECRETS

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"
NAMED = ("account", "user", "mailbox", "route", "webhook")


def keys_of_the_model(section: type[Section], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, field in keys(section).items():
        inner = subsection(field)
        if inner is None:
            yield (*path, key)
        else:
            yield from keys_of_the_model(inner, (*path, key, "NAME") if is_named(field) else (*path, key))


def keys_of_the_file(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        here = (*path, "NAME" if len(path) == 1 and path[0] in NAMED else key)
        # A secret is below a section: [contacts] has the key file too. Headers have the names that a person gives them.
        if isinstance(value, dict) and not (path and set(value) <= SECRETS.keys()) and key != "headers":
            yield from keys_of_the_file(value, here)
        else:
            yield here


def uncommented() -> dict[str, Any]:
    """The example with each key that is commented out; a comment has a space after the #."""
    return tomllib.loads(re.sub(r"^#(?=\S)", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE))


def test_the_example_file_is_generated_from_the_model() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == text()


def test_the_example_has_every_key_and_no_other() -> None:
    assert set(keys_of_the_file(uncommented())) == set(keys_of_the_model(Config))


def sections(section: type[Section] = Config) -> Iterator[type[Section]]:
    yield section
    for field in keys(section).values():
        if inner := subsection(field):
            yield from sections(inner)


@pytest.mark.parametrize("section", [*sections()], ids=lambda section: section.__name__)
def test_every_key_has_help(section: type[Section]) -> None:
    for key, field in keys(section).items():
        assert re.fullmatch(r'["A-Z].*[.]', field.description or "", re.DOTALL), key
        if subsection(field) is None and field.examples and not field.is_required():
            assert "Default: " in (field.description or ""), f"{key} does not say what applies without it"


def test_the_example_is_valid_and_has_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "office").write_text("secret-password\n")
    (tmp_path / "imap-office").write_text("secret-password\n")
    (tmp_path / "webhook-crm").write_text(SECRETS["env"] + "\n")
    (tmp_path / "webhook-crm-token").write_text("Bearer t0ken\n")
    example = load(EXAMPLE, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    (tmp_path / "minimal.toml").write_text(MINIMAL)
    minimal = load(tmp_path / "minimal.toml", {})
    given = {"accounts", "mailboxes", "webhooks"}
    assert example.model_dump(exclude=given) == minimal.model_dump(exclude=given)
    for section in (example.accounts["office"], example.mailboxes["office"], example.webhooks["crm"]):
        for name, field in type(section).model_fields.items():
            if not field.is_required() and name != "password":
                assert getattr(section, name) == field.get_default(), name


def test_the_examples_of_optional_keys_are_valid(tmp_path: Path) -> None:
    """All of them but two: the hash of a password that nobody knows, and PostgreSQL."""
    tree = uncommented()
    del tree["store"], tree["user"]["scanner"]["password_hash"]
    del tree["mailbox"]["office"]["oauth2"]
    tree["user"]["scanner"]["password_hash"] = "scrypt$16384$8$1$c2FsdA==$aGFzaA=="
    for name in ("account", "mailbox", "distributor"):
        entry = tree[name]["office"] if name != "distributor" else tree[name]
        entry["password"] = "secret-password"
    tree["webhook"]["crm"]["secret"] = SECRETS["env"]
    tree["webhook"]["crm"]["headers"] = {"Authorization": "Bearer t0ken"}
    assert Config.model_validate(tree).users["scanner"].daily_limit == 200
