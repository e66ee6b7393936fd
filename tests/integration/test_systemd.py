"""The daemon started, watched and stopped as by systemd."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import IO

import pytest

from mailbridge import systemd
from mailbridge.page.text_page import render
from tests.wait_helpers import PATIENCE

MINIMAL = """
state_dir = "{state}"
[account.office]
email = "office@example.co.il"
password = "secret-password"
[myfax]
url = "http://127.0.0.1:1/action/"
[smtp]
listen = ["127.0.0.1:0"]
[http]
listen = "127.0.0.1:0"
"""
# Socket activation: becomes the daemon, with LISTEN_PID set and the socket as descriptor 3.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "mailbridge", *sys.argv[2:]])
"""
# MemoryDenyWriteExecute= as the kernel enforces it since 6.3 (PR_SET_MDWE), inherited by child processes.
DENY = """
import ctypes, os, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(77)
os.execv(sys.executable, [sys.executable, "-m", "mailbridge", *sys.argv[1:]])
"""


class NotifySocket:
    """The receiving end of sd_notify: notifications in order of arrival."""

    def __init__(self, address: str) -> None:
        self.received: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(PATIENCE)

    def until(self, state: str, times: int = 1) -> None:
        while self.received.count(state) < times:
            self.received.append(self._socket.recv(4096).decode())

    def rest(self) -> None:
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.received.append(self._socket.recv(4096).decode())

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def notify_socket(tmp_path: Path) -> Iterator[NotifySocket]:
    notify_socket = NotifySocket(str(tmp_path / "notify"))
    yield notify_socket
    notify_socket.close()


def environment(**more: object) -> dict[str, str]:
    ours = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "STATE_DIRECTORY", "RUNTIME_DIRECTORY")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, **{name: str(value) for name, value in more.items()}}


def config_in(folder: Path) -> Path:
    state = folder / "state"
    state.mkdir()
    path = folder / "config.toml"
    path.write_text(MINIMAL.format(state=state), encoding="utf-8")
    return path


@contextlib.contextmanager
def running(
    *before: str, config: Path, environ: dict[str, str], pass_fds: tuple[int, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run `serve`; kill it at the end if it still runs."""
    words = [sys.executable, *(before or ("-m", "mailbridge")), "serve", "--config", str(config)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environ, pass_fds=pass_fds)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE)


def address(stderr: IO[str]) -> tuple[str, int]:
    """Return the SMTP address from the log of the daemon."""
    for entry in stderr:
        facts = json.loads(entry)
        if facts["event"] == "daemon started":
            host, _, port = facts["smtp"].rpartition(":")
            return host, int(port)
    raise AssertionError("the daemon ended before it was ready")


def test_notifications_from_start_to_stop(tmp_path: Path, notify_socket: NotifySocket) -> None:
    environ = environment(NOTIFY_SOCKET=tmp_path / "notify", WATCHDOG_USEC=200_000)
    with running(config=config_in(tmp_path), environ=environ) as process:
        notify_socket.until("READY=1")
        notify_socket.until("WATCHDOG=1", notify_socket.received.count("WATCHDOG=1") + 3)
        assert process.stderr is not None
        smtp = address(process.stderr)
        with smtplib.SMTP(*smtp, timeout=PATIENCE) as client:
            assert client.ehlo()[0] == 250
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE) == 0
        notify_socket.rest()
    assert notify_socket.received.count("READY=1") == notify_socket.received.count("STOPPING=1") == 1
    assert notify_socket.received.index("READY=1") < notify_socket.received.index("STOPPING=1")
    assert set(notify_socket.received) == {"READY=1", "WATCHDOG=1", "STOPPING=1"}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(smtp, timeout=PATIENCE)


def test_ready_is_sent_once_smtp_answers(tmp_path: Path, notify_socket: NotifySocket, free_port: int) -> None:
    """At READY=1 systemd starts units that depend on the daemon, and they may send mail immediately."""
    config = config_in(tmp_path)
    config.write_text(config.read_text().replace('listen = ["127.0.0.1:0"]', f'listen = ["127.0.0.1:{free_port}"]'))
    with running(config=config, environ=environment(NOTIFY_SOCKET=tmp_path / "notify")):
        notify_socket.until("READY=1")
        with smtplib.SMTP("127.0.0.1", free_port, timeout=PATIENCE) as client:
            assert client.ehlo()[0] == 250


def test_failed_start_sends_no_ready(tmp_path: Path, notify_socket: NotifySocket) -> None:
    config = config_in(tmp_path)
    config.write_text("nonsense = 1\n", encoding="utf-8")
    with running(config=config, environ=environment(NOTIFY_SOCKET=tmp_path / "notify")) as process:
        assert process.wait(timeout=PATIENCE) == 78
        notify_socket.rest()
    assert notify_socket.received == []


def test_socket_activation(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # As during a restart: a client that connects before the daemon runs waits and is not refused.
        host, port = listener.getsockname()
        early = socket.create_connection((host, port), timeout=PATIENCE)
        descriptor = listener.fileno()
        activated = ("-c", ACTIVATE, str(descriptor))
        with (
            running(*activated, config=config_in(tmp_path), environ=environment(), pass_fds=(descriptor,)) as process,
            early.makefile("rb") as banner,
        ):
            assert banner.readline().startswith(b"220 ")
            assert process.stderr is not None
            assert address(process.stderr) == (host, port)
            with smtplib.SMTP(host, port, timeout=PATIENCE) as client:
                assert client.ehlo()[0] == 250
            early.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=PATIENCE) == 0
        # systemd still has the socket open.
        with socket.create_connection((host, port), timeout=PATIENCE):
            pass


def test_socket_beyond_loopback_requires_authentication(tmp_path: Path) -> None:
    """`mailbridge.socket` may listen elsewhere than `smtp.listen`, which the configuration alone cannot know."""
    config = config_in(tmp_path)
    config.write_text(config.read_text().replace("[smtp]\n", '[smtp]\nauth = "off"\n'))
    with socket.socket() as bound:
        # Bound but not listening, so that nobody can connect during the test.
        bound.bind(("0.0.0.0", 0))
        descriptor = bound.fileno()
        activated = ("-c", ACTIVATE, str(descriptor))
        with running(*activated, config=config, environ=environment(), pass_fds=(descriptor,)) as process:
            assert process.wait(timeout=PATIENCE) == 78
            assert process.stderr is not None
            error = process.stderr.read().splitlines()[-1]
    assert 'smtp.auth: "off" would let anyone who reaches 0.0.0.0' in error


def test_port_without_permission_names_the_remedy(tmp_path: Path) -> None:
    # Root may open every port, unless it drops its capabilities.
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv")
    config = config_in(tmp_path)
    config.write_text(config.read_text().replace('[smtp]\nlisten = ["127.0.0.1:0"]', '[smtp]\nlisten = ["127.0.0.1:465"]'))
    lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if lowest <= 465:
        pytest.skip("every user may open port 465 here (ip_unprivileged_port_start)")
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    words = [*without, sys.executable, "-m", "mailbridge", "serve", "--config", str(config)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, env=environment())
    assert done.returncode == 78
    assert "127.0.0.1:465 (Permission denied); choose a port from 1024 on, or let systemd open it" in done.stderr


def test_sockets_for_another_process_are_ignored(tmp_path: Path) -> None:
    environ = environment(LISTEN_FDS=1, LISTEN_PID=1)
    with running(config=config_in(tmp_path), environ=environ) as process:
        assert process.stderr is not None
        host, port = address(process.stderr)
        with smtplib.SMTP(host, port, timeout=PATIENCE) as client:
            assert client.ehlo()[0] == 250
    assert systemd.passed_sockets(environ) == []
    assert systemd.passed_sockets({}) == []


def test_worker_processes_with_memory_deny_write_execute(tmp_path: Path) -> None:
    with running("-c", DENY, config=config_in(tmp_path), environ=environment()) as process:
        assert process.stderr is not None
        try:
            smtp = address(process.stderr)
        except AssertionError:
            if process.wait(timeout=PATIENCE) == 77:
                pytest.skip("this kernel has no PR_SET_MDWE (6.3)")
            raise
        threading.Thread(target=process.stderr.read, daemon=True).start()
        with smtplib.SMTP(*smtp, timeout=PATIENCE) as client:
            client.ehlo()
            for mail in (_letter(attach=True), _letter(attach=False)):
                client.mail("dana@example.co.il")
                client.rcpt("03-9876543@fax.local")
                code, words = client.data(mail)
                assert (code, words[:18]) == (250, b"2.0.0 queued as fa"), words


def _letter(attach: bool) -> bytes:
    """Return a mail with a PDF to count pages of, or a mail whose text becomes a page."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "dana@example.co.il", "03-9876543@fax.local", "חוזה"
    mail["Message-ID"] = f"<{attach}@example.co.il>"
    mail.set_content("" if attach else "שלום, a letter of words\n")
    if attach:
        mail.add_attachment(render("A page.\n")[0], maintype="application", subtype="pdf", filename="a.pdf")
    return mail.as_bytes()


def test_notify_to_an_abstract_address() -> None:
    name = f"mailbridge-test-{os.getpid()}"
    notify_socket = NotifySocket(f"\0{name}")
    try:
        systemd.notify("READY=1", {"NOTIFY_SOCKET": f"@{name}"})
        notify_socket.until("READY=1")
    finally:
        notify_socket.close()


def test_notify_ignores_a_failure_to_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd.notify("READY=1", {})
    systemd.notify("READY=1", {"NOTIFY_SOCKET": ""})
    systemd.notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    # A systemd that does not read blocks the daemon only for a moment.
    monkeypatch.setattr(systemd, "_TIMEOUT", 0.01)
    notify_socket = NotifySocket(str(tmp_path / "notify"))
    try:
        while _sends(tmp_path / "notify"):
            pass
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        sending = threading.Thread(target=systemd.notify, args=("READY=1", environ), daemon=True)
        sending.start()
        sending.join(PATIENCE)
        assert not sending.is_alive()
        notify_socket.rest()
        assert "READY=1" not in notify_socket.received
    finally:
        notify_socket.close()


def _sends(address: Path) -> bool:
    """Fill the send buffer of one sender; return whether anything was sent."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(str(address))
        sender.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += sender.send(b"WATCHDOG=1")
        return sent > 0


def test_watchdog_notifies_only_if_systemd_watches_this_process(tmp_path: Path, notify_socket: NotifySocket) -> None:
    async def runs(**environ: str) -> bool:
        """Whether the watchdog keeps running."""
        task = asyncio.create_task(systemd.watchdog({"NOTIFY_SOCKET": str(tmp_path / "notify"), **environ}))
        done, _ = await asyncio.wait({task}, timeout=0.05)
        task.cancel()
        return not done

    assert not asyncio.run(runs())
    assert not asyncio.run(runs(WATCHDOG_USEC="10000", WATCHDOG_PID="1"))
    notify_socket.rest()
    assert notify_socket.received == []
    assert asyncio.run(runs(WATCHDOG_USEC="10000", WATCHDOG_PID=str(os.getpid())))
    notify_socket.rest()
    assert notify_socket.received.count("WATCHDOG=1") >= 2


def test_passed_sockets_are_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        copy = os.dup(listener.fileno())
        os.set_inheritable(copy, True)
        monkeypatch.setattr(systemd, "_FIRST_PASSED", copy)
        [passed] = systemd.passed_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
        with passed:
            assert passed.getsockname() == listener.getsockname()
            assert not passed.get_inheritable()
