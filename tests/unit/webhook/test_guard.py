"""Which addresses a webhook may reach."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import httpcore
import httpx
import pytest

from mailbridge.webhook.guard import GuardedBackend, guarded_transport, is_public, resolve


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1",
        "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "::",
        "64:ff9b:1::7f00:1", "::127.0.0.1", "::ffff:0:10.0.0.1", "fec0::1", "ff0e::1", "5f00::1", "2001:db8::1",
    ],
)  # fmt: skip
def test_private_addresses_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_accepted(address: str) -> None:
    assert is_public(address)


def test_every_address_of_a_name_is_checked_when_connecting() -> None:
    async def rebinding(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "127.0.0.1"]

    async def main() -> None:
        async with httpx.AsyncClient(transport=guarded_transport(False, rebinding)) as http:
            with pytest.raises(httpx.ConnectError, match="not a public address"):
                await http.post("https://crm.example.co.il/")

    asyncio.run(main())


class Recorder(httpcore.AsyncNetworkBackend):
    """Records which addresses are connected to, and refuses some."""

    def __init__(self, *refused: str) -> None:
        self.met: list[str] = []
        self._refused = refused

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        self.met.append(host)
        if host in self._refused:
            raise httpcore.ConnectError("no route")
        return httpcore.AsyncMockStream([])


def test_a_rebinding_host_is_connected_by_the_address_that_was_checked() -> None:
    answers = [["8.8.8.8"], ["127.0.0.1"]]

    async def rebinding(host: str, port: int) -> list[str]:
        return answers.pop(0)

    async def main() -> None:
        backend = GuardedBackend(rebinding)
        backend._backend = recorder = Recorder()
        await backend.connect_tcp("crm.example.co.il", 443)
        with pytest.raises(httpcore.ConnectError, match="not a public address"):
            await backend.connect_tcp("crm.example.co.il", 443)
        assert (recorder.met, answers) == (["8.8.8.8"], [])

    asyncio.run(main())


def test_an_unreachable_address_leaves_time_for_the_others() -> None:
    async def both(host: str, port: int) -> list[str]:
        return ["2606:4700::1111", "8.8.8.8", "8.8.8.8"]

    async def main() -> None:
        backend = GuardedBackend(both)
        backend._backend = recorder = Recorder("2606:4700::1111")
        await backend.connect_tcp("crm.example.co.il", 443, 5)
        assert recorder.met == ["2606:4700::1111", "8.8.8.8"]

    asyncio.run(main())


def test_a_hanging_resolver_is_queried_once_and_ends_with_the_connect_timeout() -> None:
    asked = 0

    async def hanging(host: str, port: int) -> list[str]:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        return []

    async def main() -> None:
        backend = GuardedBackend(hanging)
        tries = [backend.connect_tcp("crm.example.co.il", 443, 0.05) for _ in range(8)]
        found = await asyncio.gather(*tries, return_exceptions=True)
        assert {str(error) for error in found} == {"crm.example.co.il has no address (no answer)"}
        assert asked == 1

    asyncio.run(main())


def test_names_are_resolved_outside_the_event_loops_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def getaddrinfo(*_: object, **__: object) -> list[Any]:
        threads.append(threading.current_thread())
        raise socket.gaierror(-2, "Name or service not known")

    async def main() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(socket, "getaddrinfo", getaddrinfo)
            with pytest.raises(OSError, match="not known"):
                await resolve("crm.example.co.il", 443)
        assert [thread.daemon for thread in threads] == [True]
        assert "127.0.0.1" in await resolve("localhost", 443)

    asyncio.run(main())


def test_an_invalid_name_has_no_address() -> None:
    with pytest.raises(OSError):  # noqa: PT011
        asyncio.run(resolve("a" * 80 + ".example.co.il", 443))


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")

    async def inside(host: str, port: int) -> list[str]:
        return ["10.0.0.1"]

    async def main() -> None:
        async with guarded_transport(False, inside) as http:
            with pytest.raises(httpx.ConnectError, match=r"crm\.example\.co\.il is not a public address"):
                await http.handle_async_request(httpx.Request("POST", "https://crm.example.co.il/"))

    asyncio.run(main())


@pytest.mark.parametrize(
    "address",
    [
        "192.88.99.1",
        "192.0.0.8",
        "192.0.0.9",
        "192.0.0.255",
        "3fff::1",
        "3fff:fff:ffff::1",
        "::ffff:192.88.99.1",
        "2002:c058:6301::1",
    ],
)
def test_attack_18_addresses_that_nobody_routes_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        # Loopback in the spellings that a resolver reads.
        *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001"),
        *(
            "localhost",
            "LOCALHOST",
            "0",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
        ),
        *("[::ffff:127.0.0.1]", "user@127.0.0.1", "crm.example.co.il@127.0.0.1", "user:pw@[::1]"),
        # The clouds' metadata, private networks, and what leads into them.
        *(
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "10.0.0.1",
            "167772161",
            "172.31.255.255",
        ),
        *(
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "224.0.0.1",
            "255.255.255.255",
            "[fc00::1]",
            "[::127.0.0.1]",
        ),
        *("[64:ff9b::a00:1]", "[2002:a00:1::]", "[2001:0:7f00:1::80ff:fffe]", "[::ffff:0:127.0.0.1]"),
    ],
)
def test_held_no_spelling_of_an_inner_address_is_connected_to(host: str) -> None:
    """The addresses are read by the system's own resolver, as in a webhook's URL."""

    async def main() -> None:
        async with guarded_transport(False) as http:
            backend: Any = http._pool._network_backend  # the guard of these connections
            backend._backend = recorder = Recorder()
            with pytest.raises((httpx.ConnectError, httpx.InvalidURL), match=r"not a public address|has no address|Invalid"):
                await http.handle_async_request(httpx.Request("POST", f"https://{host}/"))
            assert recorder.met == []

    asyncio.run(main())


@pytest.mark.parametrize("inner", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:10.0.0.1", "169.254.169.254"])
@pytest.mark.parametrize("first", [True, False])
def test_held_a_name_with_one_inner_address_among_public_ones_is_not_connected_to(inner: str, first: bool) -> None:
    async def mixed(host: str, port: int) -> list[str]:
        return [inner, "8.8.8.8", "2606:4700::1111"] if first else ["8.8.8.8", "2606:4700::1111", inner]

    async def main() -> None:
        backend = GuardedBackend(mixed)
        backend._backend = recorder = Recorder()
        with pytest.raises(httpcore.ConnectError, match="not a public address"):
            await backend.connect_tcp("crm.example.co.il", 443)
        assert recorder.met == []

    asyncio.run(main())


@pytest.mark.parametrize("address", ["192.88.98.1", "192.0.1.1", "3ffe:ffff::1", "2600::1"])
def test_attack_18_their_neighbours_are_public(address: str) -> None:
    assert is_public(address)
