"""Commands that call MyFax, as processes against a simulator, without a daemon."""

from __future__ import annotations

import asyncio
import json
import os
import pty
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.integration.listing_fixtures import FakeMyFax
from tests.preloaded_process import Start, preloaded
from tests.wait_helpers import PATIENCE

PASSWORD, DISTRIBUTOR = "hunter2-office", "hunter2-distributor"
CONFIG = """
state_dir = "{folder}/state"
[account.office]
email = "office@example.co.il"
password = "{password}"
[account.branch]
email = "branch@example.co.il"
password = "{password}"
[myfax]
url = "{url}"
timeout = "60s"
[fax]
first_poll = "50ms"
slowest_poll = "100ms"
"""
WITH_DISTRIBUTOR = f"""
[distributor]
email = "dist@example.co.il"
password = "{DISTRIBUTOR}"
"""
AT = datetime(2026, 1, 4, 9, 0, tzinfo=UTC)
REGISTER, RELEASE, STATUS = "/action/myFaxAllocateDistributer.do", "/action/releaseFaxLine.do", "/action/faxStatus.do"
DONE = "<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><RESPONSE_TEXT>OK</RESPONSE_TEXT></RESPONSE>"
REFUSED = "<RESPONSE><RESPONSE_CODE>-7</RESPONSE_CODE><RESPONSE_TEXT>No such line</RESPONSE_TEXT></RESPONSE>"


@dataclass
class CliSetup:
    """A folder with a configuration, and the simulator that it names."""

    folder: Path
    myfax: FakeMyFax

    def answer(self, path: str, *bodies: str | int) -> None:
        """Set the answers to the next calls: XML, or only an HTTP status."""
        waiting = self.myfax.answers.setdefault(path, [])
        for body in bodies:
            waiting.append((body, {}, b"") if isinstance(body, int) else (200, {}, body.encode()))

    def forms(self, path: str) -> list[dict[str, str]]:
        asked = [parse_qs(request.body.decode()) for request in self.myfax.asked if request.path == path]
        return [{name: values[0] for name, values in form.items()} for form in asked]

    async def run(self, *words: str, stdin: str = "", terminal: bool = False) -> tuple[int, str, str]:
        """Run `mailbridge`; return its exit status, output and errors. With `terminal`, `stdin` is typed there."""
        ours = ("MAILBRIDGE_CONFIG", "STATE_DIRECTORY", "RUNTIME_DIRECTORY")
        env = {**{name: value for name, value in os.environ.items() if name not in ours}, "TERM": "xterm", "COLUMNS": "120"}
        start = Start(arguments=[*words, "--config", str(self.folder / "config.toml")], env=env)
        ours_end, its_end = pty.openpty() if terminal else (-1, -1)
        if terminal:
            os.write(ours_end, stdin.encode())
        try:
            given = its_end if terminal else stdin.encode()
            status, output, errors = await asyncio.to_thread(preloaded().run, start, given, PATIENCE)
        finally:
            if terminal:
                os.close(ours_end)
                os.close(its_end)
        said = output.decode() + errors.decode()
        assert PASSWORD not in said
        assert DISTRIBUTOR not in said
        assert "Traceback" not in said, said
        return status, output.decode(), errors.decode()

    async def json(self, *words: str, stdin: str = "") -> Any:
        status, output, errors = await self.run(*words, "--json", stdin=stdin)
        assert status == 0, errors
        return json.loads(output)


def play(folder: Path, scenario: Callable[[CliSetup], Awaitable[None]], more: str = WITH_DISTRIBUTOR) -> None:
    async def main() -> None:
        myfax = FakeMyFax()
        await myfax.start()
        try:
            config = CONFIG.format(folder=folder, url=myfax.url, password=PASSWORD)
            (folder / "config.toml").write_text(config + more, encoding="utf-8")
            await scenario(CliSetup(folder, myfax))
            assert not (folder / "state").exists(), "no daemon, no state"
        finally:
            await myfax.stop()

    asyncio.run(main())
