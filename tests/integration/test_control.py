"""The control socket between a real server and its client: who may connect, what is answered, and what must not block it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from mailbridge.control import client, server
from mailbridge.control.client import NoDaemon, call, call_first
from mailbridge.control.server import Command, ControlService
from mailbridge.control.socket_path import candidates, socket_path
from mailbridge.errors import ControlError, NotFound
from tests.wait_helpers import PATIENCE

UNIX = socket.AF_UNIX


async def echo(*, text: str = "") -> str:
    return text


async def missing(*, id: str) -> None:
    raise NotFound(f"there is no fax {id}")


async def broken() -> None:
    raise RuntimeError("hunter2 is in here")


async def big(*, size: int) -> str:
    return "x" * size


COMMANDS: dict[str, Command] = {"echo": echo, "missing": missing, "broken": broken, "big": big}


def with_server(path: Path, scenario: Callable[[], Awaitable[None]], commands: dict[str, Command] = COMMANDS) -> None:
    async def main() -> None:
        service = ControlService(path, commands)
        await service.start()
        try:
            async with asyncio.timeout(PATIENCE):
                await scenario()
        finally:
            async with asyncio.timeout(PATIENCE):
                await service.stop()

    asyncio.run(main())


async def asked(path: Path, command: str, /, **args: object) -> Any:
    return await asyncio.to_thread(call, path, command, **args)


async def said(path: Path, request: bytes) -> dict[str, Any]:
    """Send bytes as they are and return the line that comes back."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=8 * 1024 * 1024)
    try:
        writer.write(request)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        return cast("dict[str, Any]", json.loads(await reader.readline()))
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_a_command_is_answered_and_its_error_is_passed_on(path: Path) -> None:
    async def scenario() -> None:
        assert await asked(path, "echo", text="שלום\n\u2028") == "שלום\n\u2028"
        with pytest.raises(ControlError, match=r"^there is no fax fax_1$"):
            await asked(path, "missing", id="fax_1")
        assert await said(path, b'{"command": "missing", "args": {"id": "fax_1"}}\n') == {
            "ok": False,
            "error": "there is no fax fax_1",
            "kind": "NotFound",
        }

    with_server(path, scenario)


def test_a_long_answer_arrives_whole(path: Path) -> None:
    async def scenario() -> None:
        assert await asked(path, "big", size=5_000_000) == "x" * 5_000_000

    with_server(path, scenario)


def test_an_unknown_command_and_wrong_arguments_are_refused(path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(ControlError, match=r"^unknown command 'format_disk'; the daemon may be of another version$"):
            await asked(path, "format_disk")
        for wrong in ({"tekst": "x"}, {"text": "x", "more": 1}):
            with pytest.raises(ControlError, match="invalid request"):
                await asked(path, "echo", **wrong)
        with pytest.raises(ControlError, match="invalid request"):
            await asked(path, "missing")

    with_server(path, scenario)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n",
        b"\x00\xff\xfe\n",
        b"[]\n",
        b"null\n",
        b'"echo"\n',
        b"{}\n",
        b'{"command": []}\n',
        b'{"command": "echo", "args": []}\n',
        b'{"command": "echo", "args": "x"}\n',
        b'{"command": "echo", "args": {"text": "x", "self": 1}}\n',
        b"[" * 100_000 + b"\n",
        b'{"command": "echo", "args": {"text": ' + b"9" * 10_000 + b"}}\n",
    ],
)
def test_an_invalid_request_is_answered_and_harms_nobody(path: Path, garbage: bytes) -> None:
    async def scenario() -> None:
        answer = await said(path, garbage)
        assert answer["ok"] is False
        assert "invalid request" in answer["error"]
        assert await asked(path, "echo", text="well") == "well"

    with_server(path, scenario)


def test_an_unexpected_error_in_a_command_is_logged_and_not_disclosed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        with pytest.raises(ControlError, match=r"^the daemon failed to carry out this command; check its log$"):
            await asked(path, "broken")
        assert await asked(path, "echo", text="well") == "well"

    with_server(path, scenario)
    told = capsys.readouterr()
    assert "hunter2" in told.out + told.err


def test_a_request_that_is_too_long_is_refused_with_the_limit(path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(ControlError, match=r"^the request is longer than 1,048,576 bytes$"):
            await asked(path, "echo", text="x" * 3_000_000)
        assert await asked(path, "echo", text="x" * 500_000) == "x" * 500_000

    with_server(path, scenario)


def test_several_requests_on_one_connection(path: Path) -> None:
    async def scenario() -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b'{"command": "echo", "args": {"text": "1"}}\nrubbish\n{"command": "echo", "args": {"text": "2"}}\n')
        answers = [json.loads(await reader.readline()) for _ in range(3)]
        assert [answer.get("result") for answer in answers] == ["1", None, "2"]
        writer.close()
        await writer.wait_closed()

    with_server(path, scenario)


def test_many_clients_are_answered_at_once(path: Path) -> None:
    arrived = 0
    everyone = asyncio.Event()

    async def wait() -> int:
        nonlocal arrived
        arrived += 1
        if arrived == 30:
            everyone.set()
        await everyone.wait()
        return arrived

    async def scenario() -> None:
        # Each answer waits for the last one to ask: one after the other would never end.
        answers = await asyncio.gather(*(said(path, b'{"command": "wait"}\n') for _ in range(30)))
        assert answers == [{"ok": True, "result": 30}] * 30

    with_server(path, scenario, {"wait": wait})


@pytest.mark.parametrize("half", [b"", b'{"command": ', b'{"command": "big", "args": {"size": 5000000}}\n'])
def test_a_client_that_hangs_up_is_dropped(path: Path, half: bytes) -> None:
    async def scenario() -> None:
        for _ in range(20):
            _, writer = await asyncio.open_unix_connection(str(path))
            writer.write(half)
            writer.close()
        assert await asked(path, "echo", text="well") == "well"

    with_server(path, scenario)


def test_a_silent_client_is_dropped_after_the_timeout(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_READ_TIMEOUT", 0.05)

    async def scenario() -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    with_server(path, scenario)


def test_a_client_that_does_not_read_does_not_delay_the_end(path: Path) -> None:
    async def scenario() -> None:
        deaf = socket.socket(UNIX, socket.SOCK_STREAM)
        deaf.connect(str(path))
        deaf.sendall(b'{"command": "big", "args": {"size": 50000000}}\n')
        held.append(deaf)
        assert await asked(path, "echo", text="well") == "well"

    held: list[socket.socket] = []
    with_server(path, scenario)
    assert not path.exists()
    held[0].close()


def test_a_running_command_does_not_delay_the_end(path: Path) -> None:
    begun = asyncio.Event()

    async def forever() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def main() -> None:
        service = ControlService(path, {"forever": forever})
        await service.start()
        asking = asyncio.create_task(asked(path, "forever"))
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            await service.stop()
            with pytest.raises(ControlError, match=r"^the daemon closed the connection; check its log$"):
                await asking

    asyncio.run(main())


def test_the_socket_is_private_and_is_removed_with_the_daemon(path: Path) -> None:
    async def scenario() -> None:
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600

    previous = os.umask(0)
    try:
        with_server(path, scenario)
    finally:
        os.umask(previous)
    assert not path.exists()
    with pytest.raises(NoDaemon, match=r"no mailbridge listens on .*; start it with mailbridge serve"):
        call(path, "echo")


class Peer:
    """The one method of a socket that tells who is at its other end."""

    def __init__(self, uid: int) -> None:
        self._uid = uid

    def getsockopt(self, *_: int) -> bytes:
        return struct.pack("3i", 1, self._uid, self._uid)


def test_only_root_and_the_daemons_user_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    service = server.ControlService(Path("unused"), {})
    may = {uid: service._is_allowed(cast("socket.socket", Peer(uid))) for uid in (0, 4711, 4712, 65534)}
    assert may == {0: True, 4711: True, 4712: False, 65534: False}


def test_attack_12_a_worker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    service = server.ControlService(Path("unused"), {}, is_worker=lambda pid: pid == 1)
    assert not service._is_allowed(cast("socket.socket", Peer(4711)))
    assert not service._is_allowed(cast("socket.socket", Peer(0)))


@pytest.mark.skipif(os.geteuid() != 0, reason="this machine runs the tests as somebody who cannot ask as another user")
def test_another_user_who_can_connect_is_refused_with_an_explanation() -> None:
    # pytest's own folder is closed to others, so that the question would not reach the socket.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "control.sock"

        async def scenario() -> None:
            refused = await asyncio.to_thread(_ask_as_nobody, path)
            assert refused == "PermissionError"
            path.chmod(0o666)
            told = await asyncio.to_thread(_ask_as_nobody, path)
            assert told.startswith("{"), told
            answer = json.loads(told)
            assert answer["ok"] is False
            assert answer["error"] == "only root and the daemon's user may use the control socket; use sudo"

        with_server(path, scenario)


def _ask_as_nobody(path: Path) -> str:
    program = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "peer = socket.socket(socket.AF_UNIX)\n"
        "try: peer.connect(sys.argv[1])\n"
        "except PermissionError: sys.exit('PermissionError')\n"
        # Refused before it has said a word, it may find the line closed already.
        'try: peer.sendall(b\'{"command": "echo"}\\n\')\n'
        "except ConnectionError: pass\n"
        "sys.exit(peer.recv(10_000).decode())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=PATIENCE)
    return done.stderr.strip()


def test_a_socket_that_a_killed_daemon_left_is_replaced(path: Path) -> None:
    with socket.socket(UNIX, socket.SOCK_STREAM) as killed:
        killed.bind(str(path))
    assert path.is_socket()
    with pytest.raises(NoDaemon):
        call(path, "echo")

    async def scenario() -> None:
        assert await asked(path, "echo", text="well") == "well"

    with_server(path, scenario)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_file_at_the_sockets_path_is_reported_and_kept(path: Path, tmp_path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ControlError, match=r"control\.sock exists and is not a socket; move it away$"):
        asyncio.run(ControlService(path, COMMANDS).start())
    assert path.is_symlink() or path.exists()


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(
        ControlError,
        match=r"^cannot create .* \(No such file or directory\); check who owns its directory$",
    ):
        asyncio.run(ControlService(tmp_path / "gone" / "control.sock", COMMANDS).start())


def test_a_path_too_long_for_a_socket_address_still_works(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40) / ("longer" * 30)
    folder.mkdir(parents=True)
    path = folder / "control.sock"

    async def scenario() -> None:
        assert await asked(path, "echo", text="well") == "well"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    with_server(path, scenario)
    assert not path.exists()
    with pytest.raises(NoDaemon):
        call(path, "echo")
    with pytest.raises(NoDaemon):
        call(folder / "gone" / "control.sock", "echo")


@contextlib.contextmanager
def listener(path: Path, answer: bytes | None) -> Iterator[None]:
    """Somebody else's server: says `answer` to the first who asks, or nothing at all."""
    over = threading.Event()

    def serve() -> None:
        peer, _ = listening.accept()
        with peer:
            peer.recv(10_000)
            if answer is not None:
                peer.sendall(answer)
            else:
                over.wait(PATIENCE)

    with socket.socket(UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(PATIENCE)


@pytest.mark.parametrize(
    "answer", [b"[]\n", b"null\n", b"{}\n", b'{"ok": true}\n', b'{"ok": false, "error": null}\n', b'"\\n"\n']
)
def test_an_answer_of_another_server_is_reported(path: Path, answer: bytes) -> None:
    with listener(path, answer), pytest.raises(ControlError, match=r"is not mailbridge, or of another version$"):
        call(path, "echo")


@pytest.mark.parametrize("answer", [b"", b'{"ok": true, "resu', b"220 hello\r\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n"])
def test_an_answer_that_is_truncated_or_not_json_is_reported(path: Path, answer: bytes) -> None:
    with listener(path, answer), pytest.raises(ControlError, match=r"^the daemon closed the connection; check its log$"):
        call(path, "echo")


def test_a_daemon_that_does_not_answer_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_TIMEOUT", 0.05)
    with listener(path, None), pytest.raises(ControlError, match=r"^no answer from the daemon within 0\.05 s; check its log$"):
        call(path, "echo")


def test_the_socket_is_in_the_runtime_directory_otherwise_in_the_state_dir() -> None:
    state = Path("/var/lib/mailbridge")
    assert socket_path(state, {"RUNTIME_DIRECTORY": "/run/mailbridge"}) == Path("/run/mailbridge/control.sock")
    assert socket_path(state, {"RUNTIME_DIRECTORY": "/run/a:/run/b"}) == Path("/run/a/control.sock")
    assert socket_path(state, {}) == Path("/var/lib/mailbridge/control.sock")
    # A person's shell knows nothing of the service's environment.
    assert candidates(state, {}) == [Path("/var/lib/mailbridge/control.sock"), Path("/run/mailbridge/control.sock")]
    assert candidates(Path("/srv/fax"), {}) == [Path("/srv/fax/control.sock")]


def test_every_candidate_path_is_tried(tmp_path: Path) -> None:
    path = tmp_path / "run" / "control.sock"
    path.parent.mkdir()

    async def scenario() -> None:
        places = [tmp_path / "control.sock", path]
        assert await asyncio.to_thread(call_first, places, "echo", text="well") == "well"

    with_server(path, scenario)
    with pytest.raises(NoDaemon, match=r"run/control\.sock"):
        call_first([tmp_path / "control.sock", path], "echo")


def test_a_path_that_this_user_may_not_use_does_not_end_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(peer: socket.socket, address: str) -> None:
        if "closed" in address:
            raise PermissionError
        real(peer, address)

    real = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", connect)
    closed, path = tmp_path / "closed.sock", tmp_path / "control.sock"

    async def scenario() -> None:
        assert await asyncio.to_thread(call_first, [closed, path], "echo", text="well") == "well"

    with_server(path, scenario)
    # The path without permission is the more likely cause than the missing one.
    with pytest.raises(ControlError, match=r"only root and the daemon's user may use .*closed\.sock; use sudo$"):
        call_first([closed, path], "echo")
