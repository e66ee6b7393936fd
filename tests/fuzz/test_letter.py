"""Reading a mail of any bytes returns a letter or raises Refused, and nothing else."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.errors import Refused
from mailbridge.submission.letter.file_name import MAX_NAME, safe_name
from mailbridge.submission.letter.parser import read_letter
from mailbridge.submission.letter_reader import checked_letter
from mailbridge.submission.worker_protocol import Response
from tests.unit.submission.letter import tnef_writer as writer

WINMAIL = writer.stream(
    writer.text("hello"), writer.attachment("a.txt", b"text"), writer.attachment("b.png", b"\x89PNG\r\n\x1a\n", writer.HIDDEN)
)
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
        b"Content-Type: multipart/alternative; boundary=b\n",
        b"Content-Type: text/rtf\n\n{\\rtf1 x}\n",
        b"Content-Type: text/plain; charset=windows-1255; format=flowed\n",
        b"Content-Disposition: inline; filename=a.txt\n\n\xf9\xec\n",
        b"Content-Type: application/ms-tnef; name=winmail.dat\n\n" + WINMAIL,
        b"Content-Type: application/octet-stream; name=a.eml\n",
        b"Content-Type: message/partial\n",
        b"\nbegin 644 a.pdf\n#86)C\n`\nend\n",
        b"begin 644 a\n",
        b"<img src='data:image/gif;base64," + b"R0lGODlh" * 40 + b"'>",
        b"GIF89a\x20\x03\x20\x03\x80\x00\x00",
    ]
)


@settings(max_examples=300)
@given(st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=25), st.sampled_from(["never", "always"]), st.booleans())
def test_a_mail_is_read_or_refused(pieces: list[bytes], page_mode: str, line_ends_changed: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "m.eml").write_bytes(b"".join(pieces))
        try:
            letter = read_letter(Path(directory) / "m.eml", "m.eml", page_mode, line_ends_changed=line_ends_changed)
        except Refused as refused:
            letter, reply = None, refused.reply
    if letter is None:
        assert re.fullmatch(r"554 5\.6\.[01] [^\r\n]{1,600}", reply)
        return
    # The daemon accepts what the worker returns.
    assert checked_letter(Response(letter=letter), "m.eml") == letter
    assert sum(document.length for document in letter.documents if document.path == "m.derived") == len(letter.derived)
    assert all(document.size and document.length for document in letter.documents)


@given(st.one_of(st.none(), st.text()))
def test_a_name_is_never_a_path(raw: str | None) -> None:
    name = safe_name(raw, "fallback")
    assert 0 < len(name) <= MAX_NAME
    assert name not in (".", "..")
    assert not re.search(r"[/\\\x00-\x1f\u202a-\u202e]", name)
