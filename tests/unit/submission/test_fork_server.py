"""The fork server: workers come from it, end with it, and share no memory with it or each other."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mailbridge.errors import StoreUnavailable
from mailbridge.store.local_spool import LocalSpool
from mailbridge.submission import worker_process
from mailbridge.submission.letter_reader import LetterReader
from mailbridge.submission.worker_protocol import Command, send_command
from tests.unit.submission.process_states import has_ended
from tests.wait_helpers import PATIENCE, until

MAIL = b"From: a@b.co\nSubject: s\n\nhello\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "a.eml").write_bytes(MAIL)
    return tmp_path


@asynccontextmanager
async def reading(root: Path, workers: int = 2) -> AsyncIterator[LetterReader]:
    reader = LetterReader(LocalSpool(root), "auto", workers)
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()


def server_of(reader: LetterReader) -> int:
    process = reader._fork_server._process
    assert process is not None
    return process.pid


def pids(reader: LetterReader) -> list[int]:
    return [worker.pid for worker in reader._workers if worker.pid is not None]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_workers_are_forked_from_one_process_which_never_gets_a_mail(root: Path) -> None:
    async def run() -> None:
        async with reading(root) as reader:
            server = server_of(reader)
            assert [parent(pid) for pid in pids(reader)] == [server, server]
            # Each worker is a session, by which the control socket knows it.
            assert [os.getsid(pid) for pid in pids(reader)] == pids(reader)
            await asyncio.gather(*(reader("mail/a.eml", client=str(number)) for number in range(6)))
            files = {os.readlink(one).split(":")[0] for one in Path(f"/proc/{server}/fd").iterdir()}
            assert files <= {"socket", "/dev/null", os.readlink("/proc/self/fd/2").split(":")[0]}
            assert parent(server) == os.getpid()

    asyncio.run(run())


def test_a_killed_fork_server_is_replaced_and_no_mail_is_blamed(root: Path) -> None:
    async def run() -> None:
        async with reading(root) as reader:
            server, workers = server_of(reader), pids(reader)
            for pid in workers:
                os.kill(pid, signal.SIGSTOP)
            mails = [asyncio.create_task(reader("mail/a.eml", client=str(number))) for number in range(2)]
            await asyncio.sleep(0)
            os.kill(server, signal.SIGKILL)
            outcomes = await asyncio.gather(*mails, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 2
            await until(lambda: all(map(has_ended, workers)))
            letters = await asyncio.gather(*(reader("mail/a.eml", client=str(number)) for number in range(2)))
            assert [letter.subject for letter in letters] == ["s", "s"]
            assert {parent(pid) for pid in pids(reader)} == {server_of(reader)} != {server}

    asyncio.run(run())


def test_idle_workers_that_ended_with_their_fork_server_cost_no_mail(root: Path) -> None:
    async def run() -> None:
        async with reading(root) as reader:
            os.kill(server_of(reader), signal.SIGKILL)
            await until(lambda: not any(worker.runs for worker in reader._workers))
            letters = await asyncio.gather(*(reader("mail/a.eml", client=str(number)) for number in range(4)))
            assert [letter.subject for letter in letters] == ["s"] * 4

    asyncio.run(run())


def test_a_fork_server_that_does_not_kill_a_worker_is_replaced(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "_KILL_SECONDS", 0.1)

    async def run() -> None:
        async with reading(root, workers=1) as reader:
            server, (worker,) = server_of(reader), pids(reader)
            os.kill(server, signal.SIGSTOP)
            os.kill(worker, signal.SIGSTOP)
            mail = asyncio.create_task(reader("mail/a.eml"))
            await asyncio.sleep(0)
            mail.cancel()
            reader._seconds = 0.1
            await asyncio.gather(mail, return_exceptions=True)
            await until(lambda: has_ended(server) and has_ended(worker))
            reader._seconds = PATIENCE
            assert (await reader("mail/a.eml", client="other")).subject == "s"

    asyncio.run(run())


def test_a_mail_is_read_although_the_machine_was_short_of_processes(root: Path) -> None:
    """A worker that cannot be forked costs its mail a 451, and the next mail gets one."""
    program = (
        "import os\n"
        "from mailbridge.submission import fork_server\n"
        "fork, left = os.fork, [2, 1, 0]\n"
        "def some():\n"
        "    if left.pop() == 1: raise BlockingIOError(11, 'no process')\n"
        "    return fork()\n"
        "os.fork = some\n"
        "fork_server.main()\n"
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, subprocess.Popen([sys.executable, "-c", program], stdin=theirs.fileno()) as process:
        theirs.close()
        first, failed, second = (_output_of_a_worker(ours, number) for number in range(3))
        assert os.read(failed, 1) == b""
        assert all(os.read(output, 1) for output in (first, second))
        for output in (first, failed, second):
            os.close(output)
        ours.close()
        assert process.wait(PATIENCE) == 0


def _output_of_a_worker(server: socket.socket, number: int) -> int:
    read, write = os.pipe()
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        send_command(server, Command(fork=True, number=number, files=(its.fileno(), write)))
    os.close(write)
    mine.detach()  # open until the test ends
    return read


def test_every_process_ends_with_a_killed_daemon(root: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from mailbridge.store.local_spool import LocalSpool\n"
        "from mailbridge.submission.letter_reader import LetterReader\n"
        "async def run():\n"
        "    reader = LetterReader(LocalSpool(Path(sys.argv[1])), 'auto')\n"
        "    await reader.start()\n"
        "    print(reader._fork_server._process.pid, *(worker.pid for worker in reader._workers), flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(run())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, root], stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        started = [int(pid) for pid in daemon.stdout.readline().split()]
        assert len(started) == 4
        os.kill(started[1], signal.SIGSTOP)  # also a worker that cannot notice
        daemon.kill()
    asyncio.run(until(lambda: all(map(has_ended, started))))


@pytest.mark.parametrize(
    ("before", "fault"),
    [
        ("import mmap; memory = mmap.mmap(-1, mmap.PAGESIZE)", "a worker could write the memory of others"),
        (
            "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
            "a thread may hold a lock",
        ),
    ],
)
def test_attack_12_the_fork_server_forks_nothing_that_workers_would_share(before: str, fault: str) -> None:
    program = f"{before}\nfrom mailbridge.submission import fork_server\nfork_server.check_forkable()\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert fault in done.stderr


def test_attack_12_the_fork_server_shares_no_memory_whatever_the_service_denies() -> None:
    """With MemoryDenyWriteExecute=yes (PR_SET_MDWE, Linux 6.3), libffi would make such memory for the first callback."""
    program = (
        "import ctypes, sys\n"
        "ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)\n"
        "from mailbridge.submission import fork_server, worker\n"
        "worker.load()\n"
        "print(*fork_server.writable_shared_memory())\n"
        "fork_server.check_forkable()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
