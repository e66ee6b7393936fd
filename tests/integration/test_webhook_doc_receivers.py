"""The receivers of docs/webhooks.md, run as they are there, with the real dispatcher."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from pathlib import Path

import httpx

from tests.integration.webhook_fixtures import NEW, Hooks, in_hooks, now
from tests.wait_helpers import PATIENCE, until

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"


def block(language: str) -> str:
    """The one code block of a language."""
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


def test_the_python_receiver_accepts_a_signed_event_and_rejects_a_forged_one(tmp_path: Path, free_port: int) -> None:
    program = tmp_path / "receiver.py"
    program.write_text(block("python"), encoding="utf-8")

    async def scenario(hooks: Hooks) -> None:
        env = {**os.environ, "WEBHOOK_SECRET": NEW, "PORT": str(free_port)}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, str(program), env=env, stdout=pipe, stderr=pipe)
        try:
            assert process.stdout is not None
            async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:

                async def listens() -> bool:
                    with contextlib.suppress(httpx.ConnectError):
                        await http.get(f"http://127.0.0.1:{free_port}/")
                        return True
                    return False

                await until(listens)
                hooks.start("crm", f"http://127.0.0.1:{free_port}/")
                event = await hooks.emit("fax.delivered", fax_id="fax_1", subject="חוזה")
                delivered = await hooks.settled(event, "delivered")
                assert (delivered.status, delivered.attempts) == (204, 1)
                assert (await process.stdout.readline()).decode().split() == [event.id, "fax.delivered", "fax_1"]
                forged = {"webhook-id": "evt_1", "webhook-timestamp": str(int(now().timestamp())), "webhook-signature": "v1,AAAA"}
                answer = None
                with contextlib.suppress(httpx.RemoteProtocolError):
                    answer = await http.post(f"http://127.0.0.1:{free_port}/", content=b"{}", headers=forged)
                assert answer is None or not answer.is_success
        finally:
            process.kill()
            await process.communicate()

    in_hooks(tmp_path, scenario)
