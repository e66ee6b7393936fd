"""Drafts: mails that people compose in the console, checked as by SMTP, and shown before they are sent.

A draft is a file in the spool that no record names: it is deleted when it is discarded, after half an hour, at the end of the
daemon, and after a crash by the next start. Sending it is what SMTP does after DATA. A draft is sent once: whoever sends it
again gets the same fax, and one that is gone is never sent.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from mailbridge.model import Document, Fax
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Transaction
from mailbridge.store.spool import NewDraft
from mailbridge.submission import policy
from mailbridge.submission.acceptance import Acceptance, ReadLetter
from mailbridge.submission.admission import Admission
from mailbridge.submission.daily_limits import DailyLimits
from mailbridge.submission.mail_transaction import MailTransaction
from mailbridge.submission.worker_protocol import MAX_INLINE

KEPT: Final = 1800.0  # seconds
_PER_USER: Final = 5  # drafts; the oldest goes
_MOST: Final = 30
_REMEMBERED: Final = 1000  # drafts that were sent


class Gateway(Protocol):
    """The parts of the SMTP service that check a mail; a reload replaces them."""

    @property
    def admission(self) -> Admission: ...
    @property
    def acceptance(self) -> Acceptance: ...
    @property
    def daily_limits(self) -> DailyLimits: ...


@dataclass(slots=True, kw_only=True)
class DraftFacts:
    """One mail that waits for its person. `key` names it; `fax_id` is its first fax, once sent."""

    key: str
    user: str
    made_at: datetime
    subject: str
    account: str  # that will send it
    documents: tuple[Document, ...]  # in the order in which they are faxed
    passed_over: tuple[str, ...]  # names of files that are not faxed
    transaction: MailTransaction
    send_at: datetime | None  # not before this time
    fax_id: str | None = None

    @property
    def numbers(self) -> list[str]:
        """The numbers that get a fax, each once."""
        return list(dict.fromkeys(one.number for one in self.transaction.recipients))

    @property
    def pages(self) -> int | None:
        """The pages of all documents; None if that of one is not known."""
        counts = [document.pages for document in self.documents]
        return None if None in counts else sum(count for count in counts if count)


@dataclass(slots=True, kw_only=True)
class Draft(DraftFacts):
    """A draft of this process, in its `file`."""

    file: NewDraft
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Drafts:
    """The drafts of all users. See `shared_drafts` for several nodes. `domain` is one of the gateway's."""

    def __init__(self, gateway: Gateway, read_letter: ReadLetter, runtime: Runtime, domain: str) -> None:
        self._gateway, self._read_letter, self._runtime = gateway, read_letter, runtime
        self.domain = domain
        self._drafts: dict[str, Draft] = {}
        self._sent: dict[str, Draft] = {}

    def begin(self, user: str, client: str, sender: str) -> MailTransaction:
        """Begin a mail. Raises Refused if this user may not send as `sender`."""
        transaction = MailTransaction(user=user, client=client)
        self._gateway.admission.set_sender(transaction, sender)
        return transaction

    async def add_recipient(self, transaction: MailTransaction, written: str) -> None:
        """Add a number or a contact. Raises Refused, StoreUnavailable."""
        if transaction.user is not None:
            await self._gateway.daily_limits.load(transaction.user)
        address = written if "@" in written else f"{written}@{self.domain}"
        self._gateway.admission.add_recipient(transaction, address)

    async def create(self, transaction: MailTransaction, write: Callable[[Callable[[bytes], None]], None]) -> Draft:
        """Keep a mail as a draft; `write` writes its bytes, in a thread.

        Raises Refused for a mail that cannot be faxed, StoreUnavailable.
        """
        file = self._gateway.acceptance.create_file(transaction)
        try:
            await asyncio.to_thread(write, file.write)
            draft = await self._checked(transaction, file)
        except BaseException:
            file.abort()
            raise
        self._make_room(draft.user)
        self._drafts[draft.key] = draft
        asyncio.get_running_loop().call_later(KEPT, self.discard, draft.key, draft.user)
        return draft

    async def _checked(self, transaction: MailTransaction, file: NewDraft) -> Draft:
        with file.source(MAX_INLINE) as mail:
            letter = await self._read_letter(mail, False, transaction.owner)
        account = self._gateway.admission.admit(transaction, letter)
        policy.check_send_at(letter.send_at, self._runtime.clock())
        await file.store_draft(letter.derived)  # a page of text or converted pictures are looked at too
        return Draft(
            key=secrets.token_hex(16),
            user=transaction.user or "",
            made_at=self._runtime.clock(),
            subject=letter.subject,
            account=account,
            documents=tuple(map(file.stored, letter.documents)),
            passed_over=letter.passed_over,
            transaction=transaction,
            file=file,
            send_at=letter.send_at,
        )

    def check_again(self, tx: Transaction, fax: Fax) -> None:
        """Check whether the user of an earlier fax may send it again now. Raises Refused."""
        self._gateway.admission.check_again(tx, fax)

    def get(self, key: str, user: str) -> Draft | None:
        """Return this user's draft, also one that was sent; None if there is none, or none any more."""
        draft = self._drafts.get(key) or self._sent.get(key)
        return draft if draft is not None and draft.user == user else None

    async def find(self, key: str, user: str) -> DraftFacts | None:
        """Return this user's draft, wherever it was made, also one that was sent. Raises StoreUnavailable."""
        return self.get(key, user)

    async def drop(self, key: str, user: str) -> None:
        """Delete a draft that was not sent, wherever it was made. Raises StoreUnavailable."""
        self.discard(key, user)

    async def send(self, key: str, user: str) -> str | None:
        """Send a draft, unless it was sent already; return the id of its first fax, None if there is no such draft any more.

        Raises Refused, StoreUnavailable; the draft is gone then. As with SMTP, an Undecided fax may have been stored.
        """
        draft = self.get(key, user)
        if draft is None:
            return None
        # A person who leaves the page cancels this coroutine, but not what makes the mail durable.
        return await asyncio.shield(asyncio.ensure_future(self._send(draft)))

    async def _send(self, draft: Draft) -> str | None:
        async with draft.turn:
            if draft.fax_id is not None or self._drafts.pop(draft.key, None) is None:
                return draft.fax_id
            await draft.file.discard_draft()  # acceptance stores it again
            reply = await self._gateway.acceptance.accept(draft.transaction, draft.file)
            draft.fax_id = reply.split()[4]
            self._sent[draft.key] = draft
            while len(self._sent) > _REMEMBERED:
                self._sent.pop(next(iter(self._sent)))
            return draft.fax_id

    def discard(self, key: str, user: str) -> None:
        """Delete a draft that was not sent."""
        draft = self._drafts.get(key)
        if draft is not None and draft.user == user:
            del self._drafts[key]
            draft.file.abort()

    def close(self) -> None:
        """Delete all drafts."""
        for draft in list(self._drafts.values()):
            self.discard(draft.key, draft.user)

    def _make_room(self, user: str) -> None:
        every = list(self._drafts.values())
        own = [draft for draft in every if draft.user == user]
        for drafts, most in ((own, _PER_USER), (every, _MOST)):
            for draft in drafts[: max(0, len(drafts) + 1 - most)]:
                self.discard(draft.key, draft.user)
