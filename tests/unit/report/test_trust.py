"""Which mails are trusted. The DNS is a function of the test."""

from __future__ import annotations

import base64
import re
import time
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mailbridge.report.trust import is_trusted, would_pass

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


HOUR = 3600


def dns(name: bytes, timeout: float = 5) -> bytes:
    return b"v=DKIM1; k=rsa; p=" + PUBLIC


def signed(mail: bytes = MAIL, domain: bytes = b"myfax.co.il", include: list[bytes] = ALL, **more: Any) -> bytes:
    signature: bytes = dkim.sign(mail, b"s1", domain, PEM, include_headers=include, **more)
    return signature + mail


def with_tags(*tags: bytes, mail: bytes = MAIL) -> bytes:
    """Sign a mail with more tags in its signature, as another signer might."""
    made = dkim.DKIM(mail)
    plain = made.gen_header

    def more(fields: list[tuple[bytes, bytes]], *rest: Any, **named: Any) -> Any:
        added = [(name, value) for tag in tags for name, _, value in (tag.partition(b"="),)]
        return plain([*(field for field in fields if field[0] not in dict(added)), *added], *rest, **named)

    made.gen_header = more
    signature: bytes = made.sign(b"s1", b"myfax.co.il", PEM, include_headers=ALL)
    return signature + mail


def test_a_complete_signature_of_the_domain_is_trusted() -> None:
    assert is_trusted(signed(), "dkim", FROM, dns)
    assert is_trusted(signed(domain=b"mail.myfax.co.il"), "dkim", FROM, dns)
    assert is_trusted(signed(), "dkim", ("fax@myfax.co.il",), dns)
    assert is_trusted(signed(), "dkim", ("office@example.co.il", "MyFax.co.il"), dns)


@pytest.mark.parametrize("head", [b"simple", b"relaxed"])
@pytest.mark.parametrize("body", [b"simple", b"relaxed"])
def test_each_canonicalization_is_trusted_with_the_changes_that_it_allows(head: bytes, body: bytes) -> None:
    folded = MAIL.replace(b"X-Fax-Subject: a", b"X-Fax-Subject: a\r\n  long one").replace(b"body", b"two  words")
    mail = signed(folded, canonicalize=(head, body))
    assert is_trusted(mail, "dkim", FROM, dns)
    assert is_trusted(mail.replace(b"a\r\n  long", b"a \tlong"), "dkim", FROM, dns) is (head == b"relaxed")
    assert is_trusted(mail.replace(b"two  words", b"two words "), "dkim", FROM, dns) is (body == b"relaxed")
    assert is_trusted(mail.replace(b"\r\n", b"\n"), "dkim", FROM, dns)
    assert not is_trusted(mail.replace(b"long", b"longer"), "dkim", FROM, dns)


@pytest.mark.parametrize(
    ("tags", "trusted"),
    [
        ([b"x=%d" % (time.time() + HOUR)], True),
        ([b"t=%d" % (time.time() - 30 * HOUR), b"x=%d" % (time.time() - 20 * HOUR)], False),
        ([b"t=%d" % (time.time() - 2 * HOUR), b"x=%d" % (time.time() - HOUR)], False),
        ([b"x=" + b"9" * 5000], False),
        ([b"t=%d" % (time.time() + 20 * HOUR)], False),
        ([b"l=0"], False),
        ([b"l=4"], False),
        ([b"i=@evil.example"], False),
        ([b"v=2"], False),
    ],
)
def test_an_expired_signature_and_one_over_half_the_body_are_not_trusted(tags: list[bytes], trusted: bool) -> None:
    assert is_trusted(with_tags(*tags), "dkim", FROM, dns) is trusted


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(MAIL, id="forged headers without a signature"),
        pytest.param(signed().replace(b"Status: Success", b"Status: Fail"), id="a changed header"),
        pytest.param(signed().replace(b"body", b"other"), id="a changed body"),
        pytest.param(signed() + b"more", id="a longer body"),
        pytest.param(signed(domain=b"evil.example"), id="DKIM of another domain"),
        pytest.param(signed(domain=b"notmyfax.co.il"), id="DKIM of a domain that ends alike"),
        pytest.param(signed(domain=b"co.il"), id="DKIM of the domain above"),
        pytest.param(signed(domain=rb"evil\.myfax.co.il"), id="DKIM of a domain with a dot in a label"),
        pytest.param(signed(include=ALL[:-1]), id="an X-Fax header not signed"),
        pytest.param(signed(include=[b"from", *ALL[2:]]), id="Subject not signed"),
        pytest.param(signed(length=True), id="l="),
        pytest.param(signed(signature_algorithm=b"rsa-sha1"), id="SHA-1"),
        pytest.param(b"X-Fax-Other: x\r\n" + signed(), id="an X-Fax header added"),
        pytest.param(b"X-Fax-Status: Fail\r\n" + signed(), id="doubled X-Fax headers"),
        pytest.param(signed().replace(b"X-Fax-Subject: a", b"X-Fax-Subject: a\r\nx-fax-status: Fail"), id="doubled below"),
        pytest.param(b"From: MyFax <fax@myfax.co.il>\r\n" + signed(), id="two From"),
        pytest.param(b"Subject: other\r\n" + signed(), id="two Subject"),
        pytest.param(signed(MAIL.replace(b"fax@myfax.co.il", b"fax@evil.example")), id="From of another domain"),
        pytest.param(signed(MAIL.replace(b"<fax@myfax.co.il>", b"<fax@myfax.co.il>, <x@evil.example>")), id="From with two"),
        pytest.param(signed(MAIL.replace(b"MyFax <fax@myfax.co.il>", b'"fax@myfax.co.il" <x@evil.example>')), id="From's name"),
        pytest.param(
            signed(MAIL.replace(b": fax", b": fax\rX-Fax-Note: x"), include=[*ALL, b"x-fax-note"]), id="a header behind a bare CR"
        ),
        pytest.param(signed().replace(b"Subject: fax", b"Subject: fax\r\nno header"), id="a line that is no header"),
        pytest.param(re.sub(rb"h=[^;]*;", b"h=;", signed()), id="h= of nothing"),
        pytest.param(b"DKIM-Signature: \r\n" * 5 + signed(), id="too many signatures"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_forged_or_incompletely_signed_mail_is_not_trusted(forged: bytes) -> None:
    assert not is_trusted(forged, "dkim", FROM, dns)


def test_a_signature_of_one_sender_does_not_count_for_another() -> None:
    both = ("myfax.co.il", "fax@other.example")
    assert not is_trusted(signed(domain=b"other.example"), "dkim", both, dns)
    mine = MAIL.replace(b"fax@myfax.co.il", b"fax@other.example")
    assert is_trusted(signed(mine, domain=b"other.example"), "dkim", both, dns)
    assert not is_trusted(signed(mine.replace(b"fax@other", b"you@other"), domain=b"other.example"), "dkim", both, dns)
    head = b"Authentication-Results: mx.example.co.il; dkim=pass header.d=other.example\r\n"
    assert is_trusted(head + mine, "authserv:mx.example.co.il", both)
    assert not is_trusted(head + MAIL, "authserv:mx.example.co.il", both)


def test_a_signature_that_cannot_be_verified_does_not_hide_a_good_one() -> None:
    elliptic = b"DKIM-Signature: v=1; a=ed25519-sha256; d=myfax.co.il; s=s2; c=simple/simple;\r\n h=%s; bh=eA==; b=eA==\r\n"
    others = elliptic % b":".join(ALL) + signed(domain=b"evil.example").partition(b"From:")[0]
    assert is_trusted(others + signed(), "dkim", FROM, dns)


def test_the_key_is_looked_up_below_the_signers_domain() -> None:
    asked = []

    def resolver(name: bytes, timeout: float = 5) -> bytes:
        asked.append(name)
        return dns(name)

    assert is_trusted(signed(domain=b"mail.myfax.co.il"), "dkim", FROM, resolver)
    assert not is_trusted(signed(domain=b"evil.example"), "dkim", FROM, resolver)
    assert asked == [b"s1._domainkey.mail.myfax.co.il."]


@pytest.mark.parametrize("record", [b"v=DKIM1; p=", b"v=DKIM2; p=" + PUBLIC, b"v=DKIM1; p=!", b"", b"p=" + PUBLIC[:-40]])
def test_with_a_revoked_or_broken_key_nothing_is_trusted(record: bytes) -> None:
    assert not is_trusted(signed(), "dkim", FROM, lambda name, timeout=5: record)


def test_without_an_answer_of_the_dns_nothing_is_trusted() -> None:
    def silent(name: bytes, timeout: float = 5) -> bytes:
        raise TimeoutError

    assert not is_trusted(signed(), "dkim", FROM, silent)
    assert not is_trusted(signed(), "dkim", FROM, lambda name, timeout=5: None)


@pytest.mark.parametrize(
    ("results", "trusted"),
    [
        (["mx.example.co.il; dkim=pass header.d=myfax.co.il"], True),
        (["MX.example.co.il 1; spf=fail; dkim = pass (2048-bit; key) header.i=@x header.d=mail.myfax.co.il"], True),
        (["mx.example.co.il; dkim=fail header.d=evil.example; dkim=pass header.d=myfax.co.il"], True),
        (["mx.google.com;\r\n       dkim=pass header.i=@myfax.co.il header.s=s1 header.b=x; spf=pass smtp.mailfrom=a@b"], False),
        (["mx.example.co.il;\r\n\tdkim=pass header.i=fax@myfax.co.il header.s=s1 header.b=x; spf=pass smtp.mailfrom=a@b"], True),
        (["mx.example.co.il; dkim=pass header.i=@evil.example header.s=myfax.co.il"], False),
        (["mx.example.co.il; dkim=pass header.i=@myfax.co.il header.d=evil.example"], False),
        (['mx.example.co.il; dkim=pass header.i="x header.d=myfax.co.il"@evil.example'], False),
        (["mx.example.co.il 2; dkim=pass header.d=myfax.co.il"], False),
        (["mx.example.co.il (ours; dkim=pass) 1 (one); dkim=pass (good) header.d=myfax.co.il (ours)"], True),
        (['"mx.example.co.il"; dkim=pass header.d=myfax.co.il'], True),
        (["evil.example mx.example.co.il; dkim=pass header.d=myfax.co.il"], False),
        (["mx.example.co.il; spf=pass smtp.mailfrom=myfax.co.il; dmarc=pass header.from=myfax.co.il"], False),
        (["mx.example.co.il; dkim=pass"], False),
        (["dkim=pass header.d=myfax.co.il; mx.example.co.il; dkim=pass header.d=myfax.co.il"], False),
        (["mx.example.co.il; dkim=fail header.d=myfax.co.il"], False),
        (["mx.example.co.il; dkim=pass header.d=evil.example"], False),
        (["mx.example.co.il; dkim=pass header.d=evil.example header.d=myfax.co.il"], False),
        (["mx.example.co.il; dkim=pass header.d=myfax.co.il header.d=evil.example"], False),
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
def test_only_the_topmost_result_of_our_own_server_is_trusted(results: list[str], trusted: bool) -> None:
    head = "".join(f"Authentication-Results: {result}\r\n" for result in results)
    assert is_trusted(head.encode() + MAIL, "authserv:mx.example.co.il", FROM) is trusted


def test_a_second_forged_authentication_results_is_ignored() -> None:
    ours = b"Authentication-Results: mx.example.co.il; dkim=none\r\n"
    forged = b"Authentication-Results: mx.example.co.il; dkim=pass header.d=myfax.co.il\r\n"
    assert not is_trusted(ours + forged + MAIL, "authserv:mx.example.co.il", FROM)
    assert not is_trusted(ours + MAIL.replace(b"Subject", forged + b"Subject"), "authserv:mx.example.co.il", FROM)
    assert is_trusted(forged + ours + MAIL, "authserv:mx.example.co.il", FROM)


@pytest.mark.parametrize("twice", [b"X-Fax-Status: Fail\r\n", b"From: a@evil.example\r\n", b"Subject: b\r\n"])
def test_repeated_fields_are_not_trusted_with_authserv_either(twice: bytes) -> None:
    head = b"Authentication-Results: mx.example.co.il; dkim=pass header.d=myfax.co.il\r\n"
    assert is_trusted(head + MAIL, "authserv:mx.example.co.il", FROM)
    assert not is_trusted(head + twice + MAIL, "authserv:mx.example.co.il", FROM)


def test_would_pass_lists_the_trust_settings_that_a_mail_passes() -> None:
    head = b"Authentication-Results: mx.example.co.il; dkim=pass header.d=myfax.co.il\r\n"
    assert would_pass(head + signed(), FROM, dns) == ["dkim", "authserv:mx.example.co.il"]
    assert would_pass(head + MAIL, FROM, dns) == ["authserv:mx.example.co.il"]
    assert would_pass(head.replace(b"mx.example.co.il; ", b"") + signed(), FROM, dns) == ["dkim"]
    assert would_pass(b"Authentication-Results: spf=pass; dkim=pass header.d=myfax.co.il\r\n" + MAIL, FROM, dns) == []
    assert would_pass(MAIL, FROM, dns) == []
    assert would_pass(b"\r" + head + signed(), FROM, dns) == []


def test_from_must_be_a_configured_sender_also_with_authserv() -> None:
    head = b"Authentication-Results: mx.example.co.il; dkim=pass header.d=myfax.co.il\r\n"
    assert not is_trusted(head + MAIL.replace(b"fax@myfax", b"fax@evil"), "authserv:mx.example.co.il", FROM)


def test_settings_may_have_blanks_and_an_at_sign() -> None:
    vouched = b"Authentication-Results: mx.example.com; dkim=pass header.d=myfax.co.il\r\n" + MAIL
    assert is_trusted(vouched, "authserv: mx.example.com ", FROM)
    assert is_trusted(signed(), "dkim", ("@MyFax.co.il.",), dns)
    assert not is_trusted(signed(), "dkim", ("@fax.co.il",), dns)


def test_trust_none_trusts_every_mail() -> None:
    assert is_trusted(b"", "none", FROM)
