"""What a first start takes of a mailbox that has mails already, and `serve --catch-up`."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mailbridge.demo.mailbox import DemoMailbox, incoming_mail, report_mail
from mailbridge.report.imap_responses import modified_utf7
from tests.e2e.environment import Environment
from tests.integration import dovecot
from tests.integration.watcher_fixtures import a_store, events, settings, watching
from tests.preloaded_process import PROGRAM, Start, preloaded, with_fork_server
from tests.wait_helpers import until

OLD = [report_mail("Success", 9, "old report"), incoming_mail(b"%PDF-1.4 old", "08-9999999"), b"Subject: lunch\n\nat one?\n"]


def kinds(found: list[Any]) -> list[str]:
    return [event.type for event in found]


def test_only_what_arrives_after_the_first_start_is_an_event(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as mailbox, a_store(tmp_path) as store:
            for mail in OLD:
                await mailbox.deliver(mail)
            async with watching(settings(mailbox.port), store, tmp_path):
                await mailbox.deliver(report_mail("Success", 9, "new"))
                assert kinds(await events(store, 1)) == ["report.received"]
            # It is not the first start any more, so catching up changes nothing.
            async with watching(settings(mailbox.port), store, tmp_path, catch_up=True):
                await mailbox.deliver(report_mail("Success", 9, "newer"))
                assert [event.data["report"]["subject"] for event in await events(store, 2)] == ["new", "newer"]

    asyncio.run(scenario())


def test_catch_up_processes_the_old_mails_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as mailbox, a_store(tmp_path) as store:
            for mail in OLD:
                await mailbox.deliver(mail)
            for _ in range(2):
                async with watching(settings(mailbox.port), store, tmp_path, catch_up=True):
                    assert sorted(kinds(await events(store, 2))) == ["fax.received", "report.received"]

    asyncio.run(scenario())


def test_catch_up_on_an_empty_mailbox_is_its_first_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DemoMailbox() as mailbox, a_store(tmp_path) as store:
            async with watching(settings(mailbox.port), store, tmp_path, catch_up=True):
                pass
            await mailbox.deliver(report_mail("Success", 9, "while the daemon was down"))
            async with watching(settings(mailbox.port), store, tmp_path):
                assert kinds(await events(store, 1)) == ["report.received"]

    asyncio.run(scenario())


@pytest.mark.parametrize("catch_up", [False, True])
def test_serve_has_the_option_catch_up(tmp_path: Path, catch_up: bool) -> None:
    async def scenario() -> None:
        async with Environment(tmp_path, reports=False) as env:
            await env.start_myfax()
            for mail in OLD:
                await env.mailbox.deliver(mail)
            arguments = ["serve", "--config", str(env.config), *(["--catch-up"] if catch_up else [])]
            start = Start(arguments=arguments, env={"PATH": os.environ["PATH"]}, program=with_fork_server(PROGRAM))
            with env.log.open("wb") as log:
                process = await preloaded().start(start, [None, None, log.fileno()])
            try:
                await until(lambda: b"mailbox up" in env.log.read_bytes() or process.returncode is not None)
                await env.mailbox.deliver(report_mail("Success", 9, "new"))
                expected = ["old report", "new"] if catch_up else ["new"]
                await until(lambda: _subjects(env)[-1:] == ["new"])
                assert _subjects(env) == expected
            finally:
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0

    asyncio.run(scenario())


def _subjects(env: Environment) -> list[str]:
    return sorted(
        (event["data"]["report"]["subject"] for event in env.receiver.events if event["type"] == "report.received"),
        key=["old report", "new"].index,
    )


@pytest.mark.skipif(dovecot.missing() is not None, reason=str(dovecot.missing()))
def test_five_thousand_old_mails_make_no_events_and_a_folder_may_have_any_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        with dovecot.running() as server:
            user, folder = "office@example.co.il", "פקסים & דוחות"
            client, quoted = server.client(user), f'"{modified_utf7(folder)}"'
            assert client.create(quoted)[0] == "OK"
            client.logout()
            mail = report_mail("Success", 9, "no 0")
            server.drop(user, [mail.replace(b"no 0", b"no %d" % n) for n in range(5000)])
            async with (
                a_store(tmp_path) as store,
                watching(settings(server.plain, username=user), store, tmp_path, name="inbox"),
                watching(settings(server.plain, username=user, folder=folder), store, tmp_path, name="folder"),
            ):
                await asyncio.to_thread(server.deliver, user, report_mail("Success", 9, "into the inbox"))
                await asyncio.to_thread(
                    server.deliver, user, report_mail("Success", 9, "into it"), folder=f'"{modified_utf7(folder)}"'
                )
                found = await events(store, 2)
                assert sorted(event.data["report"]["subject"] for event in found) == ["into it", "into the inbox"]
                inbox = await store.run(lambda tx: tx.mailboxes.cursor("inbox", "INBOX"))
                other = await store.run(lambda tx: tx.mailboxes.cursor("folder", folder))
                assert inbox is not None
                assert other is not None
                assert (inbox.last_uid, other.last_uid) == (5001, 1)

    asyncio.run(scenario())
