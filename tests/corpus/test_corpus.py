"""Realistic mails, each with what it must yield: NAME.eml beside NAME.json, with its documents or its refusal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mailbridge.errors import Refused
from mailbridge.submission.letter.parser import read_letter

MAILS = sorted(Path(__file__).parent.glob("*.eml"))


def test_there_is_a_corpus() -> None:
    assert len(MAILS) >= 8
    assert all(mail.with_suffix(".json").exists() for mail in MAILS)


@pytest.mark.parametrize("mail", MAILS, ids=lambda mail: str(mail.stem))
def test_a_mail_yields_what_it_must(mail: Path, tmp_path: Path) -> None:
    wanted = json.loads(mail.with_suffix(".json").read_text())
    shutil.copy(mail, tmp_path / "m.eml")
    if "refused" in wanted:
        with pytest.raises(Refused) as caught:
            read_letter(tmp_path / "m.eml", "m.eml", "auto")
        assert caught.value.reply == wanted["refused"]
        return
    letter = read_letter(tmp_path / "m.eml", "m.eml", "auto")
    documents = [document.name for document in letter.documents]
    assert {"subject": letter.subject, "sender": letter.sender, "documents": documents} == wanted
