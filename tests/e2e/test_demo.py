"""The demo: its steps, its exit codes, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import smtplib
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from mailbridge.demo import demo_run
from mailbridge.demo.mailbox import report_mail
from tests.wait_helpers import PATIENCE

pytestmark = pytest.mark.database("sqlite", reason="the demo keeps everything in SQLite")


def demo(*args: str, temporary: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mailbridge", "demo", "--port", "0", *args]
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def test_demo_once_prints_each_step_and_leaves_nothing(tmp_path: Path) -> None:
    with demo("--once", "--json", temporary=tmp_path) as process:
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    steps = [json.loads(line) for line in output.splitlines()]
    text = "\n".join(step["step"] for step in steps)
    for words in (
        "250 2.0.0 queued as fax_",
        "receives contract MB-",
        "mails its report",
        "the notice to dana@example.co.il, with its confirmation fax_",
        "demo succeeded",
    ):
        assert words in text
    assert re.findall(r"webhook (\S+) .*signature verified", text) == ["fax.queued", "fax.submitted", "fax.delivered"]
    assert steps[-1]["seconds"] > 0
    assert list(tmp_path.iterdir()) == []


def test_demo_keeps_running_for_a_mail_client_and_stops_cleanly(tmp_path: Path) -> None:
    with demo(temporary=tmp_path) as process:
        assert process.stdout is not None
        lines = []
        while "Press Ctrl-C to stop" not in (line := process.stdout.readline()):
            lines.append(line)
            assert line, lines
        show_console("".join(lines))
        pasted = next(line for line in lines if "swaks --server" in line)
        host, port = pasted.split()[2].split(":")
        with smtplib.SMTP(host, int(port), timeout=PATIENCE) as client:
            client.sendmail("dana@example.co.il", "03-9876501@fax.local", "Subject: hello\n\na short letter\n")
        while "webhook fax.failed +97239876501 busy, signature verified" not in (line := process.stdout.readline()):
            assert line
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143
    assert list(tmp_path.iterdir()) == []


def show_console(printed: str) -> None:
    """Log in to the console as the demo says, and look for its fax."""
    url = re.findall(r"http://127\.0\.0\.1:[0-9]+/console/faxes", printed)[0]
    name, password = re.findall(r"User name: (\S+), password: (\S+)", printed)[0]
    with httpx.Client(trust_env=False, timeout=PATIENCE, follow_redirects=True) as browser:
        form = browser.get(url)
        assert form.url.path == "/console/login"
        login = {"name": name, "password": password, "next": "/console/faxes"}
        page = browser.post(form.url, data=login, headers={"sec-fetch-site": "same-origin"})
        assert page.url.path == "/console/faxes"
        assert "03-9876543" in page.text
        fax = browser.get(page.url.join(re.findall(r'href="(/console/faxes/fax_[^"]+)"', page.text)[0]))
        assert "MB-" in fax.text
        confirmation = browser.get(f"{fax.url}/confirmation")
        assert confirmation.content.startswith(b"%PDF")


def test_demo_fails_if_the_report_does_not_end_the_fax(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    # A report of another fax: this one is delivered all the same, but not by its report.
    monkeypatch.setattr(demo_run, "report_of", lambda fax, to: report_mail("Success", 9, "another", to=to))
    assert asyncio.run(demo_run.DemoRun(lambda _, words: steps.append(words)).run(once=True)) == 1
    assert any("reported by poll instead of by mail" in step for step in steps)
