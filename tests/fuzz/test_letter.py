"""Reading a mail of any bytes returns a letter or raises Refused, and nothing else."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.errors import Refused
from mailbridge.submission.file_name import MAX_NAME, safe_name
from mailbridge.submission.letter_parser import read_letter

PIECES = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"--b\n",
        b"--b--\n",
        b"Content-Type: multipart/mixed; boundary=b\n",
        b"Content-Type: message/rfc822\n",
        b"Content-Type: application/pdf; name=a.pdf\n",
        b"Content-Type: image/tiff\nContent-ID: <c>\n",
        b"Content-Type: text/html; charset=utf-7\n\n<img src=cid:c>\n",
        b"Content-Transfer-Encoding: base64\n",
        b"Content-Transfer-Encoding: quoted-printable\n",
        b"Content-Disposition: attachment; filename*0*=utf-8''%ff; filename*99*=x\n",
        b"Subject: =?utf-7?Q?+2AA-?=\n",
        b"From: (((a@b.co\n",
        b"X-Mailbridge-Tag: k=v\n",
        b"JVBERi0=\n",
        b"II*\x00\x08\x00\x00\x00\x01\x00",
    ]
)


@settings(max_examples=300)
@given(st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=25))
def test_a_mail_is_read_or_refused(pieces: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "m.eml").write_bytes(b"".join(pieces))
        try:
            documents, reply = read_letter(Path(directory), "m.eml", "never").documents, ""
        except Refused as refused:
            documents, reply = (), refused.reply
    assert not reply or re.fullmatch(r"554 5\.6\.[01] [^\r\n]+", reply)
    assert all(document.size and document.length for document in documents)


@given(st.one_of(st.none(), st.text()))
def test_a_name_is_never_a_path(raw: str | None) -> None:
    name = safe_name(raw, "fallback")
    assert 0 < len(name) <= MAX_NAME
    assert name not in (".", "..")
    assert not re.search(r"[/\\\x00-\x1f\u202a-\u202e]", name)
