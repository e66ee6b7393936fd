"""`user list`."""

from __future__ import annotations

import json
from pathlib import Path

from mailbridge.submission.password import hash_password
from tests.integration.cli_fixtures import Done, run

CONFIG = """
[account.office]
email = "office@example.co.il"
password = "demo"
[account.warehouse]
email = "warehouse@example.co.il"
password = "demo"
"""
USERS = """
[user.scanner]
networks = ["192.168.1.20"]
account = "office"
senders = ["scanner@example.co.il"]
daily_limit = 200
[user.dana]
password_hash = "{hash}"
allow = ["+9723"]
role = "operator"
language = "en"
"""


def test_user_list_shows_what_each_user_may_do_and_no_hash(tmp_path: Path) -> None:
    config, hashed = tmp_path / "config.toml", hash_password("hunter2")
    config.write_text(CONFIG + USERS.format(hash=hashed), encoding="utf-8")
    done = run("user", "list", "--config", config)
    assert (done.status, done.errors) == (0, "")
    assert [line.split() for line in done.output.splitlines()[1:]] == [
        ["scanner", "192.168.1.20/32", "office", "scanner@example.co.il", "IL", "200", "sender"],
        ["dana", "password", "office,", "warehouse", "any", "+9723", "none", "operator"],
    ]
    scanner, dana = json.loads(run("user", "list", "--json", "--config", config).output)
    assert (scanner["account"], scanner["accounts"], scanner["password"]) == ("office", ["office"], False)
    assert (dana["accounts"], dana["daily_limit"], dana["language"]) == (["office", "warehouse"], None, "en")
    assert hashed not in json.dumps(dana)


def test_user_list_without_users(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    assert run("user", "list", "--config", tmp_path / "config.toml") == Done(0, "the configuration has no users\n", "")
