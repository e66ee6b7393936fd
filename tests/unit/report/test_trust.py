"""Who is believed. The DNS is a function of the test."""

from __future__ import annotations

import base64
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mailbridge.report.trust import is_trusted

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
PUBLIC = base64.b64encode(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
MAIL = b"\r\n".join(
    [
        b"From: MyFax <fax@myfax.co.il>",
        b"To: office@example.co.il",
        b"Subject: fax",
        b"X-Fax-Status: Success",
        b"X-Fax-Status-Code: 9",
        b"X-Fax-Subject: a",
        b"",
        b"body",
        b"",
    ]
)
ALL = [b"from", b"subject", b"x-fax-status", b"x-fax-status-code", b"x-fax-subject"]
FROM = ("myfax.co.il",)


def dns(name: bytes, timeout: float = 5) -> bytes:
    return b"v=DKIM1; k=rsa; p=" + PUBLIC


def signed(mail: bytes = MAIL, domain: bytes = b"myfax.co.il", include: list[bytes] = ALL, **more: Any) -> bytes:
    signature: bytes = dkim.sign(mail, b"s1", domain, PEM, include_headers=include, **more)
    return signature + mail


def test_a_whole_signature_of_the_domain_is_believed() -> None:
    assert is_trusted(signed(), "dkim", FROM, dns)
    assert is_trusted(signed(domain=b"mail.myfax.co.il"), "dkim", FROM, dns)
    assert is_trusted(signed(), "dkim", ("fax@myfax.co.il",), dns)


@pytest.mark.parametrize(
    "forged",
    [
        MAIL,
        signed().replace(b"Status: Success", b"Status: Fail"),
        signed().replace(b"body", b"other"),
        signed(domain=b"evil.example"),
        signed(domain=b"notmyfax.co.il"),
        signed(include=ALL[:-1]),
        signed(include=[b"from", *ALL[2:]]),
        signed(length=True),
        signed(signature_algorithm=b"rsa-sha1"),
        b"X-Fax-Other: x\r\n" + signed(),
        b"From: MyFax <fax@myfax.co.il>\r\n" + signed(),
        b"Subject: other\r\n" + signed(),
        signed(MAIL.replace(b"fax@myfax.co.il", b"fax@evil.example")),
        signed(MAIL.replace(b"<fax@myfax.co.il>", b"<fax@myfax.co.il>, <x@evil.example>")),
    ],
)
def test_anything_less_is_not(forged: bytes) -> None:
    assert not is_trusted(forged, "dkim", FROM, dns)


def test_a_silent_dns_trusts_nobody() -> None:
    def silent(name: bytes, timeout: float = 5) -> bytes:
        raise TimeoutError

    assert not is_trusted(signed(), "dkim", FROM, silent)
    assert not is_trusted(signed(), "dkim", FROM, lambda name, timeout=5: None)


@pytest.mark.parametrize(
    ("results", "believed"),
    [
        (["mx.example.co.il; dkim=pass header.d=myfax.co.il"], True),
        (["MX.example.co.il 1; spf=fail; dkim = pass (2048-bit; key) header.i=@x header.d=mail.myfax.co.il"], True),
        (["mx.example.co.il; dkim=fail header.d=myfax.co.il"], False),
        (["mx.example.co.il; dkim=pass header.d=evil.example"], False),
        (["mx.example.co.il; dkim=pass header.d=evil.example header.d=myfax.co.il"], False),
        (["mx.example.co.il; dkim=fail (; dkim=pass header.d=myfax.co.il)"], False),
        (['mx.example.co.il; spf=pass smtp.mailfrom="a; dkim=pass header.d=myfax.co.il"'], False),
        (["mx.example.co.il; none", "mx.example.co.il; dkim=pass header.d=myfax.co.il"], False),
        (["other.example; none", "mx.example.co.il; dkim=pass header.d=myfax.co.il"], False),
        (["mx.example.co.il.evil; dkim=pass header.d=myfax.co.il"], False),
        (["mx.example.co.il; (dkim=pass header.d=myfax.co.il"], False),
        ([""], False),
        ([], False),
    ],
)
def test_our_own_server_is_believed_in_its_topmost_word(results: list[str], believed: bool) -> None:
    head = "".join(f"Authentication-Results: {result}\r\n" for result in results)
    assert is_trusted(head.encode() + MAIL, "authserv:mx.example.co.il", FROM) is believed


def test_from_must_be_the_configured_one_also_with_authserv() -> None:
    head = b"Authentication-Results: mx.example.co.il; dkim=pass header.d=myfax.co.il\r\n"
    assert not is_trusted(head + MAIL.replace(b"fax@myfax", b"fax@evil"), "authserv:mx.example.co.il", FROM)


def test_a_mailbox_that_nobody_else_can_reach_is_believed() -> None:
    assert is_trusted(b"", "none", FROM)
