"""`hold` and `resume`: mail is accepted and nothing is sent, over a restart too, until a person resumes."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

from mailbridge.config import FaxOptions
from mailbridge.control.fax_actions import hold, resume
from mailbridge.fax.poller import Poller
from mailbridge.page.text_page import render
from mailbridge.runtime import Runtime
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sql_store import SqlStore
from tests.e2e.environment import Environment
from tests.e2e.test_commands import fax_to, in_environment, refused
from tests.e2e.test_process import logged
from tests.factories import NOW, a_fax, an_envelope
from tests.store.factories import with_store

SECOND = """
[account.branch]
email = "branch@example.co.il"
password = "demo"
"""


def test_hold_keeps_faxes_queued_over_a_restart_until_resume(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        assert (await env.command("hold"))[1] == "sending of all accounts is held; 0 faxes are queued\n"
        fax = await fax_to(env, "03-9876543")
        await logged(env, "sending held by a person")
        assert (await env.ask("show", id=fax))["state"] == "queued"
        await env.stop()
        await env.start()
        await logged(env, "sending held by a person", 2)
        status, output, errors = await env.command("queue")
        assert (status, "queued" in output, "sending of all accounts is held" in errors) == (0, True, True)
        assert "resume without --account" in await refused(env, "resume", "--account", "office")
        assert await env.printed("resume") == {"held": [], "queued": 1}
        await env.becomes(fax, "delivered")
        assert len(env.simulator.uploads) == 1
        await logged(env, "sending resumed")

    in_environment(tmp_path, scenario)


def test_hold_of_one_account_leaves_the_other_sending(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        assert await env.printed("hold", "--account", "branch") == {"held": ["branch"], "queued": 0}
        status, _, errors = await env.command("hold", "--account", "home")
        assert (status, "use one of office, branch" in errors) == (2, True)
        page, _ = render("A page.")
        (tmp_path / "a.pdf").write_bytes(page)
        held = await env.printed("send", "03-9876543", str(tmp_path / "a.pdf"), "--account", "branch")
        await env.becomes(await fax_to(env, "04-8765432"), "delivered")
        assert (await env.ask("show", id=held["id"]))["state"] == "queued"
        assert (await env.printed("cancel", held["id"]))["state"] == "cancelled"
        assert (await env.command("resume", "--account", "branch"))[1] == "sending goes on; 0 faxes are queued\n"

    in_environment(tmp_path, scenario, more=SECOND)


def test_a_held_fax_does_not_expire_and_gets_its_time_again(tmp_path: Path) -> None:
    later = NOW + timedelta(days=3)

    async def scenario(store: SqlStore) -> None:
        runtime = Runtime(store, LocalSpool(tmp_path / "spool"), lambda: later, lambda: 0.5)
        poller = Poller({}, FaxOptions(), runtime)
        fax = a_fax()
        await store.run(lambda tx: tx.submissions.add(an_envelope(), [fax], None, NOW))
        await hold(store, lambda: later, account="office")
        assert await store.run(partial(poller._expire_due, now=later)) == []
        await resume(store, lambda: later)
        expires_at = (await store.run(lambda tx: tx.faxes.get(fax.id))).expires_at
        assert expires_at - later >= fax.expires_at - fax.created_at
        await store.run(lambda tx: tx.faxes.update(fax.id, expires_at=later))
        [expired] = await store.run(partial(poller._expire_due, now=later))
        assert expired.id == fax.id

    with_store(tmp_path, scenario)
