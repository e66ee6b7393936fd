"""Mails of public bug reports, as SMTP brings them, and what each must yield: cases/NUMBER-NAME.eml and cases/expected.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from mailbridge.errors import Refused
from mailbridge.page import text_page as page
from mailbridge.store.local_spool import LocalSpool
from mailbridge.submission.dot_decoder import DotDecoder
from mailbridge.submission.letter.parser import read_letter

CASES = Path(__file__).parent / "cases"
EXPECTED: dict[str, dict[str, Any]] = tomllib.loads((CASES / "expected.toml").read_text(encoding="utf-8"))


def received(spool_root: Path, mail: Path) -> bool:
    """Spool a mail as it arrives by SMTP; return whether its line ends were changed."""
    stuffed = mail.read_bytes().replace(b"\n.", b"\n..")
    decoder = DotDecoder()
    content, rest = decoder.feed(stuffed + (b"" if stuffed.endswith(b"\r\n") else b"\r\n") + b".\r\n")
    assert rest == b""
    (spool_root / "mail" / "m.eml").write_bytes(content)
    return decoder.line_ends_changed


def test_every_mail_has_an_expectation() -> None:
    assert {mail.stem for mail in CASES.glob("*.eml")} == EXPECTED.keys()
    assert {name[:2] for name in EXPECTED} == {f"{number:02}" for number in range(1, 38)}


@pytest.mark.parametrize("name", EXPECTED)
def test_mail_of_the_corpus_is_read_as_its_json_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, texts, render = EXPECTED[name], [""], page.render

    def record(text: str, *head: str, most_pages: int | None = None) -> tuple[bytes, int]:
        texts.append(text)
        return render(text, *head, most_pages=most_pages)

    monkeypatch.setattr(page, "render", record)
    spool = LocalSpool(tmp_path)
    changed = received(tmp_path, CASES / f"{name}.eml")
    if "refused" in expected:
        with pytest.raises(Refused) as caught:
            read_letter(tmp_path / "mail" / "m.eml", "mail/m.eml", "auto", line_ends_changed=changed)
        assert all(words in caught.value.reply for words in expected["refused"]), caught.value.reply
        return
    letter = read_letter(tmp_path / "mail" / "m.eml", "mail/m.eml", "auto", line_ends_changed=changed)
    assert [[document.name, document.content_type, document.pages] for document in letter.documents] == expected["documents"]
    assert list(letter.passed_over) == expected.get("passed_over", [])
    assert letter.documents[-1].sha256 == expected.get("sha256", letter.documents[-1].sha256)
    assert all(words in texts[-1] for words in expected.get("page_has", ())), texts[-1]
    assert not [words for words in expected.get("page_lacks", ()) if words in texts[-1]], texts[-1]
    assert (letter.subject, letter.message_id) == (
        expected.get("subject", letter.subject),
        expected.get("message_id", letter.message_id),
    )
    (tmp_path / "mail" / "m.derived").write_bytes(letter.derived)
    for document in letter.documents:
        with spool.open_document(document) as file:
            assert len(file.read()) == document.size
