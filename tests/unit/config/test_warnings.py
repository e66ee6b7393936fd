"""Warnings about valid configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailbridge.config import load
from mailbridge.config.warnings import config_warnings
from mailbridge.webhook.schemas import EVENTS

MINIMAL = '[account.office]\nemail = "office@example.co.il"\npassword = "hunter2"\n'
HOOK = f'[webhook.crm]\nurl = "https://crm.example.co.il/"\nsecret = "whsec_{"A" * 43}="\n'
RELAY = '[notice]\nrelay = "smtp://office:hunter2@mail.example.co.il"\n'
USER = '[user.anna]\npassword_hash = "scrypt$16384$8$1$c2FsdA==$aGFzaA=="\n'


def warnings(folder: Path, more: str) -> list[str]:
    path = folder / "config.toml"
    path.write_text(MINIMAL + more, encoding="utf-8")
    return [str(one) for one in config_warnings(load(path, {}), EVENTS)]


@pytest.mark.parametrize(
    "more",
    [
        "",
        HOOK,
        HOOK + 'events = ["fax.*", "ping"]\n',
        '[smtp]\nauth = "required"\n' + USER,
        RELAY,
        "[http]\nconsole = true\n" + USER,
    ],
)
def test_no_warning_for_keys_with_effect(tmp_path: Path, more: str) -> None:
    assert warnings(tmp_path, more) == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            '[notice]\nadmin = ["it@example.co.il"]\n',
            "notice.admin: nothing is mailed without notice.relay; set notice.relay to your mail server",
        ),
        (
            '[route.sales]\nmail = "dana@example.co.il"\n',
            "route.sales.mail: nothing is mailed without notice.relay; set notice.relay to your mail server",
        ),
        (
            '[route.sales]\nfolder = "/nowhere/faxes"\n',
            "route.sales.folder: /nowhere/faxes is not a directory now; create it, or correct the path",
        ),
        (
            HOOK + 'events = ["fax.deliverd"]\n',
            "crm.events: no event type matches 'fax.deliverd'; did you mean fax.delivered?",
        ),
        (HOOK + 'events = ["*.nothing"]\n', "no event type matches '*.nothing'; mailbridge events --schema lists the types"),
        ('[smtp]\nauth = "required"\n', "user: 127.0.0.1:2525 requires authentication, but there are no users"),
        ('[smtp]\nlisten = ["0.0.0.0:2525"]\n' + USER, "smtp.tls.certificate: 0.0.0.0:2525 accepts no passwords without TLS"),
        ("[http]\nconsole = true\n", "http.console: nobody can log in; add a [user.NAME] with a password_hash and a role"),
    ],
    ids=["notices", "route by mail", "route to a folder", "misspelled event", "unknown event", "no users", "no TLS", "console"],
)
def test_warning_names_key_fault_and_remedy(tmp_path: Path, more: str, words: str) -> None:
    [warning] = warnings(tmp_path, more)
    assert words in warning
    assert "hunter2" not in warning
