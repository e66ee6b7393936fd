"""What is allowed and does not do what it seems to."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailbridge.config import load
from mailbridge.config.warnings import config_warnings
from mailbridge.webhook.schemas import EVENTS

LEAST = '[account.office]\nemail = "office@example.co.il"\npassword = "hunter2"\n'
HOOK = f'[webhook.crm]\nurl = "https://crm.example.co.il/"\nsecret = "whsec_{"A" * 43}="\n'
USER = '[user.anna]\npassword_hash = "scrypt$16384$8$1$c2FsdA==$aGFzaA=="\n'


def told(folder: Path, more: str) -> list[str]:
    path = folder / "config.toml"
    path.write_text(LEAST + more, encoding="utf-8")
    return [str(one) for one in config_warnings(load(path, {}), EVENTS)]


@pytest.mark.parametrize("more", ["", HOOK, HOOK + 'events = ["fax.*", "ping"]\n', '[smtp]\nauth = "required"\n' + USER])
def test_what_does_what_it_says_is_not_warned_of(tmp_path: Path, more: str) -> None:
    assert told(tmp_path, more) == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[notice]\nrelay = "smtp://office:hunter2@mail.example.co.il"\n', "notice.relay: this version mails no notices"),
        (
            HOOK + 'events = ["fax.deliverd"]\n',
            "crm.events: no event is named 'fax.deliverd'; did you mean fax.delivered?",
        ),
        (HOOK + 'events = ["*.nothing"]\n', "no event is named '*.nothing'; mailbridge events --schema has their names"),
        ('[smtp]\nauth = "required"\n', "user: 127.0.0.1:2525 asks for a login, and nobody has one"),
        ('[smtp]\nlisten = ["0.0.0.0:2525"]\n' + USER, "smtp.tls.certificate: 0.0.0.0:2525 takes no password without TLS"),
    ],
    ids=["notices", "misspelt event", "no event", "nobody", "no TLS"],
)
def test_what_does_not_is_told_with_key_fault_and_remedy(tmp_path: Path, more: str, words: str) -> None:
    [warning] = told(tmp_path, more)
    assert words in warning
    assert "hunter2" not in warning
