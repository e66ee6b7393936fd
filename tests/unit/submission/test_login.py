"""AUTH PLAIN and LOGIN: the user name and the password, by the command itself or by challenges."""

from __future__ import annotations

import asyncio
from base64 import b64encode

import pytest

from mailbridge.errors import Refused
from mailbridge.submission.login import check_syntax, read_credentials


def credentials(arg: str, *answers: bytes) -> tuple[tuple[str, bytes], list[bytes]]:
    """Return what AUTH yields when the client gives these answers, and the challenges that it got."""
    challenges, left = list[bytes](), list(answers)

    async def challenge(text: bytes) -> bytes:
        challenges.append(text)
        return left.pop(0) + b"\r\n"

    return asyncio.run(read_credentials(arg, challenge)), challenges


def encoded(text: bytes) -> str:
    return b64encode(text).decode()


@pytest.mark.parametrize("mechanism", ["PLAIN", "plain"])
def test_plain_with_and_without_an_initial_response(mechanism: str) -> None:
    response = encoded("\0דנה\0a b".encode())
    expected = ("דנה", b"a b")
    assert credentials(f"{mechanism} {response}") == (expected, [])
    assert credentials(mechanism, response.encode()) == (expected, [b""])


def test_login_with_and_without_an_initial_response() -> None:
    name, password = encoded(b"anna"), encoded(b"secret").encode()
    assert credentials("LOGIN", name.encode(), password) == (("anna", b"secret"), [b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6"])
    assert credentials(f"LOGIN {name}", password) == (("anna", b"secret"), [b"UGFzc3dvcmQ6"])


@pytest.mark.parametrize(
    ("arg", "answers"),
    [
        ("PLAIN", [b"*"]),
        ("PLAIN =", []),
        ("PLAIN !!!", []),
        (f"PLAIN {encoded(b'anna')}", []),
        (f"PLAIN {encoded(bytes([0, 0xFF, 0, 1]))}", []),
        ("LOGIN", [encoded(b"anna").encode(), b"*"]),
    ],
)
def test_invalid_or_cancelled_authentication_is_refused(arg: str, answers: list[bytes]) -> None:
    with pytest.raises(Refused, match=r"^501 5\.5\.2 "):
        credentials(arg, *answers)


@pytest.mark.parametrize(("arg", "code"), [(None, "501"), ("PLAIN a b", "501"), ("CRAM-MD5", "504")])
def test_syntax_of_auth_is_checked_before_the_credentials(arg: str | None, code: str) -> None:
    with pytest.raises(Refused, match=f"^{code} 5\\.5\\.4 "):
        check_syntax(arg)
    check_syntax("login")
