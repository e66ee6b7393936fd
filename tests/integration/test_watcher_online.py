"""What `check --online` says about the trust settings that a mailbox's newest fax mail passes."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path

import pytest

from mailbridge import online_check
from mailbridge.config import load
from mailbridge.demo.mailbox import DemoMailbox, report_mail
from mailbridge.errors import MailboxError
from mailbridge.report.imap_connection import Connection
from mailbridge.report.trust import would_pass
from tests.integration.watcher_fixtures import config_file
from tests.unit.report.test_trust import dns, signed
from tests.wait_helpers import PATIENCE

VOUCHED = b"Authentication-Results: mx.example.co.il; dkim=pass header.d=myfax.co.il\r\n"
FORGED = report_mail("Success", 9, "forged").replace(b"\n", b"\r\n")


def config(folder: Path, port: int, trust: str = "dkim") -> Path:
    return config_file(folder, port, f'password = "demo"\ntrust = "{trust}"')


async def result_of(path: Path) -> tuple[bool, str]:
    [check] = [one for one in await online_check.check_all(load(path, {})) if one.part == "mailbox office"]
    return check.ok, check.words


CASES: list[tuple[list[bytes], str, str]] = [
    ([], "dkim", "trust not checked: no fax mail is there yet"),
    ([b"Subject: lunch\r\n\r\nat one?\r\n"], "dkim", "trust not checked: no fax mail is there yet"),
    ([signed()], "dkim", "the newest fax mail passes dkim; trust = dkim trusts it"),
    ([signed()], "none", "the newest fax mail passes dkim; trust = none trusts it"),
    (
        [signed()],
        "authserv:mx.example.co.il",
        "the newest fax mail passes dkim; trust = authserv:mx.example.co.il does not trust it, so such a report only makes",
    ),
    (
        [VOUCHED + signed()],
        "authserv:MX.example.co.il",
        "dkim and authserv:mx.example.co.il (if that is your own mail server); trust = authserv:MX.example.co.il trusts it",
    ),
    (
        [VOUCHED + FORGED],
        "dkim",
        "passes authserv:mx.example.co.il (if that is your own mail server); trust = dkim does not trust it",
    ),
    ([FORGED], "dkim", "the newest fax mail passes neither dkim nor authserv:ID; trust = dkim does not trust it"),
    ([signed(), FORGED, FORGED], "dkim", "the newest trusted fax mail passes dkim; trust = dkim trusts it"),
    ([VOUCHED + FORGED, signed()], "dkim", "the newest fax mail passes dkim; trust = dkim trusts it"),
    ([signed(), *[FORGED] * 5], "dkim", "the newest fax mail passes neither"),
]


@pytest.mark.parametrize(("mails", "trust", "words"), CASES)
def test_the_trust_settings_that_the_newest_fax_mail_passes_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mails: list[bytes], trust: str, words: str
) -> None:
    monkeypatch.setattr(online_check, "would_pass", partial(would_pass, resolve=dns))

    async def scenario() -> None:
        async with DemoMailbox() as mailbox:
            for mail in mails:
                await mailbox.deliver(mail)
            ok, said = await result_of(config(tmp_path, mailbox.port, trust=trust))
            assert ok
            assert words in said

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", ["refused", "none"])
def test_fax_mails_are_found_on_a_server_that_cannot_search_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(online_check, "would_pass", partial(would_pass, resolve=dns))
    plain = Connection.search

    async def search(connection: Connection, criteria: str) -> list[int]:
        if criteria == "ALL":
            return await plain(connection, criteria)
        if answer == "refused":
            raise MailboxError("the server refuses SEARCH")
        return []

    monkeypatch.setattr(Connection, "search", search)

    async def scenario() -> None:
        async with DemoMailbox() as mailbox:
            for mail in (signed(), b"Subject: lunch\r\n\r\nat one?\r\n"):
                await mailbox.deliver(mail)
            ok, said = await result_of(config(tmp_path, mailbox.port))
            assert (ok, "the newest fax mail passes dkim" in said) == (True, True), said

    asyncio.run(scenario())


def test_a_slow_dns_does_not_fail_the_check_of_a_mailbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online_check, "TIMEOUT", 2.0)
    over = threading.Event()

    def silent(name: bytes, timeout: float = 5) -> bytes:
        over.wait(PATIENCE)
        return b""

    monkeypatch.setattr(online_check, "would_pass", partial(would_pass, resolve=silent))

    async def scenario() -> None:
        async with DemoMailbox() as mailbox:
            await mailbox.deliver(signed())
            ok, said = await result_of(config(tmp_path, mailbox.port))
            over.set()
            assert (ok, "trust not checked (no answer in time)" in said) == (True, True), said

    asyncio.run(scenario())
