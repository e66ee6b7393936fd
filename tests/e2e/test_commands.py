"""Commands that change faxes and deliveries, with the daemon and without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mailbridge.page.text_page import render
from tests.e2e.environment import Environment
from tests.wait_helpers import PATIENCE, until

MAIL = Path(__file__).parent / "02-delivered-by-report" / "mail.eml"
Scenario = Callable[[Environment], Awaitable[None]]


def in_environment(state: Path, scenario: Scenario, *, myfax: bool = True, **options: Any) -> None:
    async def main() -> None:
        async with Environment(state, **options) as env:
            if myfax:
                await env.start_myfax()
            await env.start()
            await scenario(env)

    asyncio.run(main())


async def fax_to(env: Environment, number: str) -> str:
    """Send a mail, and return the id of its fax."""
    reply = await env.send("dana@example.co.il", [f"{number}@fax.local"], MAIL.read_bytes())
    assert reply.startswith("250 2.0.0 queued as fax_"), reply
    return reply.split()[4]


async def tried_in_vain(env: Environment, fax: str) -> bool:
    """Whether an upload of the fax has failed, so that it waits for the next."""
    shown = await env.ask("show", id=fax)
    return shown["state"] == "queued" and bool(shown["tries"])


async def refused(env: Environment, *args: str) -> str:
    """Run a command that must be refused: exit 1, one line on standard error, nothing on the other."""
    status, output, errors = await env.command(*args)
    assert (status, output, errors.count("\n")) == (1, "", 1), (status, output, errors)
    return errors


def test_cancel_and_retry(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        fax = await fax_to(env, "03-9876543")
        await until(lambda: tried_in_vain(env, fax))  # during an upload it cannot be cancelled
        cancelled = await env.printed("cancel", fax)
        assert (cancelled["state"], cancelled["source"]) == ("cancelled", "person")
        assert "already cancelled" in await refused(env, "cancel", fax)
        await env.receiver.wait("fax.cancelled", PATIENCE)
        again = await env.printed("retry", fax)
        assert again["id"] != fax
        assert again["tags"] == {"retry_of": fax}
        # MyFax is unreachable, so the fax waits for its next attempt; `retry` makes it due now.
        await until(lambda: tried_in_vain(env, again["id"]))

        async def due_now() -> bool:  # refused during an upload
            return (await env.command("retry", again["id"]))[1] == f"{again['id']} is due now\n"

        await until(due_now)
        await env.start_myfax()
        await env.becomes(again["id"], "delivered")
        assert [upload.number for upload in env.simulator.uploads] == ["+97239876543"]
        assert "already delivered" in await refused(env, "retry", again["id"])
        assert "already delivered" in await refused(env, "cancel", again["id"])

    in_environment(tmp_path, scenario, myfax=False)


def test_submitted_fax_cannot_be_cancelled_retried_or_resolved(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        fax = await fax_to(env, "03-9876598")
        await env.becomes(fax, "submitted")
        assert "offers no way to cancel it" in await refused(env, "cancel", fax)
        assert "still trying" in await refused(env, "retry", fax)
        assert "only a fax in doubt" in await refused(env, "resolve", fax, "--sent")

    in_environment(tmp_path, scenario)


@pytest.mark.parametrize(
    ("how", "state", "uploads"),
    [
        (["--sent"], "delivered", 1),
        (["--sent", "--fax-code", "CODE"], "delivered", 1),
        (["--failed"], "failed", 1),
        (["--resend"], "in_doubt", 2),
    ],
    ids=["sent", "sent-with-code", "failed", "resend"],
)
def test_resolve_ends_a_doubt_as_the_option_says(tmp_path: Path, how: list[str], state: str, uploads: int) -> None:
    async def scenario(env: Environment) -> None:
        fax = await fax_to(env, "03-9876591")
        await env.becomes(fax, "in_doubt")
        assert "end the doubt with mailbridge resolve" in await refused(env, "cancel", fax)
        assert "end the doubt with mailbridge resolve" in await refused(env, "retry", fax)
        # faxStatus.do reports this code as delivered.
        taken = env.simulator.uploads[0]
        taken.outcome = "delivered"
        await env.printed("resolve", fax, *(taken.fax_code if word == "CODE" else word for word in how))
        resolved = await env.receiver.wait("fax.resolved", PATIENCE)
        assert resolved["data"]["source"] == "person"
        await until(lambda: len(env.simulator.uploads) >= uploads)
        shown = await env.becomes(fax, state)
        assert len(env.simulator.uploads) == uploads
        if "--fax-code" in how:
            assert (shown["fax_code"], shown["source"]) == (taken.fax_code, "poll")
        if state == "failed":
            assert shown["failure"]["code"] == "abandoned"

    in_environment(tmp_path, scenario, reports=False, more='\n[fax]\nfirst_poll = "50ms"\nslowest_poll = "200ms"\n')


def test_resolve_usage_errors(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        status, _, errors = await env.command("resolve", "fax_X")
        assert (status, "one of --sent, --resend and --failed" in errors) == (2, True)
        status, _, errors = await env.command("resolve", "fax_X", "--failed", "--resend")
        assert (status, "one of --sent, --resend and --failed" in errors) == (2, True)
        status, _, errors = await env.command("resolve", "fax_X", "--failed", "--fax-code", "x")
        assert (status, "requires --sent" in errors) == (2, True)
        status, _, errors = await env.command("resolve", "fax_X", "--sent", "--fax-code", "")
        assert (status, "requires --sent" in errors) == (2, True)
        assert "no fax has the id fax_X" in await refused(env, "resolve", "fax_X", "--failed")

    in_environment(tmp_path, scenario)


def test_replay_delivers_a_dead_delivery_again(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        env.receiver.answers.append((410, {}))
        fax = await fax_to(env, "03-9876543")
        await env.becomes(fax, "delivered")
        [dead] = await env.printed("deliveries", "--dead")
        assert (dead["status"], dead["type"]) == (410, "fax.queued")
        assert "no event has the id evt_X" in await refused(env, "replay", "evt_X")
        # If one ID is unknown, nothing is replayed.
        await refused(env, "replay", dead["event_id"], "evt_X")
        assert len(await env.printed("deliveries", "--dead")) == 1
        [replayed] = await env.printed("replay", dead["event_id"])
        assert (replayed["id"], replayed["state"]) == (dead["id"], "pending")
        assert "no dead delivery" in await refused(env, "replay", dead["id"])
        # 410 stopped the webhook; the replay re-enabled it.
        event = await env.receiver.wait("fax.queued", PATIENCE)
        assert event["data"]["fax_id"] == fax

    in_environment(tmp_path, scenario)


def test_commands_without_a_daemon(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        fax = await fax_to(env, "03-9876543")
        assert await env.stop() == 0
        assert (await env.printed("show", fax))["state"] == "queued"
        assert (await env.command("cancel", fax))[1] == f"{fax} is cancelled\n"
        assert (await env.printed("queue", "--state", "cancelled"))[0]["id"] == fax

    in_environment(tmp_path, scenario, myfax=False)


def test_send_files_and_wait(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        page, _ = render("עמוד")
        (tmp_path / "one.pdf").write_bytes(page)
        (tmp_path / "two.txt").write_text("a second document\n")
        files = (str(tmp_path / "one.pdf"), str(tmp_path / "two.txt"))
        status, output, errors = await env.command("send", "03-9876543", *files, "--subject", "offer", "--wait")
        assert (status, errors) == (0, "")
        assert output.splitlines()[-1].endswith(" delivered")
        [taken] = env.simulator.uploads
        assert [file["size"] for file in taken.files] == [len(page), 18]
        fax = await env.printed("send", "03-9876501", files[0], "--subject", "offer", "--account", "office")
        assert (fax["number"], fax["subject"]) == ("+97239876501", "offer")
        await env.becomes(fax["id"], "failed")
        status, output, _ = await env.command("send", "03-9876506", files[0], "--wait")
        assert (status, "wrong_number" in output) == (1, True)

    in_environment(tmp_path, scenario)


def test_send_errors(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        (tmp_path / "a.exe").write_bytes(b"MZ\x00\x01")
        (tmp_path / "a.txt").write_text("a letter\n")
        assert "a.exe cannot be faxed" in await refused(env, "send", "03-9876543", str(tmp_path / "a.exe"))
        assert "is not allowed here" in await refused(env, "send", "+14155550100", str(tmp_path / "a.txt"))
        assert "Unknown account" in await refused(env, "send", "03-9876543", str(tmp_path / "a.txt"), "--account", "x")
        assert (await env.command("send", "03-9876543"))[0] == 2
        assert (await env.command("send", "03-9876543", str(tmp_path / "missing.pdf")))[0] == 2
        assert await env.ask("queue") == []
        assert await env.stop() == 0
        assert "no mailbridge listens" in await refused(env, "send", "03-9876543", str(tmp_path / "a.txt"))

    in_environment(tmp_path, scenario, myfax=False)


def test_send_url(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        url = "https://www.example.co.il/" + "a" * 200 + "/contract.pdf?x=1&y=%20;z"
        fax = await env.printed("send", "03-9876543", "--url", url, "--wait")
        assert fax["state"] == "delivered"
        [taken] = env.simulator.uploads
        assert (taken.url, taken.files) == (url, [])
        assert "must begin with https" in await refused(env, "send", "03-9876543", "--url", "ftp://x/y")

    in_environment(tmp_path, scenario, reports=False, more='\n[fax]\nfirst_poll = "50ms"\nslowest_poll = "200ms"\n')
