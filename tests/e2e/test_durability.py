"""Durability: a daemon whose disk fails, whose machine is killed and whose clock is set loses nothing and repeats nothing."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import smtplib
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from mailbridge.errors import ControlError
from mailbridge.store.interface import Transaction
from mailbridge.store.spool import Spool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.submission.page import render
from mailbridge.webhook.payload import fax_data
from tests.e2e.environment import SECRET, World
from tests.e2e.failing_disk import Faults, build_shim, fill, read_only, small_disk
from tests.e2e.test_commands import Scenario, in_a_world
from tests.e2e.test_process import logged, reply
from tests.factories import a_fax, an_envelope
from tests.wait_helpers import PATIENCE, until

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


async def hurry(world: World, fax: str) -> None:
    """Let a fax that waits be due at once."""
    with suppress(ControlError):  # it is under way already
        await world.ask("retry", id=fax)


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
    assert [queued["id"] for queued in await world.ask("queue")] == [fax]
    assert len(spooled(world)) == 1
    await world.start_myfax()
    await hurry(world, fax)
    await world.becomes(fax, "delivered")
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
        await logged(world, '"fax queued"')
        [fax] = await world.ask("queue")
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
        assert len(await world.ask("queue")) == 3
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
        await is_not_ready(world)
        await taken(world, a_mail("<two@example.co.il>"))
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
        assert await world.ask("queue") == []
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
        assert await world.ask("queue") == []
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


def test_a_hard_file_size_limit_lets_mails_be_read(tmp_path: Path) -> None:
    """The processes that read mails want a limit of their own, and may not raise the one they are under."""
    limited = ["prlimit", "--fsize=20000000:20000000"]
    if os.geteuid() == 0:
        limited += ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"]

    async def scenario(world: World) -> None:
        await one_fax(world, await taken(world, a_mail()))

    in_a_quick_world(tmp_path, scenario, under=limited)


# the spool, damaged


def test_a_corrupt_spool_file_fails_its_own_fax_with_a_reason(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        faxes: dict[str, str] = {}
        for harm in ("changed", "truncated", "removed", "none"):
            before = set(spooled(world))
            faxes[harm] = await taken(world, a_mail(f"<{harm}@example.co.il>"))
            [file] = set(spooled(world)) - before
            content = file.read_bytes()
            middle = content.index(b"base64") + len(content) // 4
            if harm == "changed":
                other = b"A" if content[middle : middle + 1] != b"A" else b"B"
                file.write_bytes(content[:middle] + other + content[middle + 1 :])
            elif harm == "truncated":
                file.write_bytes(content[:middle])
            elif harm == "removed":
                file.unlink()
        await world.start_myfax()
        for fax in faxes.values():
            await hurry(world, fax)
        whole = faxes.pop("none")
        await world.becomes(whole, "delivered")
        for harm, fax in faxes.items():
            shown = await world.becomes(fax, "failed")
            reason = shown["failure"]["message"]
            words = {"changed": "damaged in the spool", "truncated": "damaged in the spool", "removed": "no longer in the spool"}
            assert words[harm] in reason
            await until(partial(events_of, world, fax, "fax.failed"))
            [told] = events_of(world, fax, "fax.failed")
            assert told["data"]["error"]["message"] == reason
            lines = [json.loads(line) for line in world.log.read_bytes().splitlines() if b'"fax failed"' in line]
            assert [line["reason"] for line in lines if line["id"] == fax] == [reason]
        assert len(world.simulator.uploads) == 1

    in_a_quick_world(tmp_path, scenario)


def in_half_an_hour() -> bytes:
    """Return the header of a mail that is to be faxed then."""
    at = (datetime.now(UTC) + timedelta(minutes=30)).isoformat(timespec="seconds")
    return f"X-Mailbridge-Send-At: {at}\n".encode()


def events_of(world: World, fax: str, type_: str = "") -> list[dict[str, Any]]:
    return [event for event in world.receiver.events if event["data"].get("fax_id") == fax and event["type"].startswith(type_)]


async def is_delivered(world: World) -> bool:
    return all(delivery["state"] == "delivered" for delivery in await world.ask("deliveries"))


def test_events_are_told_when_the_database_failed_while_they_were(tmp_path: Path, faults: Faults) -> None:
    async def scenario(world: World) -> None:
        world.receiver._on_event = lambda _: faults.fail(DATABASE, times=1)
        await taken(world, in_half_an_hour() + a_mail())
        await until(lambda: faults.told("failed"))
        await until(lambda: is_delivered(world))
        [delivery] = await world.ask("deliveries")
        assert (delivery["attempts"], len(world.receiver.requests)) == (1, 1)

    in_a_quick_world(tmp_path, scenario, env=faults.env)


# the clock, set


def believe_any_time(world: World) -> None:
    """Let the receiver's clock be no judge of a daemon's that is wrong: it would refuse every signature, as it should."""

    class Believing(Webhook):
        def verify(self, data: bytes | str, headers: dict[str, str], **_: Any) -> Any:
            return json.loads(data)

    world.receiver._verifier = Believing(SECRET)


def one_end_each(world: World, *faxes: str) -> None:
    """Each fax was told once to have ended, and no webhook was sent twice."""
    for fax in faxes:
        assert len(events_of(world, fax, "fax.delivered")) == 1
        numbers = sorted(event["data"]["seq"] for event in events_of(world, fax))
        assert numbers == list(range(1, len(numbers) + 1))
    ids = [request["webhook-id"] for request in world.receiver.requests]
    assert len(ids) == len(set(ids))


def test_a_clock_set_back_an_hour_brings_nothing_early_and_repeats_nothing(tmp_path: Path, faults: Faults) -> None:
    async def scenario(world: World) -> None:
        waiting = await taken(world, a_mail())
        later = await taken(world, in_half_an_hour() + a_mail("<later@example.co.il>"), "03-9876544")
        believe_any_time(world)
        faults.skew(-3600)
        assert await taken(world, a_mail()) == waiting
        await world.start_myfax()
        fresh = await taken(world, a_mail("<two@example.co.il>"), "03-9876545")
        await world.becomes(fresh, "delivered")
        await hurry(world, waiting)
        await world.becomes(waiting, "delivered")
        assert await world.stop() == 0
        await world.start()
        assert await taken(world, a_mail()) == waiting
        faults.skew(0)
        assert await taken(world, a_mail("<two@example.co.il>"), "03-9876545") == fresh
        last = await taken(world, a_mail("<three@example.co.il>"), "03-9876546")
        await world.becomes(last, "delivered")
        assert (await world.ask("show", id=later))["state"] == "queued"
        assert len(spooled(world)) == len(await world.ask("queue")) == 4
        assert [upload.number[-2:] for upload in world.simulator.uploads] == ["45", "43", "46"]
        await until(lambda: all(events_of(world, fax, "fax.delivered") for fax in (waiting, fresh, last)))
        one_end_each(world, waiting, fresh, last)

    in_a_quick_world(tmp_path, scenario, env=faults.env)


def test_a_clock_set_on_a_day_loses_and_repeats_nothing(tmp_path: Path, faults: Faults) -> None:
    async def scenario(world: World) -> None:
        done = await taken(world, a_mail())
        await world.becomes(done, "delivered")
        pending = await taken(world, a_mail("<two@example.co.il>"), "03-9876598")  # MyFax never comes to an end with it
        await world.becomes(pending, "submitted")
        polls = world.log.read_text().count('"fax polled"')
        believe_any_time(world)
        faults.skew(86400)
        await logged(world, '"fax polled"', polls + 2)
        fresh = await taken(world, a_mail("<three@example.co.il>"), "03-9876544")
        await world.becomes(fresh, "delivered")
        for _ in range(2):
            assert (await world.ask("show", id=pending))["state"] == "submitted"
            # At its start the daemon looks at once for what is old.
            assert await world.stop() == 0
            await world.start()
            await logged(world, '"fax polled"', world.log.read_text().count('"fax polled"') + 1)
        assert not any(document["deleted"] for document in (await world.ask("show", id=done))["documents"])
        assert len(spooled(world)) == len(await world.ask("queue")) == 3
        assert len(world.simulator.uploads) == 3
        await until(lambda: events_of(world, fresh, "fax.delivered"))
        one_end_each(world, done, fresh)

    more = '\n[fax]\ngive_up = "7d"\nfirst_poll = "50ms"\nslowest_poll = "100ms"\n\n[log]\nlevel = "debug"\n'
    in_a_quick_world(tmp_path, scenario, env=faults.env, myfax=True, more=more)


def test_a_clock_set_on_a_day_expires_nothing_early(tmp_path: Path, faults: Faults) -> None:
    async def scenario(world: World) -> None:
        believe_any_time(world)
        fax = await taken(world, a_mail(), "03-9876598")
        await world.becomes(fax, "submitted")
        faults.skew(86400)
        polls = world.log.read_text().count('"fax polled"')
        await until(lambda: world.log.read_text().count('"fax polled"') >= polls + 3 or '"fax expired"' in world.log.read_text())
        assert '"fax expired"' not in world.log.read_text()

    more = '\n[fax]\nfirst_poll = "50ms"\nslowest_poll = "100ms"\n\n[log]\nlevel = "debug"\n'
    in_a_quick_world(tmp_path, scenario, env=faults.env, myfax=True, more=more)


def test_a_clock_set_on_a_day_knows_the_mails_of_before(tmp_path: Path, faults: Faults) -> None:
    async def scenario(world: World) -> None:
        fax = await taken(world, a_mail())
        faults.skew(86400)
        assert await taken(world, a_mail()) == fax

    in_a_quick_world(tmp_path, scenario, env=faults.env)


# start and stop


def test_a_start_with_10_000_queued_reads_little_and_is_small(tmp_path: Path) -> None:
    async def main() -> None:
        async with World(tmp_path) as world:
            await world.start()
            with_none = bytes_read(world.pid)
            assert await world.stop() == 0
            await queue_many(world.state, 10_000)
            await world.start()
            database = (world.state / "mailbridge.sqlite3").stat().st_size
            assert bytes_read(world.pid) - with_none < database / 8
            await taken(world, a_mail())
            assert await waiting(world) == 10_001
            status = Path(f"/proc/{world.pid}/status").read_text()
            peak = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
            assert peak < 150, f"{peak:.0f} MiB"

    asyncio.run(main())


def bytes_read(pid: int) -> int:
    """Return how many bytes a process has read from files and sockets (proc(5), rchar)."""
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


async def waiting(world: World) -> int:
    """Return how many faxes are to be sent, by the metrics."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        metrics = (await client.get("http://{}:{}/metrics".format(*world.http))).text
    counts = [
        line.rpartition(" ")[2] for line in metrics.splitlines() if 'faxes{state="queued"}' in line or '"uploading"}' in line
    ]
    return int(sum(map(float, counts)))


async def queue_many(state: Path, count: int) -> None:
    """Fill a state_dir as so many mails to an unreachable MyFax would."""
    spool, now = Spool(state / "spool"), datetime.now(UTC)

    def mails(tx: Transaction, begin: int) -> None:
        for number in range(begin, begin + 1000):
            mail(tx, number)

    def mail(tx: Transaction, number: int) -> None:
        envelope = an_envelope(now, message_id=f"<{number}@example.co.il>")
        relpath = f"mail/{number % 64:02x}/{envelope.id}.eml"
        spool.path(relpath).write_bytes(b"a mail")
        fax = a_fax(now)
        document = replace(fax.documents[0], path=relpath)
        tx.submissions.add(replace(envelope, path=relpath), [replace(fax, documents=(document,))], f"{number}", now)

    async with SqliteStore(state, fax_data, lambda _: ["crm"]) as store:
        for begin in range(0, count, 1000):
            await store.run(partial(mails, begin=begin))


def test_sigterm_in_data_ends_a_mail_that_is_never_finished_with_421(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        reader, writer = await asyncio.open_connection(*world.smtp)
        for line in (b"EHLO x", b"MAIL FROM:<dana@example.co.il>", f"RCPT TO:<{NUMBER}@fax.local>".encode(), b"DATA"):
            await reply(reader)
            writer.write(line + b"\r\n")
        assert (await reply(reader)).startswith(b"354")
        writer.write(a_mail()[:500])
        await until(lambda: spooled(world) and spooled(world)[0].stat().st_size)
        stopping = asyncio.create_task(world.stop())
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readline()).startswith(b"421 4.3.2")
            assert await reader.read() == b""
            writer.close()
            assert await stopping == 0
        assert spooled(world) == []

    in_a_quick_world(tmp_path, scenario, grace=0.5)
