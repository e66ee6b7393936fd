"""The client against the stand-in, and against servers that fail in every way there is: what each outcome is taken for."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import io
import logging
import os
import random
import re
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from pydantic import SecretStr

from mailbridge.demo.simulator import Simulator
from mailbridge.errors import InDoubt, MyFaxError, NeedsPerson, NotTaken, Rejected, StoreUnavailable
from mailbridge.myfax import MyFax, Upload
from mailbridge.myfax.xml_parser import MAX_ANSWER
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
    upload,
)
from tests.wait_helpers import PATIENCE


async def tried(url: str, timeout: float = 5.0, documents: tuple[Upload, ...] = (), **options: Any) -> tuple[Any, list[str]]:
    """Send one fax; return the answer or the error, and how far the body got as `before_last_chunk` told it."""
    marks: list[str] = []

    async def mark() -> None:
        marks.append("whole")

    async with MyFax("office@example.co.il", SecretStr(PASSWORD), url, timeout) as myfax:
        try:
            got: Any = await myfax.send("03-9876543", documents or (upload(),), before_last_chunk=mark, **options)
        except MyFaxError as error:
            got = error
    return got, marks


def sent_to(script: Script, timeout: float = 5.0, **options: Any) -> tuple[Any, list[str], RawServer]:
    async def main() -> tuple[Any, list[str], RawServer]:
        async with RawServer(script) as server:
            got, marks = await tried(server.url, timeout, **options)
        assert not server.faults, server.faults
        return got, marks, server

    return asyncio.run(main())


def told(error: BaseException | None) -> str:
    """All that an error and what stands behind it can print."""
    text = ""
    while error is not None:
        text += f"{error!s} {error!r} {error.args!r} "
        error = error.__cause__ or error.__context__
    return text


# against the stand-in


@asynccontextmanager
async def stand_in(password: str = PASSWORD) -> AsyncIterator[tuple[Simulator, MyFax]]:
    simulator = Simulator(password=PASSWORD, step=0.0)
    url = await simulator.start()
    try:
        async with MyFax(simulator.email, password, url, 5) as myfax:
            yield simulator, myfax
    finally:
        await simulator.stop()


def with_stand_in(scenario: Callable[[Simulator, MyFax], Awaitable[None]], password: str = PASSWORD) -> None:
    async def main() -> None:
        async with stand_in(password) as (simulator, myfax):
            await scenario(simulator, myfax)

    asyncio.run(main())


def test_a_fax_is_sent_and_its_status_asked() -> None:
    async def scenario(simulator: Simulator, myfax: MyFax) -> None:
        answer = await myfax.send("03-9876543", [upload(name="חשבון MB-7K3QXA2M.pdf")])
        assert (answer.response_code, answer.pages) == (0, 1)
        assert (answer.price, answer.credit_left) == (Decimal("0.40"), Decimal(999))
        [fax] = simulator.uploads
        assert (fax.fax_code, fax.number, fax.files[0]["name"]) == (answer.fax_code, "03-9876543", "חשבון MB-7K3QXA2M.pdf")
        assert (fax.files[0]["size"], fax.files[0]["content_type"]) == (len(PDF), "application/pdf")
        status = await myfax.status(str(answer.fax_code))
        assert (status.status, status.final, status.fax_code) == (9, True, answer.fax_code)

    with_stand_in(scenario)


def test_a_url_is_sent_without_a_file() -> None:
    async def scenario(simulator: Simulator, myfax: MyFax) -> None:
        assert (await myfax.send("03-9876543", url="https://x/y.pdf")).fax_code
        assert simulator.uploads[0].files == []
        assert simulator.uploads[0].url == "https://x/y.pdf"

    with_stand_in(scenario)


def test_all_pages_of_received_faxes_and_voicemails_are_listed() -> None:
    async def scenario(simulator: Simulator, myfax: MyFax) -> None:
        for number in range(45):
            item = {
                "ID": str(number),
                "TIME": f"2026-01-04 09:{number:02}:00.0",
                "DID": "+9727",
                "SOURCE": "08-9999999",
                "URL": "",
            }
            simulator.incoming["incoming"].append(item)
        simulator.incoming["voice"].append({"ID": "v", "TIME": "2026-01-04 09:00:00.0", "DID": "+9727", "SOURCE": "", "URL": ""})
        assert [item.id async for item in myfax.incoming()] == [str(number) for number in range(45)]
        assert [item.id async for item in myfax.incoming("voice")] == ["v"]
        start, end = (dt.datetime(2026, 1, 4, 7, minute, tzinfo=dt.UTC) for minute in (40, 43))
        assert [item.id async for item in myfax.incoming(start=start, end=end)] == ["40", "41", "42", "43"]

    with_stand_in(scenario)


def test_a_user_is_registered_and_a_line_released() -> None:
    async def scenario(_: Simulator, myfax: MyFax) -> None:
        registered = await myfax.register("new@example.co.il", type=17, requested_number="+97239876544", password=SecretStr("x"))
        assert (registered.user_id, registered.fax_number, registered.email) == ("4711", "+97239876544", "new@example.co.il")
        assert (await myfax.release(line="+97239876544", action="blockUser")).response_code == 0
        with pytest.raises(Rejected, match="released already"):
            await myfax.release(user_email="new@example.co.il")

    with_stand_in(scenario)


def test_a_code_below_zero_is_a_rejection_with_its_text() -> None:
    async def scenario(_: Simulator, myfax: MyFax) -> None:
        with pytest.raises(Rejected) as caught:
            await myfax.send("03-9876599", [upload()])
        assert (caught.value.code, caught.value.text) == (-5, "The fax was not accepted")
        with pytest.raises(Rejected, match="-3"):
            await myfax.status("nobody's")

    with_stand_in(scenario)


def test_every_action_tells_a_wrong_password() -> None:
    async def scenario(_: Simulator, myfax: MyFax) -> None:
        calls = (
            myfax.send("03-9876543", [upload()]),
            myfax.status("c"),
            myfax.register("a@b.c"),
            myfax.release(line="+97239876543"),
        )
        for call in calls:
            with pytest.raises(Rejected, match="Wrong email or password"):
                await call
        with pytest.raises(Rejected, match="Wrong email or password"):
            [item async for item in myfax.incoming()]

    with_stand_in(scenario, "wrong")


@pytest.mark.parametrize(("number", "why"), [("91", "failed"), ("92", "no answer"), ("93", "500"), ("94", "HTML")])
def test_the_stand_in_leaves_each_kind_of_doubt(number: str, why: str) -> None:
    async def main() -> None:
        async with stand_in() as (simulator, _), MyFax(simulator.email, PASSWORD, f"{simulator._base}/action/", 0.5) as hasty:
            with pytest.raises(InDoubt, match=why):
                await hasty.send(f"03-98765{number}", [upload()])
            assert len(simulator.uploads) == 1

    asyncio.run(main())


# on the wire


def parts_of(head: bytes, body: bytes) -> list[tuple[bytes, bytes]]:
    boundary = head.split(b"boundary=")[1].split(b"\r\n")[0]
    pieces = body.split(b"--" + boundary)
    assert (pieces[0], pieces[-1]) == (b"", b"--\r\n")
    return [(part, content) for part, _, content in (piece[2:-2].partition(b"\r\n\r\n") for piece in pieces[1:-1])]


def seen_by(**options: Any) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    seen: list[tuple[bytes, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(http(TAKEN))
        await writer.drain()

    got, marks, _ = sent_to(script, **options)
    assert (got.fax_code, marks) == ("c-1", ["whole"])
    [(head, body)] = seen
    return head, parts_of(head, body)


def test_one_file_goes_as_the_file_with_a_length_and_no_secret_in_the_head() -> None:
    head, parts = seen_by()
    assert head.startswith(b"POST /action/faxUpload.do HTTP/1.1\r\n")
    assert b"Transfer-Encoding" not in head
    assert PASSWORD.encode() not in head
    fields = {part.split(b'"')[1]: content for part, content in parts}
    assert list(fields) == [b"email", b"password", b"faxNumber", b"resultType", b"theFile"]
    assert (fields[b"faxNumber"], fields[b"resultType"], fields[b"theFile"]) == (b"03-9876543", b"XML", PDF)


def test_several_files_are_attached_in_order_beside_an_empty_file_field() -> None:
    _, parts = seen_by(documents=(upload(b"one", "1.pdf"), upload(b"two", "חשבון.pdf"), upload(b"", "3.pdf")))
    empty, *files = parts[4:]
    assert empty == (
        b'Content-Disposition: form-data; name="theFile"; filename=""\r\nContent-Type: application/octet-stream',
        b"",
    )
    assert [content for _, content in files] == [b"one", b"two", b""]
    assert len({part.split(b'"')[1] for part, _ in files} | {b"theFile"}) == 4
    assert [part.split(b'filename="')[1].split(b'"')[0].decode() for part, _ in files] == ["1.pdf", "חשבון.pdf", "3.pdf"]


def test_a_file_name_cannot_break_out_of_its_header() -> None:
    _, parts = seen_by(documents=(upload(b"x", 'a"\r\nX-Evil: 1\r\n\r\n.pdf'),))
    assert [part.split(b'"')[1] for part, _ in parts][-1] == b"theFile"
    assert b"\r\nX-Evil" not in parts[-1][0]


def test_25_mb_are_streamed_without_being_held() -> None:
    size = 25_000_000

    class Endless(io.RawIOBase):
        position = 0

        def seekable(self) -> bool:
            return True

        def tell(self) -> int:
            return self.position

        def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
            self.position = size + offset if whence == io.SEEK_END else offset
            return self.position

        def read(self, count: int = -1) -> bytes:
            count = min(count, size - self.position)
            self.position += count
            return bytes(count)

    received = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        head = await read_head(reader)
        length = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
        while received < length:
            received += len(await reader.read(65536))
        writer.write(http(TAKEN))
        await writer.drain()

    async def main() -> int:
        async with RawServer(script) as server:
            document = Upload("big.pdf", "application/pdf", lambda: cast(BinaryIO, Endless()))
            async with MyFax("office@example.co.il", PASSWORD, server.url) as myfax:
                tracemalloc.start()
                await myfax.send("03-9876543", [document])
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
        return peak

    assert asyncio.run(main()) < 3_000_000
    assert received > size


# not taken: before the body was whole, or said so


def test_a_refused_connection_is_not_taken() -> None:
    async def main() -> tuple[Any, list[str]]:
        async with RawServer(answers()) as server:
            pass
        return await tried(server.url)

    got, marks = asyncio.run(main())
    assert (type(got), marks) == (NotTaken, [])


def test_a_name_that_does_not_resolve_is_not_taken() -> None:
    got, marks = asyncio.run(tried("https://nowhere.invalid/action/"))
    assert (type(got), marks) == (NotTaken, [])


def test_a_bad_certificate_is_not_taken_and_nothing_is_sent(tmp_path: Path) -> None:
    received: list[bytes] = []

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        received.append(await reader.read())

    async def main() -> tuple[Any, list[str]]:
        async with RawServer(script, certificate(tmp_path)) as server:
            return await tried(server.url)

    got, marks = asyncio.run(main())
    assert (type(got), marks) == (NotTaken, [])
    assert "CERTIFICATE_VERIFY_FAILED" in str(got)
    assert not any(received)


def test_plain_text_where_tls_is_due_is_not_taken() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async def main() -> tuple[Any, list[str]]:
        async with RawServer(script) as server:
            return await tried(server.url.replace("http:", "https:"))

    got, marks = asyncio.run(main())
    assert (type(got), marks) == (NotTaken, [])


BIG = random.Random(7).randbytes(20_000_000)


needs_tcp_info = pytest.mark.skipif(
    not hasattr(socket, "TCP_INFO"), reason="this machine does not tell whether a connection was cut (TCP_INFO)"
)


def send_while_the_last_bytes_are_held_back(act: Script) -> None:
    """Send a small fax to a server that has done `act` before the last bytes leave."""

    async def main() -> None:
        acted = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            await act(reader, writer)
            # Both ends stand in this loop, and on loopback what one did is there for the other at once: these are its turns.
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
def test_a_small_fax_whose_connection_is_cut_before_its_last_bytes_left_is_not_taken(
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
def test_an_answer_before_the_connection_was_cut_is_heard(answer: bytes, error: type[MyFaxError]) -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.write_eof()

    with pytest.raises(error):
        send_while_the_last_bytes_are_held_back(refuse)


@pytest.mark.parametrize("end", [reset, lambda writer: writer.close()], ids=["reset", "closed"])
def test_a_connection_lost_in_the_body_is_not_taken(end: Callable[[asyncio.StreamWriter], None]) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await reader.readexactly(1000)
        end(writer)

    got, marks, _ = sent_to(script, documents=(upload(BIG),))
    assert (type(got), marks) == (NotTaken, [])


def test_a_body_that_nobody_reads_is_not_taken_when_the_time_is_over() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(30)

    got, marks, _ = sent_to(script, 0.4, documents=(upload(BIG),))
    assert (type(got), marks) == (NotTaken, [])
    assert "0.4 s" in str(got)


def test_an_upload_stopped_before_its_last_bytes_is_not_taken() -> None:
    received = bytearray()

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            received.extend(chunk)

    async def no_disk() -> None:
        raise StoreUnavailable("the database cannot take it now")

    async def main() -> None:
        async with RawServer(script) as server, MyFax("office@example.co.il", PASSWORD, server.url) as myfax:
            with pytest.raises(NotTaken, match="database"):
                await myfax.send("03-9876543", [upload()], before_last_chunk=no_disk)

    asyncio.run(main())
    assert PDF in received
    assert not received.endswith(b"--\r\n")


def test_the_last_bytes_wait_for_the_mark() -> None:
    received = bytearray()
    before: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not received.endswith(b"--\r\n"):
            received.extend(await reader.read(65536))
        writer.write(http(TAKEN))
        await writer.drain()

    async def main() -> None:
        async def mark() -> None:
            async with asyncio.timeout(PATIENCE):
                while PDF not in received:
                    await asyncio.sleep(0.001)
            before.append(bytes(received))

        async with RawServer(script) as server, MyFax("office@example.co.il", PASSWORD, server.url) as myfax:
            await myfax.send("03-9876543", [upload()], before_last_chunk=mark)

    asyncio.run(main())
    assert len(before) == 1
    assert len(before[0]) < len(received)


@pytest.mark.parametrize("status", ["408 Request Timeout", "429 Too Many Requests"])
def test_408_and_429_may_be_tried_again(status: str) -> None:
    got, marks, _ = sent_to(answers(http("", status)))
    assert (type(got), marks) == (NotTaken, ["whole"])


# needs a person


def test_a_redirect_to_what_is_no_address_needs_a_person() -> None:
    got, _, server = sent_to(answers(http("", "302 X", "Location: http://[::1/")))
    assert (type(got), server.connections) == (NeedsPerson, 1)


@pytest.mark.parametrize(
    "answer",
    [
        http(f"<RESPONSE><RESPONSE_CODE>-1</RESPONSE_CODE><RESPONSE_TEXT>{PASSWORD} is wrong</RESPONSE_TEXT></RESPONSE>"),
        f"{PASSWORD} is no status line\r\n\r\n".encode(),
    ],
    ids=["refused", "no HTTP"],
)
def test_a_password_that_myfax_echoes_is_not_repeated(answer: bytes) -> None:
    got, _, _ = sent_to(answers(answer))
    assert isinstance(got, MyFaxError)
    assert PASSWORD not in f"{got!r} {got} {vars(got)}"
    assert "***" in str(got)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 411, 413, 415])
def test_redirects_and_refusals_need_a_person_and_are_not_followed(status: int) -> None:
    async def main() -> None:
        async with RawServer(answers(http(TAKEN))) as elsewhere:
            redirect = http("", f"{status} X", f"Location: {elsewhere.url}faxUpload.do")
            async with RawServer(answers(redirect)) as server:
                got, _ = await tried(server.url)
                assert type(got) is NeedsPerson
                assert str(status) in str(got)
                assert (server.connections, elsewhere.connections) == (1, 0)

    asyncio.run(main())


def test_an_early_refusal_of_a_big_body_is_read() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(http("", "413 Too Large", "Connection: close"))
        await writer.drain()
        while await reader.read(1 << 20):
            pass

    got, _, _ = sent_to(script, documents=(upload(BIG),))
    assert type(got) is NeedsPerson


# in doubt: all else after the body was whole


async def _reset_when_whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    reset(writer)


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await asyncio.sleep(30)


NO_CODE = "<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><RESPONSE_TEXT>OK</RESPONSE_TEXT><FAX_CODE> </FAX_CODE></RESPONSE>"
DOUBTS: dict[str, Script] = {
    "reset": _reset_when_whole,
    "closed": answers(),
    "time-out": _silent,
    "closed in the head": answers(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "closed in the body": answers(http(TAKEN)[:-20]),
    "silent in the body": answers(http(TAKEN)[:-20], b"", pause=30),
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
    "gzip unasked": answers(http(b"\x1f\x8b\x08", "200 OK", "Content-Encoding: gzip")),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_after_a_whole_body_all_else_is_in_doubt(name: str) -> None:
    got, marks, server = sent_to(DOUBTS[name], 0.4)
    assert (type(got), marks, server.connections) == (InDoubt, ["whole"], 1)
    assert PASSWORD not in told(got)


def test_a_code_below_zero_with_status_200_is_a_rejection_even_with_a_fax_code() -> None:
    got, _, _ = sent_to(answers(http(TAKEN.replace(">0<", "> -9 <"))))
    assert (type(got), got.code) == (Rejected, -9)


def test_asking_in_vain_is_no_doubt() -> None:
    async def main() -> None:
        for name, script in DOUBTS.items():
            if name == "201" or "FAX_CODE" in name:
                continue
            async with RawServer(script) as server, MyFax("office@example.co.il", PASSWORD, server.url, 0.2) as myfax:
                with pytest.raises(NotTaken) as caught:
                    await myfax.status("c-1")
                assert PASSWORD not in told(caught.value)

    asyncio.run(main())


# answers without an end


@pytest.mark.parametrize("framing", ["Connection: close", "Content-Length: 99999999999", "Transfer-Encoding: chunked"])
def test_an_endless_answer_is_cut(framing: str) -> None:
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

    got, _, _ = sent_to(script, 20)
    assert type(got) is InDoubt
    assert str(MAX_ANSWER) in str(got)
    assert sent < 30 * MAX_ANSWER


def test_a_dripping_answer_ends_with_the_whole_calls_time() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def main() -> float:
        begun = asyncio.get_running_loop().time()
        async with RawServer(script) as server:
            got, _ = await tried(server.url, 0.5)
        assert type(got) is InDoubt
        return asyncio.get_running_loop().time() - begun

    assert 0.5 <= asyncio.run(main()) < 3


def test_an_answer_in_pieces_of_one_byte_costs_no_time() -> None:
    content = b"".join(b"1\r\n%c\r\n" % byte for byte in TAKEN.replace("><", f">{' ' * 5000}<").encode())
    got, _, _ = sent_to(answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + content + b"0\r\n\r\n"))
    assert got.fax_code == "c-1"


# connections, lists, secrets


def test_an_upload_never_leaves_on_a_connection_that_was_used_before() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(http(TAKEN))
            await writer.drain()

    async def main() -> None:
        async with RawServer(script) as server, MyFax("office@example.co.il", PASSWORD, server.url) as myfax:
            for _ in range(3):
                await myfax.status("c-1")
            assert server.connections == 1
            for _ in range(3):
                await myfax.send("03-9876543", [upload()])
            assert server.connections == 4

    asyncio.run(main())


@pytest.mark.parametrize("following", ["0", "-1", "", "x"])
def test_a_list_that_leads_back_ends(following: str) -> None:
    item = "<LIST><ITEM><ID>1</ID></ITEM></LIST>"
    page = f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE>{item}<NEXT_PAGE>{following}</NEXT_PAGE></RESPONSE>"

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(http(page))
            await writer.drain()

    async def main() -> list[str]:
        async with RawServer(script) as server, MyFax("office@example.co.il", PASSWORD, server.url) as myfax:
            return [item.id async for item in myfax.incoming()]

    assert asyncio.run(main()) == ["1"]


def test_no_secret_is_in_any_error_or_log_line(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        scripts = [*DOUBTS.values(), answers(http("", "302 X", "Location: /x")), answers(http("", "401 X"))]
        for script in scripts:
            async with RawServer(script) as server:
                got, _ = await tried(server.url, 0.2)
                assert isinstance(got, MyFaxError)
                assert PASSWORD not in told(got)
        async with RawServer(answers(), certificate(tmp_path)) as server:
            got, _ = await tried(server.url)
            assert PASSWORD not in told(got)
        assert PASSWORD not in told((await tried(server.url))[0])
        assert PASSWORD not in repr(MyFax("a@b.c", PASSWORD).__dict__)

    asyncio.run(main())
    assert "faxUpload.do" in caplog.text, "what httpx logs was caught at all"
    assert PASSWORD not in caplog.text


# alone


def test_paths_are_streamed_from_disk_as_one_fax_and_closed(tmp_path: Path) -> None:
    async def scenario(simulator: Simulator, myfax: MyFax) -> None:
        paths = [tmp_path / "חשבון.pdf", tmp_path / "scan.tif", tmp_path / "odd"]
        for size, path in enumerate(paths, 1000):
            path.write_bytes(b"x" * size)
        await myfax.send("03-9876543", [paths[0], str(paths[1]), paths[2], upload(name="b.pdf")])
        await myfax.send("03-9876543", paths[0])
        await myfax.send("03-9876543", str(paths[1]))
        several, one, other = ([(file["name"], file["content_type"]) for file in fax.files] for fax in simulator.uploads)
        assert one == [("חשבון.pdf", "application/pdf")]
        assert other == [("scan.tif", "image/tiff")]
        assert several == [*one, *other, ("odd", "application/octet-stream"), ("b.pdf", "application/pdf")]
        assert [file["size"] for file in simulator.uploads[0].files] == [1000, 1001, 1002, len(PDF)]

    with_stand_in(scenario)


def test_a_path_that_is_no_text_is_sent_with_a_name_that_is(tmp_path: Path) -> None:
    async def scenario(simulator: Simulator, myfax: MyFax) -> None:
        path = os.fsdecode(os.fsencode(tmp_path) + b"/scan\xff.pdf")
        Path(path).write_bytes(PDF)
        await myfax.send("03-9876543", path)
        assert simulator.uploads[0].files[0]["name"] == "scan?.pdf"

    with_stand_in(scenario)


def test_an_item_that_moves_between_two_pages_is_listed_once_and_no_page_follows_the_last() -> None:
    asked: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read_request(reader)
            page = int(re.findall(rb"\bp=(\d+)", body)[0])
            asked.append(page)
            items = "".join(f"<ITEM><ID>{number}</ID></ITEM>" for number in range(page * 2, page * 2 + 3))
            following = f"<PAGES>3</PAGES><NEXT_PAGE>{page + 1}</NEXT_PAGE>"
            writer.write(http(f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><LIST>{items}</LIST>{following}</RESPONSE>"))
            await writer.drain()

    async def main() -> list[str]:
        async with RawServer(script) as server, MyFax("office@example.co.il", PASSWORD, server.url) as myfax:
            async with asyncio.timeout(PATIENCE):
                return [item.id async for item in myfax.incoming()]

    assert asyncio.run(main()) == [str(number) for number in range(7)]
    assert asked == [0, 1, 2]


def test_a_page_that_does_not_name_the_next_is_not_taken_for_the_last() -> None:
    asked: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read_request(reader)
            asked.append(int(re.findall(rb"\bp=(\d+)", body)[0]))
            items = f"<LIST><ITEM><ID>{asked[-1]}</ID></ITEM></LIST><PAGES>3</PAGES>"
            writer.write(http(f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE>{items}</RESPONSE>"))
            await writer.drain()

    async def main() -> list[str]:
        async with RawServer(script) as server, MyFax("office@example.co.il", PASSWORD, server.url) as myfax, asyncio.timeout(5):
            return [item.id async for item in myfax.incoming()]

    assert asyncio.run(main()) == ["0", "1", "2"]
    assert asked == [0, 1, 2]


def test_an_empty_page_is_the_last_whatever_it_calls_the_next() -> None:
    asked = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while True:
            await read_request(reader)
            asked += 1
            following = f"<NEXT_PAGE>{asked}</NEXT_PAGE>"
            writer.write(http(f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><LIST></LIST>{following}</RESPONSE>"))
            await writer.drain()

    async def main() -> list[str]:
        async with RawServer(script) as server, MyFax("office@example.co.il", PASSWORD, server.url) as myfax:
            async with asyncio.timeout(PATIENCE):
                return [item.id async for item in myfax.incoming()]

    assert asyncio.run(main()) == []
    assert asked == 1


def test_the_client_alone_loads_nothing_of_the_gateway() -> None:
    program = "import sys, mailbridge.myfax; print(*(name for name in sys.modules if name.startswith('mailbridge.')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert {name.split(".")[1] for name in done.stdout.split()} <= {"myfax", "errors", "model", "lifecycle"}
    assert "mailbridge.myfax.client" in done.stdout
