"""Connects to a host with several addresses (RFC 8305, Happy Eyeballs): one that never answers costs a quarter of a second."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Any, Final, TypeVar

A = TypeVar("A")
T = TypeVar("T")

# Seconds after which the next address is tried beside those that have not answered (RFC 8305 section 5).
NEXT_ADDRESS_SECONDS: Final = 0.25


async def open_socket(host: str, port: int) -> socket.socket:
    """Return a connected, non-blocking socket. Raises OSError if no address of the host can be reached. Without a time limit."""
    loop = asyncio.get_running_loop()
    try:  # a host that is an address needs no thread that resolves it
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)

    async def connect(address: tuple[Any, ...]) -> socket.socket:
        family, type_, protocol, _, sockaddr = address
        opened = socket.socket(family, type_, protocol)
        try:
            opened.setblocking(False)
            await loop.sock_connect(opened, sockaddr)
        except BaseException:
            opened.close()
            raise
        return opened

    async def close(opened: socket.socket) -> None:
        opened.close()

    return await first_connected(interleaved(found, lambda address: address[0]), connect, close)


async def first_connected(
    addresses: Sequence[A], connect: Callable[[A], Awaitable[T]], close: Callable[[T], Awaitable[None]]
) -> T:
    """Connect to each address in turn, and return the first connection that comes about; others are closed.

    The next address is tried when one fails, or has not answered for NEXT_ADDRESS_SECONDS. Raises the last error if all fail.
    """
    if len(addresses) == 1:
        return await connect(addresses[0])
    attempts: list[asyncio.Future[T]] = []
    try:
        while True:
            if len(attempts) < len(addresses):
                attempts.append(asyncio.ensure_future(connect(addresses[len(attempts)])))
            if all(attempt.done() for attempt in attempts):
                return attempts[-1].result()
            limit = NEXT_ADDRESS_SECONDS if len(attempts) < len(addresses) else None
            pending = [attempt for attempt in attempts if not attempt.done()]
            await asyncio.wait(pending, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            winner = next((attempt for attempt in attempts if _succeeded(attempt)), None)
            if winner is not None:
                await _discard([attempt for attempt in attempts if attempt is not winner], close)
                return winner.result()
    except BaseException:  # also a cancellation: no connection may stay open that nobody has
        await _discard(attempts, close)
        raise


async def _discard(attempts: Sequence[asyncio.Future[T]], close: Callable[[T], Awaitable[None]]) -> None:
    for attempt in attempts:
        attempt.cancel()
    await asyncio.gather(*attempts, return_exceptions=True)
    for attempt in attempts:
        if _succeeded(attempt):
            await close(attempt.result())


def interleaved(addresses: Iterable[A], family: Callable[[A], object]) -> list[A]:
    """Return addresses with their families in turn (RFC 8305 section 4): all of one family may be out of reach."""
    by_family: dict[object, list[A]] = {}
    for address in addresses:
        by_family.setdefault(family(address), []).append(address)
    turns = zip_longest(*([[address] for address in found] for found in by_family.values()), fillvalue=[])
    return [address for turn in turns for cell in turn for address in cell]


def _succeeded(attempt: asyncio.Future[T]) -> bool:
    return attempt.done() and not attempt.cancelled() and attempt.exception() is None
