"""The MyFax client against servers that fail in every way: which outcome each failure has."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailbridge.errors import InDoubt, MyFaxError, NeedsPerson, NotTaken, Rejected, StoreUnavailable
from mailbridge.myfax import MyFax
from mailbridge.myfax.xml_parser import MAX_ANSWER
from tests.integration.myfax_fixtures import everything_in, send_one, send_to
from tests.integration.scripted_servers import (
    PASSWORD,
    PDF,
    TAKEN,
    RawServer,
    Script,
    answers,
    certificate,
    http,
    read_head,
    read_request,
    reset,
    silence,
    upload,
)
from tests.time_limit import TimeLimit
from tests.wait_helpers import until

# not taken: before the body was whole, or said so


def test_an_upload_with_a_refused_connection_is_not_taken() -> None:
    async def main() -> tuple[Any, list[str]]:
        async with RawServer(answers()) as server:
            pass
        return await send_one(server.url)

    got, marks = asyncio.run(main())
    assert (type(got), marks) == (NotTaken, [])


def test_an_upload_to_an_unknown_host_is_not_taken() -> None:
    got, marks = asyncio.run(send_one("https://nowhere.invalid/action/"))
    assert (type(got), marks) == (NotTaken, [])


def test_an_upload_to_an_untrusted_certificate_is_not_taken_and_sends_nothing(tmp_path: Path) -> None:
    received: list[bytes] = []

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        received.append(await reader.read())

    async def main() -> tuple[Any, list[str]]:
        async with RawServer(script, certificate(tmp_path)) as server:
            return await send_one(server.url)

    got, marks = asyncio.run(main())
    assert (type(got), marks) == (NotTaken, [])
    assert "CERTIFICATE_VERIFY_FAILED" in str(got)
    assert not any(received)


def test_an_upload_to_a_server_without_tls_is_not_taken() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async def main() -> tuple[Any, list[str]]:
        async with RawServer(script) as server:
            return await send_one(server.url.replace("http:", "https:"))

    got, marks = asyncio.run(main())
    assert (type(got), marks) == (NotTaken, [])


BIG = random.Random(7).randbytes(20_000_000)


needs_tcp_info = pytest.mark.skipif(
    not hasattr(socket, "TCP_INFO"), reason="this system does not say whether a connection is closed (TCP_INFO)"
)


def send_while_the_last_bytes_are_held_back(act: Script) -> None:
    """Send a small fax to a server that does `act` before the last bytes leave."""

    async def main() -> None:
        acted = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            await act(reader, writer)
            # Both ends share this event loop, and loopback delivers at once: a few turns let the client see it.
            for _ in range(5):
                await asyncio.sleep(0)
            acted.set()
            await reader.read()

        async def mark() -> None:
            await acted.wait()

        async with RawServer(script) as server, MyFax("office@example.co.il", PASSWORD, server.url) as myfax:
            await myfax.send("03-9876543", [upload()], before_last_chunk=mark)

    asyncio.run(main())


@needs_tcp_info
@pytest.mark.parametrize("end", [reset, lambda writer: writer.close()], ids=["reset", "closed"])
@pytest.mark.parametrize("read", [0, 1, 700], ids=lambda read: f"{read} bytes of the body")
def test_an_upload_whose_connection_ends_before_its_last_bytes_is_not_taken(
    end: Callable[[asyncio.StreamWriter], None], read: int
) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(read)
        end(writer)
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    with pytest.raises(NotTaken):
        send_while_the_last_bytes_are_held_back(cut)


@needs_tcp_info
@pytest.mark.parametrize(
    ("answer", "error"), [(http("", "413 X"), NeedsPerson), (http("", "500 X"), NotTaken)], ids=["413", "500"]
)
def test_an_answer_before_the_connection_ended_is_read(answer: bytes, error: type[MyFaxError]) -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.write_eof()

    with pytest.raises(error):
        send_while_the_last_bytes_are_held_back(refuse)


@pytest.mark.parametrize("end", [reset, lambda writer: writer.close()], ids=["reset", "closed"])
def test_an_upload_whose_connection_ends_in_the_body_is_not_taken(end: Callable[[asyncio.StreamWriter], None]) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await reader.readexactly(1000)
        end(writer)

    got, marks, _ = send_to(script, documents=(upload(BIG),))
    assert (type(got), marks) == (NotTaken, [])


def test_an_upload_whose_body_is_not_read_is_not_taken_after_the_timeout(time_limit: TimeLimit) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await silence()

    got, marks, _ = send_to(script, time_limit.SECONDS, documents=(upload(BIG),))
    assert (type(got), marks) == (NotTaken, [])
    assert f"{time_limit.SECONDS:g} s" in str(got)


def test_an_upload_stopped_before_its_last_bytes_is_not_taken() -> None:
    received, ended = bytearray(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            received.extend(chunk)
        ended.set()

    async def no_disk() -> None:
        await asyncio.sleep(0)  # what came before leaves meanwhile
        raise StoreUnavailable("the database cannot take it now")

    async def main() -> None:
        async with RawServer(script) as server, MyFax("office@example.co.il", PASSWORD, server.url) as myfax:
            with pytest.raises(NotTaken, match="database"):
                await myfax.send("03-9876543", [upload()], before_last_chunk=no_disk)
            await ended.wait()

    asyncio.run(main())
    assert PDF in received
    assert not received.endswith(b"--\r\n")


def test_the_last_bytes_wait_for_before_last_chunk() -> None:
    received = bytearray()
    before: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not received.endswith(b"--\r\n"):
            received.extend(await reader.read(65536))
        writer.write(http(TAKEN))
        await writer.drain()

    async def main() -> None:
        async def mark() -> None:
            await until(lambda: PDF in received)
            before.append(bytes(received))

        async with RawServer(script) as server, MyFax("office@example.co.il", PASSWORD, server.url) as myfax:
            await myfax.send("03-9876543", [upload()], before_last_chunk=mark)

    asyncio.run(main())
    assert len(before) == 1
    assert len(before[0]) < len(received)


@pytest.mark.parametrize("status", ["408 Request Timeout", "429 Too Many Requests"])
def test_status_408_and_429_are_not_taken(status: str) -> None:
    got, marks, _ = send_to(answers(http("", status)))
    assert (type(got), marks) == (NotTaken, ["whole"])


# needs a person


def test_a_redirect_to_an_invalid_url_needs_a_person() -> None:
    got, _, server = send_to(answers(http("", "302 X", "Location: http://[::1/")))
    assert (type(got), server.connections) == (NeedsPerson, 1)


@pytest.mark.parametrize(
    "answer",
    [
        http(f"<RESPONSE><RESPONSE_CODE>-1</RESPONSE_CODE><RESPONSE_TEXT>{PASSWORD} is wrong</RESPONSE_TEXT></RESPONSE>"),
        f"{PASSWORD} is not a status line\r\n\r\n".encode(),
    ],
    ids=["refused", "no HTTP"],
)
def test_a_password_echoed_by_myfax_is_redacted(answer: bytes) -> None:
    got, _, _ = send_to(answers(answer))
    assert isinstance(got, MyFaxError)
    assert PASSWORD not in f"{got!r} {got} {vars(got)}"
    assert "***" in str(got)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 411, 413, 415])
def test_redirects_and_refusals_need_a_person_and_no_redirect_is_followed(status: int) -> None:
    async def main() -> None:
        async with RawServer(answers(http(TAKEN))) as elsewhere:
            redirect = http("", f"{status} X", f"Location: {elsewhere.url}faxUpload.do")
            async with RawServer(answers(redirect)) as server:
                got, _ = await send_one(server.url)
                assert type(got) is NeedsPerson
                assert str(status) in str(got)
                assert (server.connections, elsewhere.connections) == (1, 0)

    asyncio.run(main())


def test_an_early_refusal_of_a_large_body_is_read() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(http("", "413 Too Large", "Connection: close"))
        await writer.drain()
        while await reader.read(1 << 20):
            pass

    got, _, _ = send_to(script, documents=(upload(BIG),))
    assert type(got) is NeedsPerson


# in doubt: all else after the body was whole


async def _reset_when_whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    reset(writer)


NO_CODE = "<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><RESPONSE_TEXT>OK</RESPONSE_TEXT><FAX_CODE> </FAX_CODE></RESPONSE>"
DOUBTS: dict[str, Script] = {
    "reset": _reset_when_whole,
    "closed": answers(),
    "time-out": answers(silent=True),
    "closed in the head": answers(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "closed in the body": answers(http(TAKEN)[:-20]),
    "silent in the body": answers(http(TAKEN)[:-20], silent=True),
    "500": answers(http("", "500 Internal Server Error")),
    "502 with a good answer": answers(http(TAKEN, "502 Bad Gateway")),
    "503": answers(http("", "503 Service Unavailable", "Retry-After: 5")),
    "201": answers(http(TAKEN, "201 Created")),
    "an unforeseen 4xx": answers(http("", "422 Unprocessable")),
    "HTML": answers(http("<html><body>Welcome</body></html>")),
    "empty": answers(http("")),
    "truncated XML": answers(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + TAKEN[:-4].encode()),
    "a DTD": answers(http("<!DOCTYPE a>" + TAKEN)),
    "no FAX_CODE": answers(http(NO_CODE)),
    "code 1 and no FAX_CODE": answers(http(NO_CODE.replace(">0<", ">1<"))),
    "no RESPONSE_CODE": answers(http("<RESPONSE><FAX_CODE>c</FAX_CODE></RESPONSE>")),
    "not HTTP": answers(b"SSH-2.0-x\r\n"),
    "gzip unpages": answers(http(b"\x1f\x8b\x08", "200 OK", "Content-Encoding: gzip")),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_an_unusable_answer_to_a_whole_request_is_in_doubt(name: str, time_limit: TimeLimit) -> None:
    got, marks, server = send_to(DOUBTS[name], time_limit.SECONDS)
    assert (type(got), marks, server.connections) == (InDoubt, ["whole"], 1)
    assert PASSWORD not in everything_in(got)


def test_a_negative_response_code_is_rejected_even_with_a_fax_code() -> None:
    got, _, _ = send_to(answers(http(TAKEN.replace(">0<", "> -9 <"))))
    assert (type(got), got.code) == (Rejected, -9)


def test_an_unusable_answer_to_a_query_is_not_taken(time_limit: TimeLimit) -> None:
    async def main() -> None:
        seconds = time_limit.SECONDS
        for name, script in DOUBTS.items():
            if name == "201" or "FAX_CODE" in name:
                continue
            async with RawServer(script) as server, MyFax("office@example.co.il", PASSWORD, server.url, seconds) as myfax:
                with pytest.raises(NotTaken) as caught:
                    await myfax.status("c-1")
                assert PASSWORD not in everything_in(caught.value)

    asyncio.run(main())


# answers without an end


@pytest.mark.parametrize("framing", ["Connection: close", "Content-Length: 99999999999", "Transfer-Encoding: chunked"])
def test_an_endless_answer_is_cut_at_the_limit(framing: str) -> None:
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        chunked = "chunked" in framing
        writer.write(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n" if chunked else b" " * 65536
        while True:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    got, _, _ = send_to(script)
    assert type(got) is InDoubt
    assert str(MAX_ANSWER) in str(got)
    assert sent < 30 * MAX_ANSWER


def test_a_slow_answer_ends_at_the_timeout_of_the_call(time_limit: TimeLimit) -> None:
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            sent += 1
            if sent == 10:
                time_limit.end()
            await asyncio.sleep(0.01)

    got, _, _ = send_to(script, time_limit.SECONDS)
    assert type(got) is InDoubt
    assert sent >= 10


def test_an_answer_in_pieces_of_one_byte_is_read() -> None:
    content = b"".join(b"1\r\n%c\r\n" % byte for byte in TAKEN.replace("><", f">{' ' * 5000}<").encode())
    got, _, _ = send_to(answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + content + b"0\r\n\r\n"))
    assert got.fax_code == "c-1"


# secrets


def test_no_password_is_in_any_error_or_log_line(caplog: pytest.LogCaptureFixture, tmp_path: Path, time_limit: TimeLimit) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        scripts = [*DOUBTS.values(), answers(http("", "302 X", "Location: /x")), answers(http("", "401 X"))]
        for script in scripts:
            async with RawServer(script) as server:
                got, _ = await send_one(server.url, time_limit.SECONDS)
                assert isinstance(got, MyFaxError)
                assert PASSWORD not in everything_in(got)
        async with RawServer(answers(), certificate(tmp_path)) as server:
            got, _ = await send_one(server.url)
            assert PASSWORD not in everything_in(got)
        assert PASSWORD not in everything_in((await send_one(server.url))[0])
        assert PASSWORD not in repr(MyFax("a@b.c", PASSWORD).__dict__)

    asyncio.run(main())
    assert "send_request_headers" in caplog.text, "httpcore must have logged its requests"
    assert PASSWORD not in caplog.text
