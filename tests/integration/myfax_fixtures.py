"""Calls of the MyFax client in tests: to the simulator, and to a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from mailbridge.demo.simulator import Simulator
from mailbridge.errors import MyFaxError
from mailbridge.myfax import MyFax, Upload
from tests.integration.scripted_servers import (
    PASSWORD,
    RawServer,
    Script,
    upload,
)
from tests.wait_helpers import PATIENCE


async def send_one(
    url: str, timeout: float = PATIENCE, documents: tuple[Upload, ...] = (), **options: Any
) -> tuple[Any, list[str]]:
    """Send one fax; return the answer or the error, and `["whole"]` if `before_last_chunk` was called."""
    marks: list[str] = []

    async def mark() -> None:
        marks.append("whole")

    async with MyFax("office@example.co.il", SecretStr(PASSWORD), url, timeout) as myfax:
        try:
            got: Any = await myfax.send("03-9876543", documents or (upload(),), before_last_chunk=mark, **options)
        except MyFaxError as error:
            got = error
    return got, marks


def send_to(script: Script, timeout: float = PATIENCE, **options: Any) -> tuple[Any, list[str], RawServer]:
    async def main() -> tuple[Any, list[str], RawServer]:
        async with RawServer(script) as server:
            got, marks = await send_one(server.url, timeout, **options)
        assert not server.faults, server.faults
        return got, marks, server

    return asyncio.run(main())


def everything_in(error: BaseException | None) -> str:
    """Return all text in an error and in its causes."""
    text = ""
    while error is not None:
        text += f"{error!s} {error!r} {error.args!r} "
        error = error.__cause__ or error.__context__
    return text


@asynccontextmanager
async def simulator_and_client(password: str = PASSWORD, timeout: float = PATIENCE) -> AsyncIterator[tuple[Simulator, MyFax]]:
    simulator = Simulator(password=PASSWORD, step=0.0)
    url = await simulator.start()
    try:
        async with MyFax(simulator.email, password, url, timeout) as myfax:
            yield simulator, myfax
    finally:
        await simulator.stop()


def with_simulator(scenario: Callable[[Simulator, MyFax], Awaitable[None]], password: str = PASSWORD) -> None:
    async def main() -> None:
        async with simulator_and_client(password) as (simulator, myfax):
            await scenario(simulator, myfax)

    asyncio.run(main())
