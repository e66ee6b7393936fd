"""DataReader: what reaches the spool file, what goes back to the dialogue, and when a mail fails."""

from __future__ import annotations

import asyncio

import pytest

from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.submission.data_reader import BEHIND, DataReader
from mailbridge.submission.limits import DataLimits, SessionEnded

LIMITS = DataLimits(max_size=20, idle_timeout=10.0)


class File:
    """Collects what is written; after `room` bytes the disk is full."""

    def __init__(self, room: int = 1000) -> None:
        self.content, self.room = b"", room

    def write(self, data: bytes) -> None:
        if len(self.content) + len(data) > self.room:
            raise StoreUnavailable("the spool cannot be written: No space left on device")
        self.content += data

    def write_behind(self, data: bytes) -> asyncio.Future[None]:
        """Write at the next turn of the loop, as a thread would."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def work() -> None:
            try:
                self.write(data)
            except StoreUnavailable as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        loop.call_soon(work)
        return done


def data_reader(file: File, now: list[float] | None = None) -> DataReader:
    times = now or [0.0]
    return DataReader(file, LIMITS, lambda: times[0])


def test_content_is_written_at_once_and_input_after_the_end_is_returned() -> None:
    file = File()
    reader = data_reader(file)
    reader.put(b"abc\r\n")
    assert file.content == b"abc"
    reader.put(b"d\r\n.\r\nMAIL")
    assert file.content == b"abc\r\nd\r\n"
    reader.put(b" FROM")
    assert asyncio.run(reader.end()) == b"MAIL FROM"
    assert reader.failure is None


def test_a_mail_over_the_limit_is_read_to_its_end_and_fails() -> None:
    file = File()
    reader = data_reader(file)
    reader.put(b"x" * 15)
    reader.put(b"x" * 15)
    reader.put(b"\r\n.\r\nQUIT")
    assert asyncio.run(reader.end()) == b"QUIT"
    assert isinstance(reader.failure, Refused)
    assert reader.failure.reply.startswith("552 5.3.4 ")
    assert file.content == b"x" * 15


def test_a_failed_write_is_kept_until_the_end_of_data() -> None:
    reader = data_reader(File(room=5))
    reader.put(b"123456")
    reader.put(b"x\r\n.\r\n")
    assert asyncio.run(reader.end()) == b""
    assert isinstance(reader.failure, StoreUnavailable)


def test_a_mail_that_is_too_slow_ends_the_session() -> None:
    now = [100.0]
    reader = data_reader(File(), now)
    now[0] += 10.0
    reader.put(b"x")
    now[0] += 1.0
    reader.put(b"x")
    with pytest.raises(SessionEnded, match=r"^421 4\.4\.2 "):
        asyncio.run(reader.end())


def test_the_last_chunk_is_never_too_slow() -> None:
    now = [100.0]
    reader = data_reader(File(), now)
    now[0] += 100.0
    reader.put(b"x\r\n.\r\n")
    assert asyncio.run(reader.end()) == b""


def test_an_unexpected_error_ends_the_mail_at_once() -> None:
    class Broken(File):
        def write(self, data: bytes) -> None:
            raise RuntimeError("a bug")

    reader = data_reader(Broken())
    reader.put(b"abc")
    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(reader.end())


@pytest.mark.parametrize(
    ("stream", "seen"),
    [
        (b".\n", "the data ended in CR LF . LF"),
        (b"a\n.\nb\n.\r", "the data ended in LF . CR"),
        (b"a\n.\n" + b"b" * 1000, "no end of data after 1006 bytes"),
        (b"a" * 1000 + b"\n.\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", "the data ended in LF . LF"),
        (b"a\r\r\n.\r\r\n", "the data ended in CR CR LF . CR CR LF"),
        (b"a\n..\n", "no end of data after 7 bytes"),
        (b"", "no end of data after 0 bytes"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 4000])
def test_what_was_seen_of_data_that_does_not_end(stream: bytes, seen: str, size: int) -> None:
    reader = DataReader(File(), DataLimits(max_size=2000, idle_timeout=10.0), lambda: 0.0)
    for start in range(0, len(stream), size):
        reader.put(stream[start : start + size])
    assert reader.seen == f"{seen}; the end of data is CR LF . CR LF"


@pytest.mark.parametrize("room", [10 * BEHIND, 3 * BEHIND])
def test_the_rest_of_a_large_mail_is_written_behind_in_its_order(room: int) -> None:
    async def scenario() -> None:
        file = File(room)
        reader = DataReader(file, DataLimits(max_size=10 * BEHIND, idle_timeout=10.0), lambda: 0.0)
        lines = [b"%06d\r\n" % number * (BEHIND // 16) for number in range(8)]
        for number, chunk in enumerate(lines):
            reader.put(chunk)
            # The first MiB lacks its last line end, so that the third half is written too. The fourth is in a thread.
            assert (reader.writing is None) == (number < 4)
        reader.put(b".\r\n")
        assert file.content == b"".join(lines[:3])[:-2]
        assert await reader.end() == b""
        assert reader.writing is None
        if room == 10 * BEHIND:
            assert (file.content, reader.failure) == (b"".join(lines), None)
        else:
            assert isinstance(reader.failure, StoreUnavailable)

    asyncio.run(scenario())
