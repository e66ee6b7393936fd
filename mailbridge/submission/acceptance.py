"""Acceptance: the way of a mail from its spool file to queued faxes in the store.

Before the reply 250 these are durable, in this order: the mail and what was derived from it (a small mail in a segment, by one
sync; a large one in files, with their names), and then the transaction with the envelope, the faxes and their events. A crash
before that transaction leaves at most what no record names, and the next start deletes such files; the client got no 250 and
sends the mail again. A crash after it, but before the client read the 250, leaves a mail that the client sends again: its
Message-ID and recipients are known for 24 hours, so it is answered with the first id, and faxed once.

The same content from the same user to the same number under another Message-ID, within `fax.same_again`, is faxed: a person may
mean it. The event and the log name the earlier fax.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from mailbridge import log, metrics
from mailbridge.config import FaxOptions
from mailbridge.errors import NotFound, StoreUnavailable, Undecided
from mailbridge.model import QueuedMail
from mailbridge.runtime import Runtime
from mailbridge.store.spool import NewDraft, NewMail
from mailbridge.submission import policy
from mailbridge.submission.admission import Admission
from mailbridge.submission.daily_limits import DailyLimits
from mailbridge.submission.letter.letter import Letter
from mailbridge.submission.mail_batches import MailBatches, StoredMail
from mailbridge.submission.mail_transaction import MailTransaction
from mailbridge.submission.queued_mail import envelope_of, queue_mail
from mailbridge.submission.worker_protocol import MAX_INLINE

# The lines that a mail to many writes to the log before other sessions get their turn.
_LINES_IN_A_TURN = 10

# Reads a mail, given its content or its path in the spool, whether its line ends were changed, and whose it is. Raises Refused,
# StoreUnavailable.
ReadLetter = Callable[[str | bytes, bool, str], Awaitable[Letter]]


class Acceptance:
    """Stores the mails that `admission` admits. `options` are the section `[fax]`."""

    def __init__(
        self, admission: Admission, limits: DailyLimits, read_letter: ReadLetter, runtime: Runtime, options: FaxOptions
    ) -> None:
        self._admission, self._limits, self._read_letter = admission, limits, read_letter
        self._runtime, self._options = runtime, options
        self._batches = MailBatches(runtime.store, limits.check_stored, options.same_again)

    def create_file(self, transaction: MailTransaction) -> NewDraft:
        """Begin a mail in a file of its own, for any thread. Raises StoreUnavailable."""
        return self._runtime.spool.create(transaction.id)

    def receive(self, transaction: MailTransaction) -> NewMail:
        """Begin a mail that arrives in the event loop."""
        return self._runtime.spool.receive(transaction.id, transaction.announced)

    async def accept(self, transaction: MailTransaction, file: NewMail) -> str:
        """Make a mail and its faxes durable, and return the reply: `250 2.0.0 queued as fax_01J…`.

        Raises Refused or StoreUnavailable; the mail is gone then, unless the store may hold it after all.
        """
        begun = asyncio.get_running_loop().time()
        try:
            letter = await self._read_and_sync(transaction, file)
            account, now = self._admission.admit(transaction, letter), self._runtime.clock()
            policy.check_send_at(letter.send_at, now)
            await file.store(letter.derived)
            letter = replace(letter, documents=tuple(map(file.stored, letter.documents)))
            envelope = envelope_of(transaction, letter, file, account, now)
            mail = queue_mail(envelope, letter, self._options.give_up, file.body)
        except BaseException:
            file.abort()
            raise
        stored = await self._store(mail, transaction.owner, file)
        metrics.mail_accepted(asyncio.get_running_loop().time() - begun, repeated=bool(stored.repeated))
        if stored.repeated:
            file.abort()
            who = {"sender": envelope.sender, "user": envelope.user, "client": envelope.client}
            log.mail_repeated(stored.repeated[0], envelope=envelope.id, message_id=envelope.message_id, **who)
            return _queued_reply(stored.repeated)
        file.keep()
        self._limits.add(transaction.user, len(stored.faxes))
        facts = {"envelope": envelope.id, "account": account, "documents": len(letter.documents)}
        facts |= {"sender": envelope.sender, "user": envelope.user, "client": envelope.client}
        if letter.passed_over:
            facts["passed_over"] = list(letter.passed_over)
        for number, fax in enumerate(stored.faxes, 1):
            if number % _LINES_IN_A_TURN == 0:
                await asyncio.sleep(0)
            log.fax_queued(fax.id, to=fax.number, **facts, **({"repeat_of": fax.repeat_of} if fax.repeat_of else {}))
        return _queued_reply(mail.fax_ids)

    async def _read_and_sync(self, transaction: MailTransaction, file: NewMail) -> Letter:
        """Read the mail while the disk makes a large one durable: neither needs the other."""
        with file.source(MAX_INLINE) as mail:
            synced = file.begin_commit()
            try:
                return await self._read_letter(mail, transaction.line_ends_changed, transaction.owner)
            finally:
                # Also after a refusal: no thread may still use the file when it is deleted, and a failing disk is reported first.
                await synced

    async def _store(self, mail: QueuedMail, owner: str, file: NewMail) -> StoredMail:
        """Store a mail. Raises Refused, StoreUnavailable; the mail is gone then, unless the store may hold the mail after all."""
        try:
            return await self._batches.store(mail, owner)
        except Undecided:
            await self._abort_unless_stored(mail.fax_ids[0], file)
            raise
        except Exception:
            file.abort()
            raise

    async def _abort_unless_stored(self, fax_id: str, file: NewMail) -> None:
        """Delete the mail of a failed commit, unless that reached the disk after all: then the store has the fax."""
        if self._runtime.spool.is_swept:
            file.keep()  # a commit in another process may still reach the database; what no record names is deleted later
            return
        try:
            await self._runtime.store.run(lambda tx: tx.faxes.get(fax_id))
        except NotFound:
            file.abort()
        except StoreUnavailable:  # a segment with such a mail is kept until the next start
            log.spool_file_kept("store", error="the database did not answer; a mail's file stays in the spool", path=file.relpath)


def _queued_reply(fax_ids: Sequence[str]) -> str:
    more = f" and {len(fax_ids) - 1} more" if len(fax_ids) > 1 else ""
    return f"250 2.0.0 queued as {fax_ids[0]}{more}"
