"""Durability: no fax is lost or repeated when the disk fails, the daemon is killed, or the clock is set."""

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
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from mailbridge.page.text_page import render
from mailbridge.store.interface import Transaction
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.spool_paths import stretch_of
from mailbridge.store.sqlite import SqliteStore
from mailbridge.webhook.payload import fax_data
from tests.e2e import environment
from tests.e2e.environment import SECRET, Environment
from tests.e2e.failing_disk import Faults, build_shim, fill, read_only, small_disk
from tests.e2e.test_commands import Scenario, in_environment
from tests.e2e.test_process import logged, reply
from tests.factories import a_fax, an_envelope
from tests.wait_helpers import PATIENCE, until

NUMBER = "03-9876543"
FILES = pytest.mark.database("sqlite", reason="it is about the files in which faxes are kept")
MAIL_FILE, DATABASE = ".segment", "mailbridge.sqlite3-wal"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def faults(shim: Path, tmp_path: Path) -> Faults:
    return Faults(shim, tmp_path)


def in_bare_environment(state: Path, scenario: Scenario, **options: Any) -> None:
    options = {"myfax": False, "strict": False, "constants": {"web.shared_probe.KEPT": 0.0}, **options}
    in_environment(state, scenario, **options)


@cache
def a_page() -> bytes:
    """Return a page, the same each time: a PDF has the time of its creation, and a mail with another is not a repeat."""
    return render("A page.")[0]


def a_mail(message_id: str = "<one@example.co.il>", size: int = 0) -> bytes:
    """Return a mail with one page, whose PDF is `size` bytes larger than necessary."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "dana@example.co.il", f"{NUMBER}@fax.local", "a letter"
    mail["Message-ID"] = message_id
    mail.set_content("attached\n")
    mail.add_attachment(a_page() + b"\n%" + bytes(size), maintype="application", subtype="pdf", filename="letter.pdf")
    return mail.as_bytes()


async def send(env: Environment, mail: bytes, number: str = NUMBER) -> str:
    return await env.send("dana@example.co.il", [f"{number}@fax.local"], mail)


async def accepted(env: Environment, mail: bytes, number: str = NUMBER) -> str:
    """Send a mail that must be accepted; return the id of its fax."""
    answer = await send(env, mail, number)
    assert answer.startswith("250 2.0.0 queued as fax_"), answer
    return answer.split()[4]


def assert_deferred(env: Environment, answer: str) -> None:
    assert answer.startswith(("451 4.3.", "452 4.3.")), answer
    assert "/" not in answer, "the reply discloses a path"
    assert env.state.name not in answer


def spool_files(env: Environment) -> list[Path]:
    return [path for path in (env.state / "spool").rglob("*") if path.is_file()]


async def stored_mails(env: Environment) -> list[str]:
    """Return where the spool has the document of each fax."""
    return [(await env.ask("stored_documents", id=fax["id"]))[0]["path"] for fax in await env.ask("queue")]


async def ready(env: Environment) -> tuple[int, dict[str, bool]]:
    """Return what /readyz answers, and its checks."""
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE) as client:
        answer = await client.get("http://{}:{}/readyz".format(*env.http))
    checks: dict[str, bool] = answer.json()["checks"]
    return answer.status_code, checks


async def assert_not_ready(env: Environment) -> None:
    status, checks = await ready(env)
    assert (status, [name for name, good in checks.items() if not good]) == (503, ["store"])


async def assert_one_fax(env: Environment, fax: str) -> None:
    """Check that this is the only fax, its mail the only file or body, and that MyFax gets it once."""
    assert [queued["id"] for queued in await env.ask("queue")] == [fax]
    bodies = env.ask_database("SELECT DISTINCT name FROM body") if environment.server else spool_files(env)
    assert len(bodies) == 1
    await env.start_myfax()
    await env.retry_now(fax)
    await env.becomes(fax, "delivered")
    assert len(env.simulator.uploads) == 1


# an interrupted commit


@FILES
@pytest.mark.parametrize("where", [MAIL_FILE, DATABASE], ids=["file-whole", "database-written"])
def test_a_kill_before_the_250_and_a_resend_make_one_fax(tmp_path: Path, faults: Faults, where: str) -> None:
    async def scenario(env: Environment) -> None:
        faults.hold(where)
        sending = asyncio.create_task(send(env, a_mail()))
        await until(lambda: faults.syncs("held"))
        [file] = spool_files(env)
        assert b"letter.pdf" in file.read_bytes()
        await env.kill()
        with pytest.raises((smtplib.SMTPException, OSError)):
            await sending
        faults.clear()
        await env.start()
        fax = await accepted(env, a_mail())
        assert (file in spool_files(env)) is (where == DATABASE)
        await assert_one_fax(env, fax)

    in_bare_environment(tmp_path, scenario, env=faults.env)


@FILES
@pytest.mark.parametrize("where", [MAIL_FILE, DATABASE], ids=["file", "database"])
def test_a_client_that_disconnects_during_the_commit_gets_one_complete_fax(tmp_path: Path, faults: Faults, where: str) -> None:
    async def scenario(env: Environment) -> None:
        faults.hold(where)
        reader, writer = await asyncio.open_connection(*env.smtp)
        for line in (b"EHLO x", b"MAIL FROM:<dana@example.co.il>", f"RCPT TO:<{NUMBER}@fax.local>".encode(), b"DATA"):
            await reply(reader)
            writer.write(line + b"\r\n")
        await reply(reader)
        writer.write(a_mail().replace(b"\n", b"\r\n") + b"\r\n.\r\n")
        await until(lambda: faults.syncs("held"))
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
        faults.clear()
        await logged(env, '"fax queued"')
        [fax] = await env.ask("queue")
        assert await accepted(env, a_mail()) == fax["id"]
        await assert_one_fax(env, fax["id"])

    in_bare_environment(tmp_path, scenario, env=faults.env)


@FILES
@pytest.mark.parametrize("where", [MAIL_FILE, DATABASE], ids=["file", "database"])
def test_a_client_that_resends_during_the_commit_makes_one_fax(tmp_path: Path, faults: Faults, where: str) -> None:
    async def scenario(env: Environment) -> None:
        faults.hold(where)
        first = asyncio.create_task(send(env, a_mail()))
        await until(lambda: faults.syncs("held"))
        # Hold only the file on which the first mail waits, so that the second gets as far as it can.
        faults.hold(Path(faults.syncs("held")[0]).name)
        second = asyncio.create_task(send(env, a_mail()))
        if where == MAIL_FILE:
            reply_of_second = await second
            assert not first.done()
        else:
            await until(lambda: len(faults.syncs("synced", MAIL_FILE)) == 2)
        faults.clear()
        answers = {await first, await second}
        assert len(answers) == 1, answers
        if where == MAIL_FILE:
            assert answers == {reply_of_second}
        await assert_one_fax(env, answers.pop().split()[4])

    in_bare_environment(tmp_path, scenario, env=faults.env)


def test_a_repeated_mail_is_answered_with_the_first_id(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        fax = await accepted(env, a_mail())
        assert await accepted(env, a_mail()) == fax
        assert await env.stop() == 0
        await env.start()
        assert await accepted(env, a_mail(), "+972 3 987 6543".replace(" ", "")) == fax
        others = {await accepted(env, a_mail(), "03-9876544"), await accepted(env, a_mail("<two@example.co.il>"))}
        assert len({fax, *others}) == 3
        assert len(await env.ask("queue")) == 3
        assert len(set(await stored_mails(env))) == 3

    in_bare_environment(tmp_path, scenario)


# a full disk


@FILES
def test_a_full_disk_while_spooling_defers_the_mail_and_leaves_no_file(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        assert_deferred(env, await send(env, a_mail(size=20_000_000)))
        assert spool_files(env) == []
        # There is room again for a smaller mail.
        assert (await ready(env))[0] == 200
        await accepted(env, a_mail("<two@example.co.il>"))
        filler = fill(env.state, left=0)
        assert_deferred(env, await send(env, a_mail()))
        assert len(spool_files(env)) == 1
        await assert_not_ready(env)
        filler.unlink()
        assert (await ready(env))[0] == 200
        await accepted(env, a_mail())

    with small_disk(tmp_path / "state", "16m"):
        in_bare_environment(tmp_path, scenario)


@FILES
def test_a_page_made_of_the_text_is_stored_and_deleted_with_its_mail(tmp_path: Path, faults: Faults) -> None:
    """Also if the mail is a repeat, or cannot be accepted now."""
    text = b"Message-ID: <text@example.co.il>\r\nFrom: dana@example.co.il\r\n\r\nA letter.\r\n"

    async def scenario(env: Environment) -> None:
        faults.fail(DATABASE, times=1)
        assert_deferred(env, await send(env, text))
        assert spool_files(env) == []
        fax = await accepted(env, text)
        [path] = await stored_mails(env)
        assert await accepted(env, text) == fax
        assert await stored_mails(env) == [path]
        # The repeat was erased: of what is allocated, the first mail is all.
        [segment] = spool_files(env)
        stretch = stretch_of(path)
        assert stretch is not None
        assert segment.read_bytes()[stretch.start + stretch.length :].strip(b"\0") == b""

    in_bare_environment(tmp_path, scenario, env=faults.env)


@FILES
@pytest.mark.parametrize("where", ["/spool/mail/", ".segment"], ids=["files-and-directories", "files"])
def test_a_failed_sync_of_a_spool_file_defers_the_mail_and_is_not_repeated(tmp_path: Path, faults: Faults, where: str) -> None:
    async def scenario(env: Environment) -> None:
        faults.fail(where)
        assert_deferred(env, await send(env, a_mail()))
        assert spool_files(env) == []
        assert_deferred(env, await send(env, a_mail()))
        tried = faults.syncs("failed", MAIL_FILE)
        assert len(tried) == len(set(tried)) == 2
        assert set(faults.syncs("synced", MAIL_FILE)) == set()
        faults.clear()
        await assert_one_fax(env, await accepted(env, a_mail()))
        assert len(faults.syncs("synced", MAIL_FILE)) == 1

    in_bare_environment(tmp_path, scenario, env=faults.env)


@FILES
def test_readyz_fails_while_the_spool_cannot_be_synced(tmp_path: Path, faults: Faults) -> None:
    async def scenario(env: Environment) -> None:
        faults.fail("/spool/")
        # Nothing has been synced since.
        assert (await ready(env))[0] == 200
        assert_deferred(env, await send(env, a_mail()))
        await assert_not_ready(env)
        await assert_not_ready(env)
        faults.clear()
        await assert_not_ready(env)
        await accepted(env, a_mail("<two@example.co.il>"))
        assert (await ready(env))[0] == 200
        assert sorted(path.name for path in (env.state / "spool").iterdir()) == ["mail", "received"]

    in_bare_environment(tmp_path, scenario, env=faults.env)


@FILES
def test_a_read_only_spool_defers_mails_until_it_is_writable(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        with read_only(env.state / "spool"):
            assert_deferred(env, await send(env, a_mail()))
            await assert_not_ready(env)
        assert (await ready(env))[0] == 200
        await assert_one_fax(env, await accepted(env, a_mail()))

    in_bare_environment(tmp_path, scenario)


@FILES
def test_a_file_size_limit_defers_mails_and_does_not_end_the_daemon(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        resource.prlimit(env.pid, resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        assert_deferred(env, await send(env, a_mail(size=2_000_000)))
        assert spool_files(env) == []
        fax = await accepted(env, a_mail())
        # Now the database's write-ahead log cannot grow either.
        resource.prlimit(env.pid, resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        assert_deferred(env, await send(env, a_mail("<two@example.co.il>")))
        await assert_not_ready(env)
        resource.prlimit(env.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert (await ready(env))[0] == 200
        await assert_one_fax(env, fax)

    in_bare_environment(tmp_path, scenario)


@FILES
def test_a_full_disk_during_the_commit_defers_the_mail_and_leaves_no_file(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        filler = fill(env.state, left=32_000)
        assert_deferred(env, await send(env, a_mail()))
        assert spool_files(env) == []
        assert await env.ask("queue") == []
        await assert_not_ready(env)
        filler.unlink()
        assert (await ready(env))[0] == 200
        await assert_one_fax(env, await accepted(env, a_mail()))

    with small_disk(tmp_path / "state", "16m"):
        in_bare_environment(tmp_path, scenario)


# failing syncs


@FILES
def test_a_failed_sync_of_the_database_is_not_recovered_by_a_restart(tmp_path: Path, faults: Faults) -> None:
    """The remains of the failed commit in the write-ahead log must not be recovered after its mail was deleted."""

    async def scenario(env: Environment) -> None:
        faults.fail(DATABASE, times=1)
        assert_deferred(env, await send(env, a_mail()))
        assert spool_files(env) == []
        await env.kill()
        await env.start()
        assert await env.ask("queue") == []
        await assert_one_fax(env, await accepted(env, a_mail()))

    in_bare_environment(tmp_path, scenario, env=faults.env)


@FILES
def test_no_mail_is_accepted_while_the_database_cannot_be_synced(tmp_path: Path, faults: Faults) -> None:
    async def scenario(env: Environment) -> None:
        faults.fail(DATABASE)
        for _ in range(3):
            assert_deferred(env, await send(env, a_mail()))
        await assert_not_ready(env)
        await env.kill()
        faults.clear()
        await env.start()
        await assert_one_fax(env, await accepted(env, a_mail()))

    in_bare_environment(tmp_path, scenario, env=faults.env)


def test_mails_are_read_under_a_hard_file_size_limit(tmp_path: Path) -> None:
    """The processes that read mails set their own limit, and may not raise the one that they inherit."""
    limited = ["prlimit", "--fsize=20000000:20000000"]
    if os.geteuid() == 0:
        limited += ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"]

    async def scenario(env: Environment) -> None:
        await assert_one_fax(env, await accepted(env, a_mail()))

    in_bare_environment(tmp_path, scenario, under=limited)


# a damaged spool


def failures_logged(env: Environment, fax: str) -> list[str]:
    """Return the reasons in the log why a fax failed. A damaged document has an event of its own."""
    lines = [json.loads(line) for line in env.log.read_bytes().splitlines() if fax.encode() in line]
    ends = {"fax failed": "reason", "document damaged, fax not sent": "error"}
    return [line[ends[line["event"]]] for line in lines if line["event"] in ends]


@FILES
def test_a_damaged_spool_file_fails_only_its_own_fax_with_a_reason(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        faxes: dict[str, str] = {}
        for harm in ("changed", "truncated", "removed", "none"):
            before = set(spool_files(env))
            faxes[harm] = await accepted(env, a_mail(f"<{harm}@example.co.il>", size=1_000_000))
            [file] = set(spool_files(env)) - before
            content = file.read_bytes()
            middle = content.index(b"base64") + len(content) // 4
            if harm == "changed":
                other = b"A" if content[middle : middle + 1] != b"A" else b"B"
                file.write_bytes(content[:middle] + other + content[middle + 1 :])
            elif harm == "truncated":
                file.write_bytes(content[:middle])
            elif harm == "removed":
                file.unlink()
        await env.start_myfax()
        for fax in faxes.values():
            await env.retry_now(fax)
        whole = faxes.pop("none")
        await env.becomes(whole, "delivered")
        for harm, fax in faxes.items():
            shown = await env.becomes(fax, "failed")
            reason = shown["failure"]["message"]
            words = {"changed": "damaged in the spool", "truncated": "damaged in the spool", "removed": "no longer in the spool"}
            assert words[harm] in reason
            await until(partial(events_of, env, fax, "fax.failed"))
            [event] = events_of(env, fax, "fax.failed")
            assert event["data"]["error"]["message"] == reason
            await until(partial(failures_logged, env, fax))
            assert failures_logged(env, fax) == [reason]
        assert len(env.simulator.uploads) == 1

    in_bare_environment(tmp_path, scenario)


@FILES
def test_a_damaged_stretch_of_a_segment_fails_only_its_own_fax(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        faxes = [await accepted(env, a_mail(f"<{number}@example.co.il>")) for number in range(3)]
        [segment] = spool_files(env)
        content = segment.read_bytes()
        place = content.index(b"base64", content.index(b"<1@example.co.il>")) + 200
        other = b"A" if content[place : place + 1] != b"A" else b"B"
        segment.write_bytes(content[:place] + other + content[place + 1 :])
        await env.start_myfax()
        for fax in faxes:
            await env.retry_now(fax)
        for number, fax in enumerate(faxes):
            shown = await env.becomes(fax, "failed" if number == 1 else "delivered")
            assert number != 1 or "damaged in the spool" in shown["failure"]["message"]
        assert len(env.simulator.uploads) == 2

    in_bare_environment(tmp_path, scenario)


@FILES
def test_a_full_disk_in_the_middle_of_a_segment_harms_no_mail_before_it(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        faxes = [await accepted(env, a_mail("<0@example.co.il>"))]
        before = spool_files(env)[0].read_bytes()
        filler = fill(env.state, left=300_000)
        assert_deferred(env, await send(env, a_mail("<1@example.co.il>", size=500_000)))
        [segment] = spool_files(env)
        assert segment.read_bytes() == before
        filler.unlink()
        faxes += [await accepted(env, a_mail(f"<{number}@example.co.il>")) for number in (1, 2)]
        assert len({path.rpartition("/")[0] for path in await stored_mails(env)}) == 2
        await env.start_myfax()
        for fax in faxes:
            await env.retry_now(fax)
            await env.becomes(fax, "delivered")

    with small_disk(tmp_path / "state", "16m"):
        in_bare_environment(tmp_path, scenario)


def in_half_an_hour() -> bytes:
    """Return the header of a mail to be faxed in half an hour."""
    at = (datetime.now(UTC) + timedelta(minutes=30)).isoformat(timespec="seconds")
    return f"X-Mailbridge-Send-At: {at}\n".encode()


def events_of(env: Environment, fax: str, type_: str = "") -> list[dict[str, Any]]:
    return [event for event in env.receiver.events if event["data"].get("fax_id") == fax and event["type"].startswith(type_)]


async def is_delivered(env: Environment) -> bool:
    return all(delivery["state"] == "delivered" for delivery in await env.ask("deliveries"))


@FILES
def test_a_delivery_is_not_repeated_after_a_failed_commit(tmp_path: Path, faults: Faults) -> None:
    async def scenario(env: Environment) -> None:
        env.receiver._on_event = lambda _: faults.fail(DATABASE, times=1)
        await accepted(env, in_half_an_hour() + a_mail())
        await until(lambda: faults.syncs("failed"))
        await until(lambda: is_delivered(env))
        [delivery] = await env.ask("deliveries")
        assert (delivery["attempts"], len(env.receiver.requests)) == (1, 1)

    in_bare_environment(tmp_path, scenario, env=faults.env)


# the clock is set


def accept_any_timestamp(env: Environment) -> None:
    """Make the receiver accept any timestamp. With the daemon's wrong clock it would rightly refuse every signature."""

    class AnyTimestamp(Webhook):
        def verify(self, data: bytes | str, headers: dict[str, str], **_: Any) -> Any:
            return json.loads(data)

    env.receiver._verifier = AnyTimestamp(SECRET)


def assert_ended_once(env: Environment, *faxes: str) -> None:
    """Check that each fax has one final event, and that no webhook was sent twice."""
    for fax in faxes:
        assert len(events_of(env, fax, "fax.delivered")) == 1
        numbers = sorted(event["data"]["seq"] for event in events_of(env, fax))
        assert numbers == list(range(1, len(numbers) + 1))
    ids = [request["webhook-id"] for request in env.receiver.requests]
    assert len(ids) == len(set(ids))


def test_a_clock_set_back_an_hour_starts_no_fax_early_and_repeats_none(tmp_path: Path, faults: Faults) -> None:
    async def scenario(env: Environment) -> None:
        waiting = await accepted(env, a_mail())
        later = await accepted(env, in_half_an_hour() + a_mail("<later@example.co.il>"), "03-9876544")
        accept_any_timestamp(env)
        faults.skew(-3600)
        assert await accepted(env, a_mail()) == waiting
        await env.start_myfax()
        fresh = await accepted(env, a_mail("<two@example.co.il>"), "03-9876545")
        await env.becomes(fresh, "delivered")
        await env.retry_now(waiting)
        await env.becomes(waiting, "delivered")
        assert await env.stop() == 0
        await env.start()
        assert await accepted(env, a_mail()) == waiting
        faults.skew(0)
        assert await accepted(env, a_mail("<two@example.co.il>"), "03-9876545") == fresh
        last = await accepted(env, a_mail("<three@example.co.il>"), "03-9876546")
        await env.becomes(last, "delivered")
        assert (await env.ask("show", id=later))["state"] == "queued"
        assert len(set(await stored_mails(env))) == len(await env.ask("queue")) == 4
        assert [upload.number[-2:] for upload in env.simulator.uploads] == ["45", "43", "46"]
        await until(lambda: all(events_of(env, fax, "fax.delivered") for fax in (waiting, fresh, last)))
        assert_ended_once(env, waiting, fresh, last)

    in_bare_environment(tmp_path, scenario, env=faults.env)


def test_a_clock_set_forward_a_day_loses_and_repeats_no_fax(tmp_path: Path, faults: Faults) -> None:
    async def scenario(env: Environment) -> None:
        done = await accepted(env, a_mail())
        await env.becomes(done, "delivered")
        pending = await accepted(env, a_mail("<two@example.co.il>"), "03-9876598")  # it is never final at MyFax
        await env.becomes(pending, "submitted")
        polls = env.log.read_text().count('"fax polled"')
        accept_any_timestamp(env)
        faults.skew(86400)
        await logged(env, '"fax polled"', polls + 2)
        fresh = await accepted(env, a_mail("<three@example.co.il>"), "03-9876544")
        await env.becomes(fresh, "delivered")
        for _ in range(2):
            assert (await env.ask("show", id=pending))["state"] == "submitted"
            # At its start the daemon looks for expired faxes and documents at once.
            assert await env.stop() == 0
            await env.start()
            await logged(env, '"fax polled"', env.log.read_text().count('"fax polled"') + 1)
        assert not any(document["deleted"] for document in (await env.ask("show", id=done))["documents"])
        assert len(set(await stored_mails(env))) == len(await env.ask("queue")) == 3
        assert len(env.simulator.uploads) == 3
        await until(lambda: events_of(env, fresh, "fax.delivered"))
        assert_ended_once(env, done, fresh)

    more = '\n[fax]\ngive_up = "7d"\nfirst_poll = "50ms"\nslowest_poll = "100ms"\n\n[log]\nlevel = "debug"\n'
    in_bare_environment(tmp_path, scenario, env=faults.env, myfax=True, more=more)


def test_a_clock_set_forward_a_day_expires_no_fax_early(tmp_path: Path, faults: Faults) -> None:
    async def scenario(env: Environment) -> None:
        accept_any_timestamp(env)
        fax = await accepted(env, a_mail(), "03-9876598")
        await env.becomes(fax, "submitted")
        faults.skew(86400)
        polls = env.log.read_text().count('"fax polled"')
        await until(lambda: env.log.read_text().count('"fax polled"') >= polls + 3 or '"fax expired"' in env.log.read_text())
        assert '"fax expired"' not in env.log.read_text()

    more = '\n[fax]\nfirst_poll = "50ms"\nslowest_poll = "100ms"\n\n[log]\nlevel = "debug"\n'
    in_bare_environment(tmp_path, scenario, env=faults.env, myfax=True, more=more)


def test_a_clock_set_forward_a_day_still_recognises_repeated_mails(tmp_path: Path, faults: Faults) -> None:
    async def scenario(env: Environment) -> None:
        fax = await accepted(env, a_mail())
        faults.skew(86400)
        assert await accepted(env, a_mail()) == fax

    in_bare_environment(tmp_path, scenario, env=faults.env)


# start and stop


@FILES
def test_a_start_with_10_000_queued_faxes_reads_little_and_is_small(tmp_path: Path) -> None:
    async def main() -> None:
        # A moment after its start, the daemon also looks whether the clock was set before, which reads every queued fax.
        async with Environment(tmp_path, constants={"background._CLOCK_CHECK_SECONDS": 3600.0}) as env:
            await env.start()
            with_none = bytes_read(env.pid)
            assert await env.stop() == 0
            await queue_many(env.state, 10_000)
            await env.start()
            database = (env.state / "mailbridge.sqlite3").stat().st_size
            assert bytes_read(env.pid) - with_none < database / 8
            await accepted(env, a_mail())
            assert await waiting(env) == 10_001
            status = Path(f"/proc/{env.pid}/status").read_text()
            peak = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
            assert peak < 150, f"{peak:.0f} MiB"

    asyncio.run(main())


def bytes_read(pid: int) -> int:
    """Return how many bytes a process has read from files and sockets (proc(5), rchar)."""
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


async def waiting(env: Environment) -> int:
    """Return how many faxes are queued or uploading, by the metrics."""
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE) as client:
        metrics = (await client.get("http://{}:{}/metrics".format(*env.http))).text
    counts = [
        line.rpartition(" ")[2] for line in metrics.splitlines() if 'faxes{state="queued"}' in line or '"uploading"}' in line
    ]
    return int(sum(map(float, counts)))


async def queue_many(state: Path, count: int) -> None:
    """Fill a state_dir with this many queued faxes. None is due, so that a start has nothing else to do."""
    spool, now = LocalSpool(state / "spool"), datetime.now(UTC)

    def mails(tx: Transaction, begin: int) -> None:
        for number in range(begin, begin + 1000):
            mail(tx, number)

    def mail(tx: Transaction, number: int) -> None:
        envelope = an_envelope(now, message_id=f"<{number}@example.co.il>")
        relpath = f"mail/{number % 64:02x}/{envelope.id}.eml"
        spool.path(relpath).write_bytes(b"a mail")
        fax = a_fax(now, due_at=now + timedelta(hours=1))
        document = replace(fax.documents[0], path=relpath)
        tx.submissions.add(replace(envelope, path=relpath), [replace(fax, documents=(document,))], f"{number}", now)

    async with SqliteStore(state, fax_data, lambda _: []) as store:
        for begin in range(0, count, 1000):
            await store.run(partial(mails, begin=begin))


@FILES
def test_sigterm_ends_an_unfinished_mail_with_421(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        reader, writer = await asyncio.open_connection(*env.smtp)
        for line in (b"EHLO x", b"MAIL FROM:<dana@example.co.il>", f"RCPT TO:<{NUMBER}@fax.local>".encode(), b"DATA"):
            await reply(reader)
            writer.write(line + b"\r\n")
        assert (await reply(reader)).startswith(b"354")
        writer.write(a_mail(size=2_000_000)[:1_500_000])
        await until(lambda: spool_files(env) and spool_files(env)[0].stat().st_size)
        stopping = asyncio.create_task(env.stop())
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readline()).startswith(b"421 4.3.2")
            assert await reader.read() == b""
            writer.close()
            assert await stopping == 0
        assert spool_files(env) == []

    in_bare_environment(tmp_path, scenario, constants={"app.GRACE": 0.5})
