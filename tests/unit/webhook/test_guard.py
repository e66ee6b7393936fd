"""Which addresses a webhook may reach."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from mailbridge.webhook.guard import client, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1",
        "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "::",
    ],
)  # fmt: skip
def test_addresses_inside_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_outside_are_not(address: str) -> None:
    assert is_public(address)


def test_a_name_is_judged_by_every_address_it_resolves_to_when_connecting() -> None:
    async def rebinding(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "127.0.0.1"]

    async def main() -> None:
        async with client(False, 5, rebinding) as http:
            with pytest.raises(httpx.ConnectError, match="not a public address"):
                await http.post("https://crm.example.co.il/")

    asyncio.run(main())
