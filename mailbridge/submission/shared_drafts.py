"""Drafts where several nodes serve the console: one that was composed at a node is shown, sent and discarded at any.

The database has a record of each, and its mail as a body that no envelope names. The node that made it sends it from its own
file; another one from a copy of the body. Both mails have the same Message-ID, so two nodes that send it at once make one fax.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.model import Document, Recipient, new_id
from mailbridge.runtime import Runtime
from mailbridge.store.draft_records import DraftRecord
from mailbridge.store.interface import Transaction
from mailbridge.store.spool import NewDraft
from mailbridge.submission.acceptance import ReadLetter
from mailbridge.submission.drafts import KEPT, Draft, DraftFacts, Drafts, Gateway
from mailbridge.submission.mail_transaction import MailTransaction

# How long a draft that was sent leads to its fax.
_REMEMBERED: Final = timedelta(days=1)
_CHUNK: Final = 1 << 18


@dataclass(slots=True, kw_only=True)
class StoredDraft(DraftFacts):
    """A draft of another node; its mail has `size` bytes at `path` in the spool."""

    path: str
    size: int


class SharedDrafts(Drafts):
    """See `Drafts`."""

    def __init__(self, gateway: Gateway, read_letter: ReadLetter, runtime: Runtime, domain: str) -> None:
        super().__init__(gateway, read_letter, runtime, domain)
        self._displaced: list[tuple[str, str]] = []  # drafts that made room, whose records are to be deleted

    async def create(self, transaction: MailTransaction, write: Callable[[Callable[[bytes], None]], None]) -> Draft:
        """See `Drafts.create`."""
        draft = await super().create(transaction, write)
        displaced, self._displaced = self._displaced, []  # others may displace more meanwhile

        def work(tx: Transaction) -> None:
            for key, user in displaced:
                tx.drafts.delete(key, user)
            tx.drafts.add(draft.key, draft.user, _record(draft), draft.made_at, draft.made_at - _REMEMBERED)

        try:
            await self._runtime.store.run(work)
        except BaseException:
            self._displaced += displaced
            self.discard(draft.key, draft.user)
            raise
        return draft

    def _make_room(self, user: str) -> None:
        before = {draft.key: draft.user for draft in self._drafts.values()}
        super()._make_room(user)
        self._displaced += [(key, user) for key, user in before.items() if key not in self._drafts]

    async def find(self, key: str, user: str) -> DraftFacts | None:
        """See `Drafts.find`."""
        found = await self._runtime.store.run(lambda tx: tx.drafts.get(key, user))
        here = self.get(key, user)
        if here is not None and (here.fax_id is not None or (found is not None and found.fax_id is None)):
            return here
        if here is not None:  # another node has sent or discarded it
            self.discard(key, user)
        return None if found is None else self._stored(key, user, found)

    def _stored(self, key: str, user: str, found: DraftRecord) -> StoredDraft | None:
        is_old = self._runtime.clock() - found.made_at >= timedelta(seconds=KEPT)
        return None if is_old and found.fax_id is None else _read(key, user, found)

    async def send(self, key: str, user: str) -> str | None:
        """See `Drafts.send`."""
        draft = await self.find(key, user)
        if draft is None or draft.fax_id is not None:
            return None if draft is None else draft.fax_id
        if isinstance(draft, StoredDraft):
            fax_id = await asyncio.shield(asyncio.ensure_future(self._send_copy(draft)))
        else:
            fax_id = await super().send(key, user)
        if fax_id is not None:
            with contextlib.suppress(StoreUnavailable):  # the mail's Message-ID leads to its fax too
                await self._runtime.store.run(lambda tx: tx.drafts.mark_sent(key, fax_id))
        return fax_id

    async def _send_copy(self, draft: StoredDraft) -> str | None:
        transaction = replace(draft.transaction, id=new_id("env"))
        file = self._gateway.acceptance.create_file(transaction)
        try:
            await asyncio.to_thread(self._copy, draft, file)
        except NotFound:  # it was deleted meanwhile
            file.abort()
            return None
        except BaseException:
            file.abort()
            raise
        return (await self._gateway.acceptance.accept(transaction, file)).split()[4]

    def _copy(self, draft: StoredDraft, file: NewDraft) -> None:
        with self._runtime.spool.open(draft.path) as body:
            rest = draft.size
            while rest and (piece := body.read(min(rest, _CHUNK))):
                file.write(piece)
                rest -= len(piece)
        if rest:
            raise NotFound("the mail of the draft is not whole")

    async def drop(self, key: str, user: str) -> None:
        """See `Drafts.drop`."""
        self.discard(key, user)
        await self._runtime.store.run(lambda tx: tx.drafts.delete(key, user))

    def close(self) -> None:
        """Leave the drafts to the other nodes; their bodies are deleted when they are old."""
        self._drafts.clear()


def _record(draft: Draft) -> Mapping[str, Any]:
    transaction = {name: getattr(draft.transaction, name) for name in ("id", "user", "sender", "recipients", "client")}
    more = {"path": draft.file.relpath, "size": draft.file.size, "send_at": draft.send_at, "transaction": transaction}
    return more | {name: getattr(draft, name) for name in ("subject", "account", "documents", "passed_over")}


def _read(key: str, user: str, found: DraftRecord) -> StoredDraft:
    record, transaction = found.record, found.record["transaction"]
    recipients = [Recipient(**one) for one in transaction["recipients"]]
    return StoredDraft(
        key=key,
        user=user,
        made_at=found.made_at,
        subject=record["subject"],
        account=record["account"],
        documents=tuple(Document(**one) for one in record["documents"]),
        passed_over=tuple(record["passed_over"]),
        transaction=MailTransaction(**{**transaction, "recipients": recipients}),
        send_at=record["send_at"] and datetime.fromisoformat(record["send_at"]),
        fax_id=found.fax_id,
        path=record["path"],
        size=record["size"],
    )
