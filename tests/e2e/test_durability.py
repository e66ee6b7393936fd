"""Durability: a daemon whose disk fails, whose machine is killed and whose clock is set loses nothing and repeats nothing."""

from __future__ import annotations

import asyncio
import resource
import smtplib
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest

from mailbridge.control.client import ask as control_ask
from mailbridge.control.place import socket_path
from mailbridge.errors import ControlError
from mailbridge.submission.page import render
from tests.e2e.disk import Faults, build_shim, fill, read_only, small_disk
from tests.e2e.test_commands import Scenario, in_a_world
from tests.e2e.test_process import reply, said
from tests.e2e.world import PATIENCE, World

NUMBER = "03-9876543"
MAIL_FILE, DATABASE = ".eml", "mailbridge.sqlite3-wal"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def faults(shim: Path, tmp_path: Path) -> Faults:
    return Faults(shim, tmp_path)


def in_a_quick_world(state: Path, scenario: Scenario, **options: Any) -> None:
    in_a_world(state, scenario, **{"myfax": False, "strict": False, **options})


def a_mail(message_id: str = "<one@example.co.il>", size: int = 0) -> bytes:
    """Return a mail that is one page, and where `size` is given has so many bytes more."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "dana@example.co.il", f"{NUMBER}@fax.local", "a letter"
    mail["Message-ID"] = message_id
    mail.set_content("attached\n")
    page, _ = render("A page.")
    mail.add_attachment(page + b"\n%" + bytes(size), maintype="application", subtype="pdf", filename="letter.pdf")
    return mail.as_bytes()


async def send(world: World, mail: bytes, number: str = NUMBER) -> str:
    return await world.send("dana@example.co.il", [f"{number}@fax.local"], mail)


async def taken(world: World, mail: bytes, number: str = NUMBER) -> str:
    """Send a mail that must be taken; return the id of its fax."""
    answer = await send(world, mail, number)
    assert answer.startswith("250 2.0.0 queued as fax_"), answer
    return answer.split()[4]


def refused_for_now(world: World, answer: str) -> None:
    assert answer.startswith(("451 4.3.", "452 4.3.")), answer
    assert "/" not in answer, "the reply tells a path"
    assert world.state.name not in answer


def spooled(world: World) -> list[Path]:
    return [path for path in (world.state / "spool").rglob("*") if path.is_file()]


async def ask(world: World, command: str, **args: object) -> Any:
    """Ask the daemon as the command line does, without its start."""
    return await asyncio.to_thread(control_ask, socket_path(world.state, {}), command, **args)


async def comes_to(world: World, fax: str, state: str) -> dict[str, Any]:
    """Return the fax once it is in this state."""
    async with asyncio.timeout(PATIENCE):
        while (shown := await ask(world, "show", id=fax))["state"] != state:
            await asyncio.sleep(0.02)
    told: dict[str, Any] = shown
    return told


async def hurry(world: World, fax: str) -> None:
    """Let a fax that waits be due at once."""
    with suppress(ControlError):  # it is under way already
        await ask(world, "retry", id=fax)


async def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.005)


async def ready(world: World) -> tuple[int, dict[str, bool]]:
    """Return what /readyz answers, and its checks."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        answer = await client.get("http://{}:{}/readyz".format(*world.http))
    checks: dict[str, bool] = answer.json()["checks"]
    return answer.status_code, checks


async def is_not_ready(world: World) -> None:
    status, checks = await ready(world)
    assert (status, [name for name, good in checks.items() if not good]) == (503, ["store"])


async def one_fax(world: World, fax: str) -> None:
    """There is this fax and no other, its mail is in the spool and nothing else is, and MyFax takes it once."""
    assert [queued["id"] for queued in await ask(world, "queue")] == [fax]
    assert len(spooled(world)) == 1
    await world.start_myfax()
    await hurry(world, fax)
    await comes_to(world, fax, "delivered")
    assert len(world.simulator.uploads) == 1


# the commit, cut off


@pytest.mark.parametrize("where", [MAIL_FILE, DATABASE], ids=["file-whole", "database-written"])
def test_kill_before_the_250_and_the_client_sends_again_makes_one_fax(tmp_path: Path, faults: Faults, where: str) -> None:
    async def scenario(world: World) -> None:
        faults.hold(where)
        sending = asyncio.create_task(send(world, a_mail()))
        await until(lambda: faults.told("held"))
        [file] = spooled(world)
        assert b"letter.pdf" in file.read_bytes()
        await world.kill()
        with pytest.raises((smtplib.SMTPException, OSError)):
            await sending
        faults.heal()
        await world.start()
        fax = await taken(world, a_mail())
        assert (file in spooled(world)) is (where == DATABASE)
        await one_fax(world, fax)

    in_a_quick_world(tmp_path, scenario, env=faults.env)


@pytest.mark.parametrize("where", [MAIL_FILE, DATABASE], ids=["file", "database"])
def test_a_client_that_disconnects_during_the_commit_has_its_fax_whole(tmp_path: Path, faults: Faults, where: str) -> None:
    async def scenario(world: World) -> None:
        faults.hold(where)
        reader, writer = await asyncio.open_connection(*world.smtp)
        for line in (b"EHLO x", b"MAIL FROM:<dana@example.co.il>", f"RCPT TO:<{NUMBER}@fax.local>".encode(), b"DATA"):
            await reply(reader)
            writer.write(line + b"\r\n")
        await reply(reader)
        writer.write(a_mail().replace(b"\n", b"\r\n") + b"\r\n.\r\n")
        await until(lambda: faults.told("held"))
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
        faults.heal()
        await said(world, '"fax queued"')
        [fax] = await ask(world, "queue")
        assert await taken(world, a_mail()) == fax["id"]
        await one_fax(world, fax["id"])

    in_a_quick_world(tmp_path, scenario, env=faults.env)


@pytest.mark.parametrize("where", [MAIL_FILE, DATABASE], ids=["file", "database"])
def test_a_client_that_loses_patience_and_resends_during_the_commit_makes_one_fax(
    tmp_path: Path, faults: Faults, where: str
) -> None:
    async def scenario(world: World) -> None:
        faults.hold(where)
        first = asyncio.create_task(send(world, a_mail()))
        await until(lambda: faults.told("held"))
        # Of what the first one waits for the second is spared, where that can be: it is to come as far as it may.
        faults.hold(Path(faults.told("held")[0]).name)
        second = asyncio.create_task(send(world, a_mail()))
        if where == MAIL_FILE:
            told = await second
            assert not first.done()
        else:
            await until(lambda: len(faults.told("synced", MAIL_FILE)) == 2)
        faults.heal()
        answers = {await first, await second}
        assert len(answers) == 1, answers
        if where == MAIL_FILE:
            assert answers == {told}
        await one_fax(world, answers.pop().split()[4])

    in_a_quick_world(tmp_path, scenario, env=faults.env)


def test_the_same_message_id_and_recipients_again_is_told_the_first_id(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        fax = await taken(world, a_mail())
        assert await taken(world, a_mail()) == fax
        assert await world.stop() == 0
        await world.start()
        assert await taken(world, a_mail(), "+972 3 987 6543".replace(" ", "")) == fax
        others = {await taken(world, a_mail(), "03-9876544"), await taken(world, a_mail("<two@example.co.il>"))}
        assert len({fax, *others}) == 3
        assert len(await ask(world, "queue")) == 3
        assert len(spooled(world)) == 3

    in_a_quick_world(tmp_path, scenario)


# a disk that takes no more


def test_a_disk_full_while_spooling_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        refused_for_now(world, await send(world, a_mail(size=20_000_000)))
        assert spooled(world) == []
        # There is room again, for what is smaller.
        assert (await ready(world))[0] == 200
        await taken(world, a_mail("<two@example.co.il>"))
        filler = fill(world.state, left=0)
        refused_for_now(world, await send(world, a_mail()))
        assert len(spooled(world)) == 1
        await is_not_ready(world)
        filler.unlink()
        assert (await ready(world))[0] == 200
        await taken(world, a_mail())

    with small_disk(tmp_path / "state", "16m"):
        in_a_quick_world(tmp_path, scenario)


def test_a_page_made_of_the_text_goes_with_its_mail(tmp_path: Path, faults: Faults) -> None:
    """Also when the mail was taken before, or cannot be taken now."""
    text = b"Message-ID: <text@example.co.il>\r\nFrom: dana@example.co.il\r\n\r\nA letter.\r\n"

    async def scenario(world: World) -> None:
        faults.fail(DATABASE, times=1)
        refused_for_now(world, await send(world, text))
        assert spooled(world) == []
        fax = await taken(world, text)
        assert sorted(path.suffix for path in spooled(world)) == [".eml", ".pdf"]
        assert await taken(world, text) == fax
        assert len(spooled(world)) == 2

    in_a_quick_world(tmp_path, scenario, env=faults.env)


@pytest.mark.parametrize("where", ["/spool/mail/", ".eml"], ids=["files-and-directories", "files"])
def test_a_failed_sync_of_the_spool_is_told_and_never_tried_again_on_that_file(
    tmp_path: Path, faults: Faults, where: str
) -> None:
    async def scenario(world: World) -> None:
        faults.fail(where)
        refused_for_now(world, await send(world, a_mail()))
        assert spooled(world) == []
        refused_for_now(world, await send(world, a_mail()))
        tried = faults.told("failed", MAIL_FILE)
        assert len(tried) == len(set(tried)) == 2
        assert set(faults.told("synced", MAIL_FILE)) == set()
        faults.heal()
        await one_fax(world, await taken(world, a_mail()))
        assert len(faults.told("synced", MAIL_FILE)) == 1

    in_a_quick_world(tmp_path, scenario, env=faults.env)


def test_a_spool_that_cannot_be_synced_is_not_ready_until_it_can(tmp_path: Path, faults: Faults) -> None:
    async def scenario(world: World) -> None:
        faults.fail("/spool/")
        # Nobody has noticed yet.
        assert (await ready(world))[0] == 200
        refused_for_now(world, await send(world, a_mail()))
        await is_not_ready(world)
        await is_not_ready(world)
        faults.heal()
        assert (await ready(world))[0] == 200
        assert sorted(path.name for path in (world.state / "spool").iterdir()) == ["mail", "received"]

    in_a_quick_world(tmp_path, scenario, env=faults.env)


def test_a_read_only_spool_is_told_and_taken_again_when_it_is_writable(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        with read_only(world.state / "spool"):
            refused_for_now(world, await send(world, a_mail()))
            await is_not_ready(world)
        assert (await ready(world))[0] == 200
        await one_fax(world, await taken(world, a_mail()))

    in_a_quick_world(tmp_path, scenario)


def test_a_file_size_limit_is_told_and_does_not_end_the_daemon(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        resource.prlimit(world.pid, resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        refused_for_now(world, await send(world, a_mail(size=2_000_000)))
        assert spooled(world) == []
        fax = await taken(world, a_mail())
        # Now also the database's log may not grow any more.
        resource.prlimit(world.pid, resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        refused_for_now(world, await send(world, a_mail("<two@example.co.il>")))
        await is_not_ready(world)
        resource.prlimit(world.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert (await ready(world))[0] == 200
        await one_fax(world, fax)

    in_a_quick_world(tmp_path, scenario)


def test_a_disk_full_while_the_database_commits_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        filler = fill(world.state, left=32_000)
        refused_for_now(world, await send(world, a_mail()))
        assert spooled(world) == []
        assert await ask(world, "queue") == []
        await is_not_ready(world)
        filler.unlink()
        assert (await ready(world))[0] == 200
        await one_fax(world, await taken(world, a_mail()))

    with small_disk(tmp_path / "state", "16m"):
        in_a_quick_world(tmp_path, scenario)


# syncs that fail


def test_a_failed_sync_of_the_database_is_told_and_no_restart_brings_half_of_it_back(tmp_path: Path, faults: Faults) -> None:
    """What the failed commit left in the write-ahead log must not come to life once its mail is deleted."""

    async def scenario(world: World) -> None:
        faults.fail(DATABASE, times=1)
        refused_for_now(world, await send(world, a_mail()))
        assert spooled(world) == []
        await world.kill()
        await world.start()
        assert await ask(world, "queue") == []
        await one_fax(world, await taken(world, a_mail()))

    in_a_quick_world(tmp_path, scenario, env=faults.env)


def test_while_the_database_cannot_be_synced_nobody_is_told_250_and_the_mail_is_kept(tmp_path: Path, faults: Faults) -> None:
    async def scenario(world: World) -> None:
        faults.fail(DATABASE)
        for _ in range(3):
            refused_for_now(world, await send(world, a_mail()))
        await is_not_ready(world)
        await world.kill()
        faults.heal()
        await world.start()
        await one_fax(world, await taken(world, a_mail()))

    in_a_quick_world(tmp_path, scenario, env=faults.env)
