"""The mail that `mailbridge send` builds from any arguments."""

from __future__ import annotations

import getpass
import os
from email import message_from_bytes, policy
from pathlib import Path
from typing import NoReturn

import click
import pytest

from mailbridge.cli import send


@pytest.mark.parametrize("odd", ["a\nb", "a\r\nX-Tag: k", "a\u2028b", "a\x85b", os.fsdecode(b"a\xff\xfeb")], ids=ascii)
def test_arguments_with_line_breaks_or_invalid_bytes(tmp_path: Path, odd: str) -> None:
    file = tmp_path / f"{odd}.txt"
    file.write_bytes(b"a letter")
    made = send._mail(odd, (file,), None, odd, odd)
    mail = message_from_bytes(made.as_bytes(), policy=policy.default)
    assert "X-Tag" not in mail
    assert mail["Subject"].startswith("a")
    [part] = mail.iter_attachments()
    name = part.get_filename()
    assert name is not None
    assert name.startswith("a")
    assert name.endswith(".txt")
    assert part.get_content() == "a letter"


def test_url_with_a_line_break_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="line breaks"):
        send.send.main(["03-9876543", "--url", "https://x/a\nb.pdf", "--config", str(tmp_path / "x")], standalone_mode=False)


def test_sender_of_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> NoReturn:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert send._sender().startswith(f"{os.getuid()}@")
