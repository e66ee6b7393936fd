"""Whatever arrives in a mailbox, reading it never raises, and what is forged never passes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.demo.mailbox import incoming_mail, report_mail
from mailbridge.report.imap_responses import FetchedMail, modified_utf7
from mailbridge.report.mail_body import MAX_TEXT
from mailbridge.report.mail_header import decode
from mailbridge.report.parser import digest, parse
from mailbridge.report.trust import is_trusted

SEEDS = [report_mail("Success", 9, "חשבון MB-7K3QXA2M.pdf"), incoming_mail(b"%PDF-1.4" * 40, "08-9999999", filename="פקס.pdf")]
PIECES = [
    b"\r\n",
    b"\n\n",
    b"X-Fax-Status: ",
    b"X-Fax-Sender:",
    b"=?utf-8?B?",
    b"?=",
    b"\0",
    b"\xff\xfe",
    b"--",
    b"(",
    b'"',
    b";",
    b"charset=x",
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    mail = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 6))):
        place, cut = draw(st.integers(0, len(mail))), draw(st.integers(0, 40))
        mail = mail[:place] + draw(st.sampled_from(PIECES) | st.binary(max_size=12)) + mail[place + cut :]
    return mail


@settings(max_examples=300)
@given(mutated() | st.binary(max_size=400).map(lambda raw: b"X-Fax-Status: " + raw))
def test_parsing_a_mail_never_raises_and_a_forged_one_is_not_trusted(content: bytes) -> None:
    fetched = FetchedMail(1, len(content), content)
    mail = parse(fetched)
    assert (digest(fetched) is None) == ("the mail lost its X-Fax headers" in mail.report.defects)
    assert len(mail.report.text) <= MAX_TEXT
    assert mail.report.status_code is None or 0 <= mail.report.status_code <= 9999
    assert all("/" not in one.filename for one in mail.attachments)
    assert not is_trusted(content, "dkim", ("myfax.co.il",), lambda name, timeout=5: None)
    assert not is_trusted(content, "authserv:mx.example.co.il", ("myfax.co.il",))


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_a_header_always_becomes_clean_text(value: str) -> None:
    text = decode(value)
    assert not set(text) & {"\r", "\n", "\0"}
    text.encode()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_folder_name_survives_modified_utf7(name: str) -> None:
    coded = modified_utf7(name)
    assert all(" " <= character <= "~" for character in coded)
    plain = ""
    for index, part in enumerate(coded.split("&")):
        word, dash, rest = part.partition("-") if index else ("", "", part)
        if index and not word:
            plain += "&"
        elif index:
            assert dash
            plain += f"+{word.replace(',', '/')}-".encode().decode("utf-7")
        plain += rest
    assert plain == name
