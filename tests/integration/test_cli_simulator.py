"""`simulator` as a process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request

from tests.integration.cli_fixtures import environment, one_line, run
from tests.wait_helpers import PATIENCE


def test_simulator_prints_its_addresses_and_answers() -> None:
    words = [sys.executable, "-m", "mailbridge", "simulator", "--port", "0", "--imap-port", "0", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    try:
        assert process.stdout is not None
        imap, myfax = (json.loads(process.stdout.readline()) for _ in range(2))
        host, _, port = imap["imap"].partition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as mailbox:
            assert mailbox.recv(1000).startswith(b"* OK")
        url = myfax["url"].removesuffix("action/")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}_control/uploads", timeout=PATIENCE) as answer:
            assert json.load(answer) == []
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) in (0, 130)
    finally:
        process.kill()
        _, errors = process.communicate(timeout=PATIENCE)
    assert errors == ""


def test_simulator_on_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("simulator", "--port", str(taken.getsockname()[1]))
    assert done.status == 1
    assert "in use" in one_line(done)
