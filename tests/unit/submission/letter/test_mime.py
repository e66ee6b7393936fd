"""Splitting a mail: the stretches agree with what the spool will read, and the limits hold."""

from __future__ import annotations

import base64
import hashlib
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailbridge.errors import Refused
from mailbridge.submission.letter import mime
from mailbridge.submission.letter.mime import open_mail


def spooled(tmp_path: Path, raw: bytes) -> Path:
    path = tmp_path / "a.eml"
    path.write_bytes(raw)
    return path


def refusal(tmp_path: Path, raw: bytes) -> str:
    with pytest.raises(Refused) as caught, open_mail(spooled(tmp_path, raw)):
        pass
    return caught.value.reply


def test_parts_are_stretches_whose_content_is_what_was_attached(tmp_path: Path) -> None:
    message = EmailMessage()
    message.set_content("שלום\n")
    blob = bytes(range(256)) * 1000
    message.add_attachment(blob, maintype="application", subtype="octet-stream", filename="דוח.bin")
    for raw in (message.as_bytes(), message.as_bytes().replace(b"\n", b"\r\n")):
        with open_mail(spooled(tmp_path, raw)) as mail:
            text, attached = mail.parts
            assert text.content_type == "text/plain"
            assert attached.filename == "דוח.bin"
            assert hashlib.sha256(mail.content(attached, 10**6)).digest() == hashlib.sha256(blob).digest()
            with pytest.raises(Refused, match=r"554 5\.6\.1"):
                mail.content(attached, 1000)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('filename="a =?utf-8?B?15A=?= =?utf-8?B?15E=?= b.pdf"', "a אב b.pdf"),
        ("filename*=utf-8''%D7%9E%D7%A1%D7%9E%D7%9A.pdf", "מסמך.pdf"),
        ("filename*0*=utf-8''%D7%9E%D7%A1; filename*1*=%D7%9E%D7%9A.pdf", "מסמך.pdf"),
        ('filename="=?windows-1255?Q?=EE=F1=EE=EA?=.pdf"', "מסמך.pdf"),
        ('filename="=?iso-8859-8-i?B?7vHu6i5wZGY=?="', "מסמך.pdf"),
        ("filename*=iso-8859-8-i''%EE%F1%EE%EA.pdf", "מסמך.pdf"),
        ('filename="מסמך.pdf"', "מסמך.pdf"),
        ("filename=\"____.pdf\"; filename*=utf-8''%D7%9E%D7%A1%D7%9E%D7%9A.pdf", "מסמך.pdf"),
        ("filename*0*=utf-8''%D7%9E%D7%A1%D; filename*1*=7%9E%D7%9A.pdf", "מסמך.pdf"),
        ("filename='מסמך 7.pdf'", "מסמך 7.pdf"),
        ("filename=noname; x=y", "noname"),
        ("FileName*=utf-8''%D7%9E%D7%A1%D7%9E%D7%9A.pdf; filename=a.pdf", "מסמך.pdf"),
    ],
)
def test_file_names_in_every_spelling(tmp_path: Path, header: str, name: str) -> None:
    raw = f"Content-Type: application/pdf\nContent-Disposition: attachment; {header}\n\nx".encode()
    with open_mail(spooled(tmp_path, raw)) as mail:
        if name is None:
            assert "/" not in (mail.parts[0].filename or "")
        else:
            assert mail.parts[0].filename == name


def test_a_raw_hebrew_header_is_read(tmp_path: Path) -> None:
    raw = b"Subject: " + "שלום".encode("cp1255") + b"\n\nx"
    with open_mail(spooled(tmp_path, raw)) as mail:
        assert mail.headers.text("Subject") == "שלום"


def test_a_forwarded_mail_is_opened(tmp_path: Path) -> None:
    inner = EmailMessage()
    inner.set_content("inner")
    inner.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename="a.pdf")
    outer = EmailMessage()
    outer.set_content("outer")
    outer.add_attachment(inner)
    with open_mail(spooled(tmp_path, outer.as_bytes())) as mail:
        assert [(part.content_type, part.mail) for part in mail.parts] == [
            ("text/plain", 0),
            ("text/plain", 1),
            ("application/pdf", 1),
        ]


def nested(levels: int) -> bytes:
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (level, level) for level in range(levels))
    return head + b"Content-Type: text/plain\n\nx\n"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (nested(21), "nested"),
        (b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 101, "more than 100 parts"),
        (b"X: y\n" * 30_000 + b"\nx", "headers"),
        (b"X: " + b"y" * 200_000 + b"\n\nx", "headers"),
        (b"Content-Transfer-Encoding: x-uuencode\n\nx", "transfer encoding"),
        (b"Content-Type: multipart/mixed\n\nx", "boundary"),
        (b"Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n--b\n\nx\n--b--\n", "encoded"),
        (b"", "empty"),
    ],
)
def test_limits_are_refused_in_words(tmp_path: Path, raw: bytes, words: str) -> None:
    reply = refusal(tmp_path, raw)
    assert reply.startswith("554 5.6.0 ")
    assert words in reply


def test_what_is_just_within_the_limits_is_read(tmp_path: Path) -> None:
    with open_mail(spooled(tmp_path, nested(20))) as mail:
        assert len(mail.parts) == 1
    raw = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 99
    with open_mail(spooled(tmp_path, raw)) as mail:
        assert len(mail.parts) == 99


def test_a_longer_boundary_with_the_same_beginning_ends_nothing(tmp_path: Path) -> None:
    raw = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--bb\ntwo\nx--b\n--b--\nafter"
    with open_mail(spooled(tmp_path, raw)) as mail:
        assert [mail.content(part, 100) for part in mail.parts] == [b"one\n--bb\ntwo\nx--b"]


def split(tmp_path: Path, raw: bytes) -> list[tuple[str, bytes]]:
    with open_mail(spooled(tmp_path, raw)) as mail:
        return [(part.content_type, mail.content(part, 10**6)) for part in mail.parts]


PDF_PART = b"Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\nUERG\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"From a@b Sun Jan  4 09:12:00 2026\nFrom: a@b\n" + PDF_PART,
        b">From a@b Sun Jan  4 09:12:00 2026\nFrom: a@b\n" + PDF_PART,
        b"From: a@b\n \n" + PDF_PART,
        b"From: a@b\n\t\n" + PDF_PART,
        b"From: a@b\na line of a gateway\n" + PDF_PART,
        b"From: a@b\r\r\n" + PDF_PART.replace(b"\n", b"\r\r\n"),
        b"From: a@b\nContent-Type: multipart/mixed;\nboundary=u1\n\n--u1\n" + PDF_PART + b"--u1--\n",
        b"From: a@b\nContent-Type: multipart/mixed; boundary=1\nContent-Type: multipart/mixed; boundary=2\n\n--2\n" + PDF_PART,
        b'From: a@b\nContent-Type: multipart/mixed; boundary="a\n b"\n\n--ab\n' + PDF_PART + b"--ab--\n",
        b"From: a@b\nContent-Type: multipart/mixed; boundary=lost\n\n--found\n" + PDF_PART + b"--found--\n",
        b'From: a@b\nContent-Type: application/pdf\nContent-Transfer-Encoding: "Base64" (as PDF)\n\nUERG\n',
    ],
)
def test_header_and_boundary_are_read_though_a_program_broke_them(tmp_path: Path, raw: bytes) -> None:
    assert split(tmp_path, raw) == [("application/pdf", b"PDF")]


def test_body_that_looks_like_a_header_stays_the_body(tmp_path: Path) -> None:
    assert split(tmp_path, b"From: a@b\n\nDear Dana: hello\nFrom: x\n") == [("text/plain", b"Dear Dana: hello\nFrom: x\n")]


def test_boundary_that_begins_with_another_does_not_end_it(tmp_path: Path) -> None:
    inner = b"Content-Type: multipart/alternative; boundary=g--alt\n\n--g--alt\n\none\n--g--alt--\n"
    raw = b"From: a@b\nContent-Type: multipart/mixed; boundary=g\n\n--g\n" + inner + b"--g\n" + PDF_PART + b"--g--\n"
    assert split(tmp_path, raw) == [("text/plain", b"one"), ("application/pdf", b"PDF")]


@pytest.mark.parametrize("encoding", ["utf-8", "8-bit", '8bit"', "UTF8", "none", "8BIT (raw)", "x-made-up"])
def test_misspelt_transfer_encoding_of_a_text_is_identity(tmp_path: Path, encoding: str) -> None:
    raw = f"From: a@b\nContent-Transfer-Encoding: {encoding}\n\nhello".encode()
    assert split(tmp_path, raw) == [("text/plain", b"hello")]


def test_unknown_transfer_encoding_of_a_document_is_refused(tmp_path: Path) -> None:
    assert "x-made-up" in refusal(
        tmp_path, b"From: a@b\nContent-Type: application/pdf\nContent-Transfer-Encoding: x-made-up\n\nx"
    )


def test_mail_without_a_header_is_refused(tmp_path: Path) -> None:
    assert "no header" in refusal(tmp_path, b"hello\n\nworld")


def test_forwarded_mail_in_base64_is_opened_and_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forwarded = base64.encodebytes(b"From: c@d\n" + PDF_PART)
    raw = b"From: a@b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n" + forwarded
    assert split(tmp_path, raw) == [("application/pdf", b"PDF")]
    monkeypatch.setattr(mime, "MAX_DECODED", 10)
    assert "larger than" in refusal(tmp_path, raw)
