"""How a request leaves: in few writes, the last of which waits."""

from __future__ import annotations

import asyncio
import io

import httpx
import pytest

from mailbridge.myfax import transport

_BOUNDARY_LIMIT = 100


class Writes(httpx.AsyncBaseTransport):
    """Takes the body of a request, one write after the other, and answers."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for chunk in request.stream:
            self.written.append(chunk)
        return httpx.Response(200)


@pytest.mark.parametrize(("size", "most"), [(4096, 2), (1_000_000, 17)])
def test_the_fields_of_a_form_share_a_write_and_the_last_write_ends_it(size: int, most: int) -> None:
    async def main() -> None:
        writes, before_last = Writes(), list[int]()

        async def before_last_chunk() -> None:
            before_last.append(len(writes.written))

        fields = {name: name.upper() for name in ("username", "password", "faxNumber", "to", "from", "description")}
        files = [("file", ("a.pdf", io.BytesIO(bytes(size)), "application/pdf"))]
        call = await transport.post(writes, "http://myfax.test/", fields, files, 10, before_last_chunk)
        assert call.status == 200
        assert len(writes.written) <= most
        assert before_last == [len(writes.written) - 1]
        assert writes.written[-1].startswith(b"--")
        assert len(writes.written[-1]) < _BOUNDARY_LIMIT
        body = b"".join(writes.written)
        assert body.count(bytes(size)) == 1
        assert all(value.encode() in body for value in fields.values())

    asyncio.run(main())
