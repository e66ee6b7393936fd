"""The watcher against a real Dovecot and a real store."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mailbridge.config import Mailbox
from mailbridge.demo.mailbox import incoming_mail, report_mail
from mailbridge.report.imap_connection import Connection
from mailbridge.report.imap_protocol import ImapProtocol
from mailbridge.report.imap_responses import FetchedMail, modified_utf7
from tests.integration import dovecot
from tests.integration.dovecot import Dovecot
from tests.integration.watcher_fixtures import a_fax, a_store, events, settings, watching
from tests.wait_helpers import PATIENCE, until

pytestmark = pytest.mark.skipif(dovecot.missing() is not None, reason=str(dovecot.missing()))
_numbers = count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with dovecot.running() as running:
        yield running


@pytest.fixture(autouse=True)
def _quick_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailbridge.report.watcher.reconnect_delay", lambda failures, jitter: 0.02)


@pytest.fixture
def user() -> str:
    """A mailbox that no other test has used."""
    return f"office{next(_numbers)}@example.co.il"


def of(server: Dovecot, user: str, **changes: Any) -> Mailbox:
    return settings(server.plain, username=user, **changes)


def subjects(found: list[Any]) -> list[str]:
    return [event.data["report"]["subject"] for event in found]


def flags(server: Dovecot, user: str, folder: str = "INBOX") -> list[str]:
    """Return the flags of each mail in a folder, in order."""
    client = server.client(user)
    try:
        _, [mails] = client.select(f'"{modified_utf7(folder)}"', readonly=True)
        # Dovecot refuses to fetch from an empty folder.
        _, answers = client.fetch("1:*", "(FLAGS)") if mails != b"0" else ("OK", [])
    finally:
        client.logout()
    shown = [answer.decode().partition("FLAGS (")[2].rstrip(")") for answer in answers if isinstance(answer, bytes)]
    return [" ".join(flag for flag in found.split() if flag != "\\Recent") for found in shown]


async def flagged(server: Dovecot, user: str, expected: list[str], folder: str = "INBOX") -> None:
    async def there() -> bool:
        return await asyncio.to_thread(flags, server, user, folder) == expected

    await until(there, every=0.02)


def test_a_report_ends_its_fax_and_an_incoming_fax_is_stored(server: Dovecot, user: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_store(tmp_path) as store, watching(of(server, user), store, tmp_path):
            fax = await a_fax(store, "claim", "accept")
            document = b"%PDF-1.4\n" + bytes(range(256)) * 1500
            mails = (
                report_mail("Success", 9, f"invoice {fax.token}.pdf"),
                incoming_mail(document, "08-9999999", filename="פקס.pdf"),
            )
            await asyncio.to_thread(server.deliver, user, *mails)
            [delivered] = await events(store, 1, "fax.delivered")
            [received] = await events(store, 1, "fax.received")
            assert (delivered.fax_id, (await store.run(lambda tx: tx.faxes.get(fax.id))).state) == (fax.id, "delivered")
            assert received.data["document"]["filename"] == "פקס.pdf"
            assert (tmp_path / "spool" / received.data["document"]["path"]).read_bytes() == document
            await flagged(server, user, ["\\Seen", "\\Seen"])

    asyncio.run(scenario())


def test_after_keep_leaves_the_mail_unread(server: Dovecot, user: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        server.deliver(user, b"Subject: lunch\n\nat one?\n")
        async with a_store(tmp_path) as store:
            async with watching(of(server, user, after="keep"), store, tmp_path):
                await asyncio.to_thread(server.deliver, user, report_mail("Success", 9, "kept"))
                await events(store, 1, "report.received")
            # A mail that is no fax mail is left alone whatever `after` says.
            async with watching(of(server, user), store, tmp_path):
                await asyncio.to_thread(server.deliver, user, report_mail("Success", 9, "read"), b"Subject: dinner\n\nat six?\n")
                await events(store, 2, "report.received")
                await flagged(server, user, ["", "", "\\Seen", ""])

    asyncio.run(scenario())


def test_after_move_puts_the_mail_into_a_folder_with_a_hebrew_name(server: Dovecot, user: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        folder = "פקסים & דוחות"
        client = server.client(user)
        assert client.create(f'"{modified_utf7(folder)}"')[0] == "OK"
        client.logout()
        async with a_store(tmp_path) as store, watching(of(server, user, after=f"move:{folder}"), store, tmp_path):
            mails = [report_mail("Success", 9, f"no {n}") for n in range(3)]
            await asyncio.to_thread(server.deliver, user, *mails, b"Subject: lunch\n\nat one?\n")
            await events(store, 3, "report.received")
            await flagged(server, user, ["", "", ""], folder)
            assert await asyncio.to_thread(flags, server, user) == [""]

    asyncio.run(scenario())


def test_a_folder_to_move_to_that_is_missing_stops_nothing(server: Dovecot, user: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_store(tmp_path) as store, watching(of(server, user, after="move:nowhere"), store, tmp_path):
            await asyncio.to_thread(server.deliver, user, report_mail("Success", 9, "one"))
            await events(store, 1)
            await asyncio.to_thread(server.deliver, user, report_mail("Success", 9, "two"))
            assert subjects(await events(store, 2)) == ["one", "two"]

    asyncio.run(scenario())


def test_a_new_uidvalidity_repeats_nothing_and_loses_nothing(server: Dovecot, user: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        server.deliver(user, report_mail("Success", 9, "before the first start"))
        async with a_store(tmp_path) as store:
            async with watching(of(server, user), store, tmp_path):
                await asyncio.to_thread(
                    server.deliver, user, report_mail("Success", 9, "one"), incoming_mail(b"%PDF-1", "08-9999999")
                )
                before = await events(store, 2)
            old = await store.run(lambda tx: tx.mailboxes.cursor("office", "INBOX"))
            for path in server.maildir(user).glob("dovecot*"):
                path.unlink()
            await asyncio.sleep(1.1 - time.time() % 1)  # Dovecot takes the second as the new UIDVALIDITY
            server.deliver(user, report_mail("Success", 9, "two"))
            async with watching(of(server, user), store, tmp_path):
                found = await events(store, 3)
            new = await store.run(lambda tx: tx.mailboxes.cursor("office", "INBOX"))
            assert old is not None
            assert new is not None
            assert new.uidvalidity != old.uidvalidity
            assert [event.id for event in found[:2]] == [event.id for event in before]
            assert subjects(found[2:]) == ["two"]
            assert len(list((tmp_path / "spool" / "received").glob("*/*"))) == 1

    asyncio.run(scenario())


def test_a_folder_that_is_deleted_and_created_again_is_read_from_its_beginning(
    server: Dovecot, user: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        client = server.client(user)
        client.create("Faxes")
        async with a_store(tmp_path) as store, watching(of(server, user, folder="Faxes"), store, tmp_path) as watcher:
            await asyncio.to_thread(
                server.deliver, user, *(report_mail("Success", 9, f"old {n}") for n in range(3)), folder="Faxes"
            )
            await events(store, 3, "report.received")
            await asyncio.to_thread(client.delete, "Faxes")
            await events(store, 1, "mailbox.down")
            assert not watcher.connected
            await asyncio.to_thread(client.create, "Faxes")
            await asyncio.to_thread(server.deliver, user, report_mail("Success", 9, "new"), folder="Faxes")
            assert subjects(await events(store, 4, "report.received"))[-1] == "new"
            await until(lambda: watcher.connected)
        client.logout()

    asyncio.run(scenario())


def test_a_missing_folder_is_down_and_read_on_when_it_is_back(server: Dovecot, user: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        client = server.client(user)
        client.create("Faxes")
        async with a_store(tmp_path) as store:
            async with watching(of(server, user, folder="Faxes"), store, tmp_path):
                await asyncio.to_thread(server.deliver, user, report_mail("Success", 9, "one"), folder="Faxes")
                await events(store, 1)
            client.rename("Faxes", "Elsewhere")
            async with watching(of(server, user, folder="Faxes"), store, tmp_path, wait=False) as watcher:
                [down] = await events(store, 1, "mailbox.down")
                assert "refuses SELECT" in down.data["error"]
                assert not watcher.connected
                await asyncio.to_thread(client.rename, "Elsewhere", "Faxes")
                await asyncio.to_thread(server.deliver, user, report_mail("Success", 9, "two"), folder="Faxes")
                assert subjects(await events(store, 2, "report.received")) == ["one", "two"]
        client.logout()

    asyncio.run(scenario())


def test_a_mail_expunged_between_search_and_fetch_is_passed_over(
    server: Dovecot, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = Connection.fetch
    expunged: list[int] = []
    armed: list[bool] = []

    async def expunge_first(self: Connection, uids: Any, **more: Any) -> list[FetchedMail]:
        # Before the mails are asked for: the second of them; before the rest of the long one is: the long one.
        gone = 4 if more.get("first", 0) is None else 2
        if armed and gone in uids and gone not in expunged:
            expunged.append(gone)
            client = await asyncio.to_thread(server.client, user)
            client.uid("STORE", str(gone), "+FLAGS", "(\\Deleted)")
            client.expunge()
            client.logout()
        return await fetch(self, uids, **more)

    monkeypatch.setattr(Connection, "fetch", expunge_first)

    async def scenario() -> None:
        async with a_store(tmp_path) as store:
            async with watching(of(server, user), store, tmp_path):
                pass
            short = [report_mail("Success", 9, name) for name in ("one", "two", "three")]
            armed.append(True)
            server.deliver(user, *short, incoming_mail(bytes(200_000), "08-9999999"), report_mail("Success", 9, "five"))
            async with watching(of(server, user), store, tmp_path):
                found = await events(store, 3)
            assert expunged == [2, 4]
            assert subjects(found) == ["one", "three", "five"]
            assert (await store.run(lambda tx: tx.mailboxes.cursor("office", "INBOX"))).last_uid == 5  # type: ignore[union-attr]

    asyncio.run(scenario())


def test_five_thousand_waiting_mails_are_processed(server: Dovecot, user: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_store(tmp_path) as store:
            async with watching(of(server, user), store, tmp_path):
                pass
            mail = report_mail("Success", 9, "no 0")
            server.drop(user, [mail.replace(b"no 0", b"no %d" % n) for n in range(5000)])
            async with watching(of(server, user), store, tmp_path, wait=False) as watcher:
                await until(lambda: watcher.connected, patience=10 * PATIENCE)  # it is once all that waited are processed
                found = await events(store, 5000)
            assert len(set(subjects(found))) == len(found) == 5000

    asyncio.run(scenario())


def test_a_server_that_restarts_in_idle_is_watched_again(server: Dovecot, user: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_store(tmp_path) as store, watching(of(server, user), store, tmp_path) as watcher:
            await asyncio.to_thread(server.deliver, user, report_mail("Success", 9, "one"))
            await events(store, 1)
            await asyncio.to_thread(server.stop)
            await events(store, 1, "mailbox.down")
            assert not watcher.connected
            server.drop(user, [report_mail("Success", 9, f"waiting {n}") for n in range(7)])
            await asyncio.to_thread(server.start)
            found = await events(store, 8, "report.received")
            assert sorted(subjects(found)) == ["one", *(f"waiting {n}" for n in range(7))]
            await until(lambda: watcher.connected)
            assert len(await events(store, 1, "mailbox.up")) == len(await events(store, 1, "mailbox.down")) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_a_certificate_is_verified(server: Dovecot, user: str, tmp_path: Path, tls: str) -> None:
    async def scenario() -> None:
        port = server.implicit if tls == "implicit" else server.plain
        mailbox = settings(port, username=user, tls=tls)
        async with a_store(tmp_path) as store:
            async with watching(mailbox, store, tmp_path, wait=False) as watcher:
                [down] = await events(store, 1, "mailbox.down")
                assert "its certificate is not trusted (self-signed certificate)" in down.data["error"]
                assert not watcher.connected
            # The right certificate of another host is refused too.
            named = mailbox.model_copy(update={"host": "127.0.0.2"})
            async with watching(named, store, tmp_path, wait=False, tls=server.trusting) as watcher:
                await events(store, 2, "mailbox.down")
                assert not watcher.connected
            async with watching(mailbox, store, tmp_path, tls=server.trusting):
                await asyncio.to_thread(server.deliver, user, report_mail("Success", 9, "in secret"))
                assert subjects(await events(store, 1, "report.received")) == ["in secret"]

    asyncio.run(scenario())


def test_two_mailboxes_are_watched_side_by_side(server: Dovecot, user: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        other = f"second-{user}"
        async with (
            a_store(tmp_path) as store,
            watching(of(server, user), store, tmp_path, name="first"),
            watching(of(server, other), store, tmp_path, name="second"),
        ):
            fax = await a_fax(store, "claim", "accept")
            same = report_mail("Success", 9, fax.token)
            await asyncio.to_thread(server.deliver, user, same, report_mail("Success", 9, "to the first"))
            await asyncio.to_thread(server.deliver, other, same, report_mail("Success", 9, "to the second"))
            found = await events(store, 2, "report.received")
            assert {(event.data["mailbox"], event.data["report"]["subject"]) for event in found} == {
                ("first", "to the first"),
                ("second", "to the second"),
            }
            assert len(await events(store, 1, "fax.delivered")) == 1

    asyncio.run(scenario())


def test_a_refused_login_is_reported_without_the_password_and_retried(server: Dovecot, user: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        server.refuse(user)
        async with a_store(tmp_path) as store, watching(of(server, user), store, tmp_path, wait=False) as watcher:
            [down] = await events(store, 1, "mailbox.down")
            assert "refuses LOGIN" in down.data["error"]
            assert dovecot.PASSWORD not in down.data["error"]
            assert not watcher.connected
            server.refuse()
            # By itself it would try again in five minutes, so that no account is locked.
            watcher.retry_now()
            await until(lambda: watcher.connected)
            await events(store, 1, "mailbox.up")

    asyncio.run(scenario())


def test_a_mail_that_the_server_cannot_read_does_not_block_those_behind_it(server: Dovecot, user: str, tmp_path: Path) -> None:
    """Dovecot says BYE if a file's name states another size than the file has."""

    async def scenario() -> None:
        async with a_store(tmp_path) as store:
            async with watching(of(server, user), store, tmp_path):
                pass
            server.drop(user, [report_mail("Success", 9, f"no {n}") for n in range(30)])
            bad = server.maildir(user) / "new" / "1700000012.M12.test"
            shutil.move(bad, bad.with_name(f"{bad.name},S=99999,W=99999"))
            async with watching(of(server, user), store, tmp_path) as watcher:
                found = await events(store, 30, "report.received")
                assert watcher.connected
            defects = [event.data["defects"] for event in found if event.data["defects"]]
            assert defects == [["the mail server cannot return this mail; it is UID 13 in folder INBOX"]]
            assert sorted(subjects(found)) == sorted(["", *(f"no {n}" for n in range(30) if n != 12)])

    asyncio.run(scenario())


def test_an_exists_is_followed_by_its_fetch_at_once(
    server: Dovecot, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the short first IDLE, and in a later one: nothing is sent in between but the end of IDLE."""
    exchanged: list[str] = []
    waits: list[float] = []
    handle, send, wait = ImapProtocol._handle_untagged, ImapProtocol.send, Connection.wait_for_exists

    def heard(self: ImapProtocol, text: bytes, rest: list[bytes]) -> None:
        if text.endswith(b"EXISTS"):
            exchanged.append("EXISTS")
        handle(self, text, rest)

    def sent(self: ImapProtocol, line: str, scrub: str | None = None) -> None:
        exchanged.append(" ".join(line.split()[1:3]) if " " in line else line)
        send(self, line, scrub)

    async def waited(self: Connection, seconds: float) -> None:
        waits.append(seconds)
        await wait(self, seconds)

    monkeypatch.setattr(ImapProtocol, "_handle_untagged", heard)
    monkeypatch.setattr(ImapProtocol, "send", sent)
    monkeypatch.setattr(Connection, "wait_for_exists", waited)

    async def scenario() -> None:
        async with a_store(tmp_path) as store, watching(of(server, user), store, tmp_path):
            for n, turn in enumerate((0.5, 4.0, 0.5)):
                await until(lambda turn=turn: waits[-1:] == [turn] and exchanged[-1] == "IDLE")
                exchanged.clear()
                await asyncio.to_thread(server.deliver, user, report_mail("Success", 9, f"no {n}"))
                await events(store, n + 1)
                after = exchanged[exchanged.index("EXISTS") :]
                between = after[: after.index("UID FETCH")]
                assert [line for line in between if line not in ("EXISTS", "DONE")] == []

    asyncio.run(scenario())
