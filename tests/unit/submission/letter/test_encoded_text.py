"""Texts that nobody can read are told apart from those that are only odd."""

from __future__ import annotations

import base64
import binascii
from random import Random

import pytest

from mailbridge.submission.letter.encoded_text import find_encoded
from tests.work_counter import hang_guard

BYTES = Random(2).randbytes(2000)
BASE64 = base64.b64encode(BYTES).decode()
UU = "".join(binascii.b2a_uu(BYTES[at : at + 45]).decode() for at in range(0, 450, 45))
BINHEX = """:$f*TEQKPH#jbAh3ZR0"dC3!3!!*!%!3!!*!i!!"#$%&'()*+,-012345689@ABCD
$f*TEQKPH#jbAh3ZR0"dC3!3!*!%!3!!*!i!!"#$%&'()*+,-012345689@ABCDE
$f*TEQKPH#jbAh3ZR0"dC3!3!*!%!3!!*!i!!"#$%&'()*+,-012345689@ABCDE
$f*TEQKPH#jbAh3ZR0"dC3!3!*!%!3!!*!i!!"#$%&'()*+,-012345689@ABCDE
"""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (base64.encodebytes(BYTES).decode(), "base64"),
        ("\n".join(BASE64[at : at + 60] for at in range(0, 300, 60)), "base64"),
        (f"see {BASE64[:1200]} above", "base64"),
        (UU, "uuencode"),
        (BINHEX, "BinHex"),
        ("(This file must be converted with BinHex 4.0)\n", "BinHex"),
        ("=ybegin line=128 size=5 name=a\n", "yEnc"),
        ("Content-Type: x/y\nContent-Transfer-Encoding: base64\n", "source of a mail"),
        ("content-transfer-encoding:QUOTED-PRINTABLE\n", "source of a mail"),
        ("-----BEGIN PGP MESSAGE-----\n\nhQ\n", "PGP"),
        ("=D7=A9=D7=9C=D7=95=D7=9D " * 6, "quoted-printable"),
    ],
)
def test_text_that_nobody_can_read_is_named(text: str, what: str) -> None:
    assert what in (find_encoded(f"hello\n{text}") or "")
    assert what in (find_encoded(text) or "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Please send the header Content-Transfer-Encoding: base64 next time.",
        "> Content-Transfer-Encoding: base64\n> JVBERi0xLjQK\n",
        "-" * 80 + "\n" + "=" * 80 + "\n" + "A" * 80 + "\n" + "_" * 80,
        ("a" * 70 + "\n") * 5,
        f"key: {BASE64[:300]}\n",
        (BASE64[:64] + "\n") * 3,
        "https://example.com/" + "abc123-/" * 200,
        "=D7=A9=D7=9C is the word",
        "MASTER AGREEMENT\nMEMORANDUM\nMINUTES\nMOTION\n",
        "שלום רב, מצורפת ההזמנה. " * 100,
    ],
)
def test_text_that_is_only_odd_is_read(text: str) -> None:
    assert find_encoded(text) is None


LONG = "A" * 60
PIECES = ["A" * 59 + "\n", f"{LONG}\n" * 3 + "x\n", "=AA" * 5, " ", "\n", f":{LONG}", f"M{LONG}\n", "A" * 999 + "-"]


@pytest.mark.parametrize("piece", PIECES)
def test_search_in_a_long_text_ends(piece: str) -> None:
    with hang_guard():
        find_encoded(piece * (1_000_000 // len(piece)))
