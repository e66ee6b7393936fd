"""kill -9 at random moments under load: every 250 makes exactly one fax, and MyFax gets none twice.

`test_kill_nodes.py` does the same with several nodes on one database.

MAILBRIDGE_KILL_ROUNDS is the number of rounds (default 20, full run 200), MAILBRIDGE_KILL_SEED the seed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import smtplib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from mailbridge.demo.simulator import SimFax
from mailbridge.page.text_page import render
from tests.e2e.environment import Environment
from tests.wait_helpers import until

ROUNDS = int(os.environ.get("MAILBRIDGE_KILL_ROUNDS", "20"))
SEED = int(os.environ.get("MAILBRIDGE_KILL_SEED", "1"))
SETTLE = 420.0  # longer than the pause of an account after three doubts in a row
MOST = 100_000  # faxes, or deliveries
BACKLOG = 40  # accepted faxes that MyFax has not got yet: a client that sends more only makes the end longer
# The last digits choose the outcome at MyFax. Few are in doubt: three in a row would pause the account.
ENDINGS = ("43",) * 8 + ("01", "06", "43", "43", "91") + ("43",) * 20 + ("99", "02") + ("43",) * 9 + ("93",)
FATES = {"43": "delivered", "01": "failed", "02": "failed", "06": "failed", "99": "failed", "91": "in_doubt", "93": "in_doubt"}
MORE = '\n[fax]\nper_number = 0\nfirst_poll = "50ms"\nslowest_poll = "200ms"\n'
_FINAL = ("fax.delivered", "fax.failed", "fax.cancelled")


class Client(threading.Thread):
    """Sends mail after mail, again until it gets its 250. `accepted` has the fax id of each Message-ID.

    It connects to one of the ports, another one after each try. Each mail goes to a number of its own, in which `digit` is the
    first one after 03: so MyFax, which knows nothing else of a fax, shows how often it got it.
    It waits while `backlog` returns more than BACKLOG.
    """

    def __init__(
        self,
        name: str,
        ports: Sequence[int],
        page: bytes,
        done: threading.Event,
        endings: Sequence[str] = ENDINGS,
        *,
        digit: int,
        backlog: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(name=name)
        self._backlog = backlog
        self._ports, self._page, self._done, self._endings, self._digit = itertools.cycle(ports), page, done, endings, digit
        self.accepted: dict[str, str] = {}
        self.tries = 0

    def run(self) -> None:
        for number in itertools.count(1):
            while self._backlog() > BACKLOG and not self._done.is_set():
                self._done.wait(0.02)
            if self._done.is_set():
                break
            recipient = f"03-{self._digit}{number % 10_000:04}{self._endings[number % len(self._endings)]}@fax.local"
            self.deliver(f"<{self.name}-{number}@example.co.il>", recipient)

    def deliver(self, message_id: str, recipient: str) -> None:
        """Send one mail, again until it gets its 250 or `SETTLE` seconds have passed."""
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline:
            self.tries += 1
            try:
                with smtplib.SMTP("127.0.0.1", next(self._ports), timeout=20) as client:
                    client.ehlo()
                    client.mail("dana@example.co.il")
                    client.rcpt(recipient)
                    code, text = client.data(self._mail(message_id, recipient))
                if code == 250:
                    self.accepted[message_id] = text.decode().split()[3]
                    return
            except (OSError, smtplib.SMTPException):
                pass
            # A killed daemon is restarted within about a second.
            self._done.wait(0.02)

    def _mail(self, message_id: str, recipient: str) -> bytes:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"], mail["Message-ID"] = "dana@example.co.il", recipient, "a letter", message_id
        mail.set_content("attached\n")
        mail.add_attachment(self._page, maintype="application", subtype="pdf", filename="letter.pdf")
        return mail.as_bytes()


class Moments:
    """Chooses when to kill: after a random time of at most `longest` seconds, or just after an upload."""

    def __init__(self, env: Environment, chance: random.Random, longest: float = 0.8) -> None:
        self._env, self._chance, self._longest = env, chance, longest
        self._upload = asyncio.Event()
        env.simulator.on_upload = self._on_upload

    def _on_upload(self, _: SimFax) -> None:
        self._upload.set()

    async def wait(self) -> None:
        """Return at the next moment to kill."""
        if self._chance.random() < 0.4:
            # MyFax has just accepted a fax: its answer, and everything after it, is still to come.
            self._upload.clear()
            try:
                await asyncio.wait_for(self._upload.wait(), 3.0)
            except TimeoutError:
                return
            await asyncio.sleep(self._chance.choice((0.0, 0.001, 0.003, 0.01)))
        else:
            await asyncio.sleep(self._chance.uniform(0.0, self._longest))


@asynccontextmanager
async def sending(env: Environment, *ports: int) -> AsyncIterator[list[Client]]:
    """Let clients send at the ports. However few mails they sent, in the end MyFax loses an answer, so that one is in doubt."""

    def backlog() -> int:
        # MyFax rejects some, and has the others.
        return sum(len(client.accepted) * (len(ENDINGS) - 1) // len(ENDINGS) for client in clients) - len(env.simulator.uploads)

    done = threading.Event()
    page, _ = render("A page.")
    clients = [Client(f"client{n}", ports, page, done, digit=5 + n, backlog=backlog) for n in range(3)]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        done.set()
        await asyncio.gather(*(asyncio.to_thread(client.join) for client in clients))
    await asyncio.to_thread(clients[0].deliver, "<doubtful@example.co.il>", "03-9876591@fax.local")


@pytest.mark.database("sqlite", reason="test_kill_nodes.py does it with PostgreSQL")
def test_kill_9_at_random_moments_under_load(tmp_path: Path, free_port: int) -> None:
    asyncio.run(rounds(tmp_path, free_port))


async def rounds(state: Path, port: int) -> None:
    async with Environment(state, more=MORE, step=0.05, smtp_port=port, uploads=4) as env:
        await env.start_myfax()
        moments = Moments(env, random.Random(SEED))
        await env.start()
        async with sending(env, port) as clients:
            for _ in range(ROUNDS):
                await moments.wait()
                await env.kill()
                await env.start()
        await check_results([env], clients)


async def check_results(nodes: list[Environment], clients: list[Client]) -> None:
    env = nodes[0]
    faxes = await settled(*nodes)
    accepted = {id: message for client in clients for message, id in client.accepted.items()}
    assert len(accepted) > ROUNDS, "there was too little load"
    # Every mail was sent until it got its 250. Each made one fax: the one whose id the client got.
    assert sorted(fax["id"] for fax in faxes) == sorted(accepted)
    assert {fax["id"]: fax["message_id"] for fax in faxes} == accepted

    taken = uploads(env)
    assert {number: count for number, count in taken.items() if count > 1} == {}, "MyFax got a fax twice"
    wrong = [fax for fax in faxes if fax["state"] not in ("in_doubt", FATES[fax["number"][-2:]])]
    assert wrong == [], "a fax has not ended as MyFax decided"
    doubtful = [fax for fax in faxes if fax["state"] == "in_doubt"]
    for fax in doubtful:
        assert (await env.ask("show", id=fax["id"]))["attempts"][-1]["whole_at"], "MyFax cannot have this fax"
    assert {fax["number"] for fax in faxes if fax["state"] == "delivered"} <= set(taken)
    assert any(client.tries > len(client.accepted) for client in clients), "no kill hit a client"

    resent = next(fax for fax in doubtful if fax["message_id"] == "<doubtful@example.co.il>")
    env.simulator.script[resent["number"]] = "delivered"
    await env.printed("resolve", resent["id"], "--resend")
    await settled(*nodes)
    assert (await env.ask("show", id=resent["id"]))["state"] == "delivered"
    assert {number: count for number, count in uploads(env).items() if count > 1} == {resent["number"]: 2}
    assert_one_end_each(env, {fax["id"] for fax in faxes if fax["state"] != "in_doubt"} | {resent["id"]})


async def settled(*nodes: Environment) -> list[dict[str, Any]]:
    """Return all faxes once none changes by itself any more. However many there are, each must have its turn."""
    env = nodes[0]
    faxes: list[dict[str, Any]] = []

    async def left() -> int:
        """Return how much is to be done: a fax counts more than the deliveries of its next event."""
        if any(map(is_paused, nodes)):
            await env.ask("resume")
        faxes[:] = await env.ask("queue", limit=MOST)
        deliveries = await env.ask("deliveries", limit=MOST)
        under_way: int = sum(fax["state"] in ("queued", "uploading", "submitted") for fax in faxes)
        undelivered: int = sum(delivery["state"] != "delivered" for delivery in deliveries)
        return 10 * under_way + undelivered

    before = await left()

    async def progress() -> bool:
        return await left() < before

    while before:
        states = Counter(fax["state"] for fax in faxes)
        await until(progress, patience=SETTLE, every=0.3, what=f"some faxes never become final: {before} of {states}")
        before = await left()
    return faxes


def is_paused(env: Environment) -> bool:
    """Whether three doubts in a row have paused the account, until `mailbridge resume`."""
    said = env.log.read_text(encoding="utf-8")
    return said.count('"account paused"') > 0 and '"account reopened"' not in said.rpartition('"account paused"')[2]


def uploads(env: Environment) -> Counter[str]:
    """Return how often MyFax got a fax to each number."""
    return Counter(fax.number for fax in env.simulator.uploads)


def assert_one_end_each(env: Environment, ended: set[str]) -> None:
    """Check that each fax has one final event, and events numbered without a gap."""
    ends: Counter[str] = Counter()
    numbers: dict[str, list[int]] = {}
    for event in env.receiver.events:
        fax = event["data"].get("fax_id")
        if fax in ended:
            ends[fax] += event["type"] in _FINAL
            numbers.setdefault(fax, []).append(event["data"]["seq"])
    assert {fax for fax in ended if ends[fax] != 1} == set()
    assert all(sorted(seen) == list(range(1, len(seen) + 1)) for seen in numbers.values())
