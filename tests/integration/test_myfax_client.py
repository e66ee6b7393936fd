"""The MyFax client: its five methods against the simulator, what is sent, and lists over several pages."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import os
import re
import subprocess
import sys
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from pydantic import SecretStr

from mailbridge.demo.simulator import Simulator
from mailbridge.errors import InDoubt, Rejected
from mailbridge.myfax import MyFax, Upload
from mailbridge.submission.letter.file_name import safe_name
from tests.integration.myfax_fixtures import send_to, simulator_and_client, with_simulator
from tests.integration.scripted_servers import (
    PASSWORD,
    PDF,
    TAKEN,
    RawServer,
    http,
    read_head,
    read_request,
    upload,
)
from tests.time_limit import TimeLimit
from tests.wait_helpers import PATIENCE, until

# the five methods


def test_a_fax_is_sent_and_its_status_queried() -> None:
    async def scenario(simulator: Simulator, myfax: MyFax) -> None:
        answer = await myfax.send("03-9876543", [upload(name="חשבון MB-7K3QXA2M.pdf")])
        assert (answer.response_code, answer.pages) == (0, 1)
        assert (answer.price, answer.credit_left) == (Decimal("0.40"), Decimal(999))
        [fax] = simulator.uploads
        assert (fax.fax_code, fax.number, fax.files[0]["name"]) == (answer.fax_code, "03-9876543", "חשבון MB-7K3QXA2M.pdf")
        assert (fax.files[0]["size"], fax.files[0]["content_type"]) == (len(PDF), "application/pdf")
        status = await myfax.status(str(answer.fax_code))
        assert (status.status, status.final, status.fax_code) == (9, True, answer.fax_code)

    with_simulator(scenario)


def test_a_url_is_sent_without_a_file() -> None:
    async def scenario(simulator: Simulator, myfax: MyFax) -> None:
        assert (await myfax.send("03-9876543", url="https://x/y.pdf")).fax_code
        assert simulator.uploads[0].files == []
        assert simulator.uploads[0].url == "https://x/y.pdf"

    with_simulator(scenario)


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

    with_simulator(scenario)


def test_a_user_is_registered_and_a_line_released() -> None:
    async def scenario(_: Simulator, myfax: MyFax) -> None:
        registered = await myfax.register("new@example.co.il", type=17, requested_number="+97239876544", password=SecretStr("x"))
        assert (registered.user_id, registered.fax_number, registered.email) == ("4711", "+97239876544", "new@example.co.il")
        assert (await myfax.release(line="+97239876544", action="blockUser")).response_code == 0
        with pytest.raises(Rejected, match="released already"):
            await myfax.release(user_email="new@example.co.il")

    with_simulator(scenario)


def test_a_negative_response_code_is_rejected_with_its_text() -> None:
    async def scenario(_: Simulator, myfax: MyFax) -> None:
        with pytest.raises(Rejected) as caught:
            await myfax.send("03-9876599", [upload()])
        assert (caught.value.code, caught.value.text) == (-5, "The fax was not accepted")
        with pytest.raises(Rejected, match="-3"):
            await myfax.status("nobody's")

    with_simulator(scenario)


def test_every_action_is_rejected_with_a_wrong_password() -> None:
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

    with_simulator(scenario, "wrong")


@pytest.mark.parametrize(("number", "why"), [("91", "failed"), ("92", "no answer"), ("93", "500"), ("94", "HTML")])
def test_a_lost_answer_of_the_simulator_is_in_doubt(number: str, why: str, time_limit: TimeLimit) -> None:
    async def main() -> None:
        async with simulator_and_client(timeout=time_limit.SECONDS) as (simulator, myfax):
            sending = asyncio.create_task(myfax.send(f"03-98765{number}", [upload()]))
            if number == "92":
                await until(lambda: simulator.uploads)
                time_limit.end()
            with pytest.raises(InDoubt, match=why):
                await sending
            assert len(simulator.uploads) == 1

    asyncio.run(main())


# what is sent


def parts_of(head: bytes, body: bytes) -> list[tuple[bytes, bytes]]:
    boundary = head.split(b"boundary=")[1].split(b"\r\n")[0]
    pieces = body.split(b"--" + boundary)
    assert (pieces[0], pieces[-1]) == (b"", b"--\r\n")
    return [(part, content) for part, _, content in (piece[2:-2].partition(b"\r\n\r\n") for piece in pieces[1:-1])]


def request_of(**options: Any) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    seen: list[tuple[bytes, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(http(TAKEN))
        await writer.drain()

    got, marks, _ = send_to(script, **options)
    assert (got.fax_code, marks) == ("c-1", ["whole"])
    [(head, body)] = seen
    return head, parts_of(head, body)


def test_one_file_is_sent_as_thefile_with_a_length_and_no_secret_in_the_head() -> None:
    head, parts = request_of()
    assert head.startswith(b"POST /action/faxUpload.do HTTP/1.1\r\n")
    assert b"Transfer-Encoding" not in head
    assert PASSWORD.encode() not in head
    fields = {part.split(b'"')[1]: content for part, content in parts}
    assert list(fields) == [b"email", b"password", b"faxNumber", b"resultType", b"theFile"]
    assert (fields[b"faxNumber"], fields[b"resultType"], fields[b"theFile"]) == (b"03-9876543", b"XML", PDF)


def test_several_files_are_attached_in_order_beside_an_empty_thefile() -> None:
    _, parts = request_of(documents=(upload(b"one", "1.pdf"), upload(b"two", "חשבון.pdf"), upload(b"", "3.pdf")))
    empty, *files = parts[4:]
    assert empty == (
        b'Content-Disposition: form-data; name="theFile"; filename=""\r\nContent-Type: application/octet-stream',
        b"",
    )
    assert [content for _, content in files] == [b"one", b"two", b""]
    assert len({part.split(b'"')[1] for part, _ in files} | {b"theFile"}) == 4
    assert [part.split(b'filename="')[1].split(b'"')[0].decode() for part, _ in files] == ["1.pdf", "חשבון.pdf", "3.pdf"]


@pytest.mark.parametrize(
    "name",
    [
        'a"\r\nX-Evil: 1\r\n\r\n.pdf',
        "a\r\n\r\n--boundary--.pdf",
        "a\n.pdf",
        "a\r.pdf",
        'a"; name="email"; x=".pdf',
        'a\\".pdf',
        "a\\",
        "a\x00.pdf",
        "a\u202efdp.exe",
        "../../etc/passwd",
        "C:\\windows\\a.pdf",
        "CON",
        "a\x1b[2J.pdf",
        "a\u2028X-Evil: 1.pdf",
        "a%22%0D%0A.pdf",
        "=?utf-8?q?a=22?=.pdf",
    ],
)
def test_held_a_file_name_cannot_break_out_of_its_header(name: str) -> None:
    """Neither as the client gets it, nor as it comes out of a mail."""
    for written in (name, safe_name(name, "document.pdf")):
        head, parts = request_of(documents=(upload(b"x", written),))
        assert [part.split(b'"')[1] for part, _ in parts] == [b"email", b"password", b"faxNumber", b"resultType", b"theFile"]
        header, content = parts[-1]
        # The two fields of the part, the name between its quotes, and the content whole.
        assert [line.partition(b":")[0] for line in header.split(b"\r\n")] == [b"Content-Disposition", b"Content-Type"]
        assert (header.count(b'"'), content) == (4, b"x")
        assert not {0, 10, 13} & set(header.split(b'"')[3])
        assert b"Evil" not in head
    shown = safe_name(name, "document.pdf")
    assert shown.isprintable()
    assert not {"/", "\\", '"', ":"} & set(shown)


def test_a_file_of_25_mb_is_streamed_and_not_held_in_memory() -> None:
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


# connections and lists


def test_every_upload_has_a_new_connection() -> None:
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
def test_an_incoming_list_whose_next_page_leads_back_ends(following: str) -> None:
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


# files by path, and the client alone


def test_files_by_path_are_sent_as_one_fax(tmp_path: Path) -> None:
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

    with_simulator(scenario)


def test_a_path_that_is_not_utf_8_is_sent_with_a_valid_name(tmp_path: Path) -> None:
    async def scenario(simulator: Simulator, myfax: MyFax) -> None:
        path = os.fsdecode(os.fsencode(tmp_path) + b"/scan\xff.pdf")
        Path(path).write_bytes(PDF)
        await myfax.send("03-9876543", path)
        assert simulator.uploads[0].files[0]["name"] == "scan?.pdf"

    with_simulator(scenario)


def test_an_incoming_item_on_two_pages_is_listed_once() -> None:
    pages: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read_request(reader)
            page = int(re.findall(rb"\bp=(\d+)", body)[0])
            pages.append(page)
            items = "".join(f"<ITEM><ID>{number}</ID></ITEM>" for number in range(page * 2, page * 2 + 3))
            following = f"<PAGES>3</PAGES><NEXT_PAGE>{page + 1}</NEXT_PAGE>"
            writer.write(http(f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><LIST>{items}</LIST>{following}</RESPONSE>"))
            await writer.drain()

    async def main() -> list[str]:
        async with RawServer(script) as server, MyFax("office@example.co.il", PASSWORD, server.url) as myfax:
            async with asyncio.timeout(PATIENCE):
                return [item.id async for item in myfax.incoming()]

    assert asyncio.run(main()) == [str(number) for number in range(7)]
    assert pages == [0, 1, 2]


def test_an_incoming_page_without_next_page_is_followed_up_to_pages() -> None:
    pages: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read_request(reader)
            pages.append(int(re.findall(rb"\bp=(\d+)", body)[0]))
            items = f"<LIST><ITEM><ID>{pages[-1]}</ID></ITEM></LIST><PAGES>3</PAGES>"
            writer.write(http(f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE>{items}</RESPONSE>"))
            await writer.drain()

    async def main() -> list[str]:
        async with (
            RawServer(script) as server,
            MyFax("office@example.co.il", PASSWORD, server.url) as myfax,
            asyncio.timeout(PATIENCE),
        ):
            return [item.id async for item in myfax.incoming()]

    assert asyncio.run(main()) == ["0", "1", "2"]
    assert pages == [0, 1, 2]


def test_an_empty_incoming_page_is_the_last() -> None:
    pages = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal pages
        while True:
            await read_request(reader)
            pages += 1
            following = f"<NEXT_PAGE>{pages}</NEXT_PAGE>"
            writer.write(http(f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><LIST></LIST>{following}</RESPONSE>"))
            await writer.drain()

    async def main() -> list[str]:
        async with RawServer(script) as server, MyFax("office@example.co.il", PASSWORD, server.url) as myfax:
            async with asyncio.timeout(PATIENCE):
                return [item.id async for item in myfax.incoming()]

    assert asyncio.run(main()) == []
    assert pages == 1


def test_importing_the_client_loads_nothing_of_the_gateway() -> None:
    program = "import sys, mailbridge.myfax; print(*(name for name in sys.modules if name.startswith('mailbridge.')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True)
    below = {"errors", "model", "lifecycle", "http_connections", "http_stream", "happy_eyeballs"}
    assert {name.split(".")[1] for name in done.stdout.split()} <= {"myfax", *below}
    assert "mailbridge.myfax.client" in done.stdout
