"""From which addresses a document is downloaded."""

from __future__ import annotations

import asyncio

import pytest

from mailbridge.report.document_download import Documents, NotFetched


def is_ours(url: str, service: str) -> bool:
    async def main() -> bool:
        async with Documents(service) as documents:
            try:
                documents._check_url(url)
            except NotFetched:
                return False
            return True

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://www.myfax.co.il/a", True),
        ("https://files.myfax.co.il:443/a", True),
        ("https://myfax.co.il/a", True),
        ("https://www.myfax.co.il:8443/a", False),
        ("https://files.myfax.co.il:22/a", False),
        ("https://files.myfax.co.il:80/a", False),
        ("http://www.myfax.co.il/a", False),
        ("http://www.myfax.co.il:443/a", False),
        ("https://myfax.co.il.evil.example/a", False),
        ("https://evilmyfax.co.il/a", False),
        ("https://user@www.myfax.co.il/a", False),
        ("https://evil.example#.myfax.co.il", False),
        ("https://127.0.0.1/a", False),
        ("file:///etc/passwd", False),
        ("https://[::1]/a", False),
        ("//www.myfax.co.il/a", False),
        ("https://www.myfax.co.il:pw@evil.example/a", False),
        ("https://www.myfax.co.il@evil.example/a", False),
        ("https://evil.example/www.myfax.co.il", False),
        ("https://evil.example?.myfax.co.il", False),
        ("https://evil.example\\.myfax.co.il/a", False),
        ("https://evil.example%2f.myfax.co.il/a", False),
        ("https://evil.example%00.myfax.co.il/a", False),
        ("https://myfax.co.il%2eevil.example/a", False),
        ("https://myfax。co.il。evil.example/a", False),
        ("https://localhost/a", False),
        ("https://127.1/a", False),
        ("ftp://www.myfax.co.il/a", False),
        ("gopher://www.myfax.co.il/a", False),
        ("data:application/pdf,x", False),
        ("https:///a", False),
        ("https://", False),
        ("", False),
    ],
)
def test_attack_18_documents_come_from_the_usual_port_of_myfax(url: str, allowed: bool) -> None:
    assert is_ours(url, "https://www.myfax.co.il/action/") is allowed


def test_attack_18_a_service_on_a_port_of_its_own_may_serve_documents_there() -> None:
    assert is_ours("https://fax.example:8443/a", "https://fax.example:8443/action/")
    assert is_ours("https://fax.example/a", "https://fax.example:8443/action/")
    assert not is_ours("https://fax.example:9000/a", "https://fax.example:8443/action/")
    assert is_ours("http://127.0.0.1:1234/a", "http://localhost:4321/action/")
