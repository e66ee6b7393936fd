"""Commands that change faxes and deliveries, with the daemon and without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mailbridge.submission.page import render
from tests.e2e.environment import World
from tests.wait_helpers import PATIENCE, until

MAIL = Path(__file__).parent / "02-delivered-by-report" / "mail.eml"
Scenario = Callable[[World], Awaitable[None]]


def in_a_world(state: Path, scenario: Scenario, *, myfax: bool = True, **options: Any) -> None:
    async def main() -> None:
        async with World(state, **options) as world:
            if myfax:
                await world.start_myfax()
            await world.start()
            await scenario(world)

    asyncio.run(main())


async def fax_to(world: World, number: str) -> str:
    """Send a mail, and return the id of its fax."""
    reply = await world.send("dana@example.co.il", [f"{number}@fax.local"], MAIL.read_bytes())
    assert reply.startswith("250 2.0.0 queued as fax_"), reply
    return reply.split()[4]


async def tried_in_vain(world: World, fax: str) -> bool:
    """Whether an upload of the fax has failed, so that it waits for the next."""
    shown = await world.ask("show", id=fax)
    return shown["state"] == "queued" and bool(shown["tries"])


async def refused(world: World, *args: str) -> str:
    """Run a command that must be refused: exit 1, one line on standard error, nothing on the other."""
    status, output, errors = await world.command(*args)
    assert (status, output, errors.count("\n")) == (1, "", 1), (status, output, errors)
    return errors


def test_cancel_and_retry(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        fax = await fax_to(world, "03-9876543")
        cancelled = await world.printed("cancel", fax)
        assert (cancelled["state"], cancelled["source"]) == ("cancelled", "person")
        assert "already cancelled" in await refused(world, "cancel", fax)
        await world.receiver.wait("fax.cancelled")
        again = await world.printed("retry", fax)
        assert again["id"] != fax
        assert again["tags"] == {"retry_of": fax}
        # MyFax is unreachable, so the fax waits for its next attempt; `retry` makes it due now.
        await until(lambda: tried_in_vain(world, again["id"]))

        async def due_now() -> bool:  # refused during an upload
            return (await world.command("retry", again["id"]))[1] == f"{again['id']} is due now\n"

        await until(due_now)
        await world.start_myfax()
        await world.becomes(again["id"], "delivered")
        assert [upload.number for upload in world.simulator.uploads] == ["+97239876543"]
        assert "already delivered" in await refused(world, "retry", again["id"])
        assert "already delivered" in await refused(world, "cancel", again["id"])

    in_a_world(tmp_path, scenario, myfax=False)


def test_submitted_fax_cannot_be_cancelled_retried_or_resolved(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        fax = await fax_to(world, "03-9876598")
        await world.becomes(fax, "submitted")
        assert "offers no way to cancel it" in await refused(world, "cancel", fax)
        assert "still trying" in await refused(world, "retry", fax)
        assert "only a fax in doubt" in await refused(world, "resolve", fax, "--sent")

    in_a_world(tmp_path, scenario)


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
def test_resolve(tmp_path: Path, how: list[str], state: str, uploads: int) -> None:
    async def scenario(world: World) -> None:
        fax = await fax_to(world, "03-9876591")
        await world.becomes(fax, "in_doubt")
        assert "end the doubt with mailbridge resolve" in await refused(world, "cancel", fax)
        assert "end the doubt with mailbridge resolve" in await refused(world, "retry", fax)
        # faxStatus.do reports this code as delivered.
        taken = world.simulator.uploads[0]
        taken.outcome = "delivered"
        await world.printed("resolve", fax, *(taken.fax_code if word == "CODE" else word for word in how))
        resolved = await world.receiver.wait("fax.resolved")
        assert resolved["data"]["source"] == "person"
        await until(lambda: len(world.simulator.uploads) >= uploads)
        shown = await world.becomes(fax, state)
        assert len(world.simulator.uploads) == uploads
        if "--fax-code" in how:
            assert (shown["fax_code"], shown["source"]) == (taken.fax_code, "poll")
        if state == "failed":
            assert shown["failure"]["code"] == "abandoned"

    in_a_world(tmp_path, scenario, reports=False, more='\n[fax]\nfirst_poll = "50ms"\nslowest_poll = "200ms"\n')


def test_resolve_usage_errors(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        status, _, errors = await world.command("resolve", "fax_X")
        assert (status, "one of --sent, --resend and --failed" in errors) == (2, True)
        status, _, errors = await world.command("resolve", "fax_X", "--failed", "--resend")
        assert (status, "one of --sent, --resend and --failed" in errors) == (2, True)
        status, _, errors = await world.command("resolve", "fax_X", "--failed", "--fax-code", "x")
        assert (status, "requires --sent" in errors) == (2, True)
        status, _, errors = await world.command("resolve", "fax_X", "--sent", "--fax-code", "")
        assert (status, "requires --sent" in errors) == (2, True)
        assert "no fax has the id fax_X" in await refused(world, "resolve", "fax_X", "--failed")

    in_a_world(tmp_path, scenario)


def test_replay(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.receiver.answers.append((410, {}))
        fax = await fax_to(world, "03-9876543")
        await world.becomes(fax, "delivered")
        [dead] = await world.printed("deliveries", "--dead")
        assert (dead["status"], dead["type"]) == (410, "fax.queued")
        assert "no event has the id evt_X" in await refused(world, "replay", "evt_X")
        # If one ID is unknown, nothing is replayed.
        await refused(world, "replay", dead["event_id"], "evt_X")
        assert len(await world.printed("deliveries", "--dead")) == 1
        [replayed] = await world.printed("replay", dead["event_id"])
        assert (replayed["id"], replayed["state"]) == (dead["id"], "pending")
        assert "no dead delivery" in await refused(world, "replay", dead["id"])
        # 410 stopped the webhook; the replay re-enabled it.
        event = await world.receiver.wait("fax.queued", PATIENCE)
        assert event["data"]["fax_id"] == fax

    in_a_world(tmp_path, scenario)


def test_commands_without_a_daemon(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        fax = await fax_to(world, "03-9876543")
        assert await world.stop() == 0
        assert (await world.printed("show", fax))["state"] == "queued"
        assert (await world.command("cancel", fax))[1] == f"{fax} is cancelled\n"
        assert (await world.printed("queue", "--state", "cancelled"))[0]["id"] == fax

    in_a_world(tmp_path, scenario, myfax=False)


def test_send_files_and_wait(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        page, _ = render("עמוד")
        (tmp_path / "one.pdf").write_bytes(page)
        (tmp_path / "two.txt").write_text("a second document\n")
        files = (str(tmp_path / "one.pdf"), str(tmp_path / "two.txt"))
        status, output, errors = await world.command("send", "03-9876543", *files, "--subject", "offer", "--wait")
        assert (status, errors) == (0, "")
        assert output.splitlines()[-1].endswith(" delivered")
        [taken] = world.simulator.uploads
        assert [file["size"] for file in taken.files] == [len(page), 18]
        fax = await world.printed("send", "03-9876501", files[0], "--subject", "offer", "--account", "office")
        assert (fax["number"], fax["subject"]) == ("+97239876501", "offer")
        await world.becomes(fax["id"], "failed")
        status, output, _ = await world.command("send", "03-9876506", files[0], "--wait")
        assert (status, "wrong_number" in output) == (1, True)

    in_a_world(tmp_path, scenario)


def test_send_errors(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        (tmp_path / "a.exe").write_bytes(b"MZ\x00\x01")
        (tmp_path / "a.txt").write_text("a letter\n")
        assert "a.exe cannot be faxed" in await refused(world, "send", "03-9876543", str(tmp_path / "a.exe"))
        assert "is not allowed here" in await refused(world, "send", "+14155550100", str(tmp_path / "a.txt"))
        assert "Unknown account" in await refused(world, "send", "03-9876543", str(tmp_path / "a.txt"), "--account", "x")
        assert (await world.command("send", "03-9876543"))[0] == 2
        assert (await world.command("send", "03-9876543", str(tmp_path / "missing.pdf")))[0] == 2
        assert await world.ask("queue") == []
        assert await world.stop() == 0
        assert "no mailbridge listens" in await refused(world, "send", "03-9876543", str(tmp_path / "a.txt"))

    in_a_world(tmp_path, scenario, myfax=False)


def test_send_url(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        url = "https://www.example.co.il/" + "a" * 200 + "/contract.pdf?x=1&y=%20;z"
        fax = await world.printed("send", "03-9876543", "--url", url, "--wait")
        assert fax["state"] == "delivered"
        [taken] = world.simulator.uploads
        assert (taken.url, taken.files) == (url, [])
        assert "must begin with https" in await refused(world, "send", "03-9876543", "--url", "ftp://x/y")

    in_a_world(tmp_path, scenario, reports=False, more='\n[fax]\nfirst_poll = "50ms"\nslowest_poll = "200ms"\n')
