"""A backup under load, a restore elsewhere, and a start there: nothing is lost, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailbridge.page.text_page import render
from tests.e2e.environment import Environment
from tests.e2e.test_commands import MAIL, fax_to, in_environment, refused
from tests.e2e.test_kill import Client, settled
from tests.wait_helpers import until

pytestmark = pytest.mark.database("sqlite", reason="a PostgreSQL database is backed up by its own programs")

FAST = '\n[fax]\nper_number = 0\nfirst_poll = "50ms"\nslowest_poll = "200ms"\n'
SCHEDULED = f"X-Mailbridge-Send-At: {(datetime.now(UTC) + timedelta(days=30)).isoformat()}\n".encode()
# MyFax mails a report about each of these: about a fax whose answer was lost, the simulator mails none.
_ENDINGS = ("43",) * 8 + ("01", "06")
_TOKEN = re.compile(r"MB-[0-9A-Z]{8}")


def sent(env: Environment) -> Counter[str]:
    """How often MyFax got each fax, by its token."""
    return Counter(_TOKEN.findall(upload.files[0]["name"])[0] for upload in env.simulator.uploads)


def test_backup_under_load_restore_elsewhere_start(tmp_path: Path, free_port: int) -> None:
    asyncio.run(_backup_under_load(tmp_path, free_port))


async def _backup_under_load(state: Path, port: int) -> None:
    done = threading.Event()
    page, _ = render("A page.")
    clients = [Client(f"client{n}", [port], page, done, _ENDINGS, digit=5 + n) for n in range(3)]
    async with Environment(state, more=FAST, step=0.05, smtp_port=port) as env:
        await env.start_myfax()
        await env.start()
        reply = await env.send("dana@example.co.il", ["03-9876543@fax.local"], SCHEDULED + MAIL.read_bytes())
        scheduled = reply.split()[4]
        for client in clients:
            client.start()
        try:
            await until(lambda: sum(len(client.accepted) for client in clients) >= 30)
            before = [fax for client in clients for fax in list(client.accepted.values())]
            backup = state / "backup"
            status, output, errors = await env.command("backup", str(backup))
            assert (status, errors) == (0, ""), output + errors
            sent_then = len(env.simulator.uploads)
            await until(lambda: len(env.simulator.uploads) >= sent_then + 10)
        finally:
            done.set()
            for client in clients:
                await asyncio.to_thread(client.join)
        await env.kill()

        verified = await env.printed_without_config("verify", str(backup))
        assert verified["ok"], verified
        text = env.config.read_text(encoding="utf-8").replace(str(env.state), str(state / "elsewhere"))
        env.config.write_text(text, encoding="utf-8")
        env.state = state / "elsewhere"
        held = (await env.printed("restore", str(backup)))["in_doubt"]
        assert scheduled in held
        already = sent(env)
        await env.start()
        known = {fax["id"]: fax for fax in await env.printed("queue", "--limit", "10000")}
        assert {*before, scheduled} <= set(known)
        # MyFax's reports about what was sent after the backup end those doubts; nothing is sent meanwhile.
        was_sent = [id for id in held if already[known[id]["token"]]]
        for id in was_sent:
            await env.becomes(id, "delivered", "failed")
        assert sent(env) == already

        waiting = [fax["id"] for fax in await env.printed("queue", "--state", "in_doubt", "--limit", "10000")]
        restored = [id for id in waiting if id in held]
        assert scheduled in restored
        answer = await env.printed("resolve", "--restored", "--resend")
        assert answer["ids"] == sorted(restored)
        # Three doubts in a row may pause the account; `settled` ends that.
        states = {fax["id"]: fax["state"] for fax in await settled(env)}
        assert {states[id] for id in restored} <= {"delivered", "failed", "in_doubt"}
        now = sent(env)
        assert not [token for token, times in now.items() if times > 1]
        assert now.total() == already.total() + len(restored)


def test_backup_without_a_daemon_and_refusals(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        fax = await fax_to(env, "03-9876543")
        (env.state / "oauth2-office.json").write_text("{}")
        assert "is not empty" in await refused(env, "backup", str(tmp_path))
        status, _, errors = await env.command("backup", str(env.state / "here"))
        assert (status, "inside the state directory" in errors) == (2, True)
        backup = tmp_path / "backup"
        assert (await env.command("backup", str(backup)))[0] == 0
        assert "another mailbridge already works" in (await env.command("restore", str(backup)))[2]
        await env.stop()
        assert (await env.printed("backup", str(tmp_path / "second")))["faxes"] == 1
        assert "is not empty" in await refused(env, "restore", str(backup))
        (backup / "oauth2-office.json").unlink()
        status, _, errors = await env.command("restore", str(backup))
        assert (status, "oauth2-office.json is missing" in errors, "add --damaged" in errors) == (1, True, True)
        env.state.rename(tmp_path / "lost")
        status, output, _ = await env.command("restore", str(backup), "--damaged")
        assert (status, "1 faxes are in doubt" in output) == (0, True)
        shown = await env.printed("show", fax)
        assert (shown["state"], shown["restored_at"] is not None) == ("in_doubt", True)

    in_environment(tmp_path, scenario, myfax=False)


def test_files_are_kept_for_a_backup_also_over_a_reload(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        fax = await fax_to(env, "03-9876543")
        await env.becomes(fax, "delivered")
        [mail] = (env.state / "spool/mail").rglob("*.segment")
        await env.ask("hold_retention", seconds=3600.0)
        config = env.config.read_text(encoding="utf-8")
        env.config.write_text(config + '\n[retention]\ndocuments = "1s"\n', encoding="utf-8")
        assert (await env.command("reload"))[0] == 0

        async def recorded() -> bool:
            return bool((await env.ask("show", id=fax))["documents"][0]["deleted"])

        await until(recorded)
        assert mail.exists()
        await env.ask("hold_retention", seconds=0.0)
        await until(lambda: not mail.exists())

    in_environment(tmp_path, scenario)
