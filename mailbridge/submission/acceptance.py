"""The way of a mail from its envelope to queued faxes: what is admitted, and what is durable before the 250."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from mailbridge import log
from mailbridge.config import Config, User
from mailbridge.errors import NotFound, Refused, StoreUnavailable, Undecided
from mailbridge.model import Document, Email, Envelope, Fax, Recipient, new_id, new_token
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Transaction
from mailbridge.store.spool import SpoolFile
from mailbridge.submission import policy
from mailbridge.submission.address import find_numbers
from mailbridge.submission.letter import Letter, TextPage

ReadLetter = Callable[[str], Awaitable[Letter]]

# Long enough for a client that resends after an outage, short enough that tomorrow's same fax is a fax.
_REPEAT = timedelta(hours=24)


@dataclass(slots=True, kw_only=True)
class Draft:
    """A mail in the making: what MAIL and RCPT said so far. `sender` is None before MAIL and empty for the null sender."""

    id: str = field(default_factory=lambda: new_id("env"))
    user: str | None = None
    sender: str | None = None
    recipients: list[Recipient] = field(default_factory=list)
    envid: str | None = None
    ret: str | None = None


class Acceptance:
    """Admits senders, recipients and mails, and puts what it admits into the store."""

    def __init__(self, config: Config, runtime: Runtime, read_letter: ReadLetter) -> None:
        self._config, self._runtime, self._read_letter = config, runtime, read_letter
        self._zone = ZoneInfo(config.timezone)
        self._day: date | None = None
        self._sent_today: Counter[str] = Counter()

    async def welcome(self, user: str) -> None:
        """Learn how many faxes a user who has just logged in sent today, where that matters. Raises StoreUnavailable."""
        if self._config.users[user].daily_limit is not None and user not in self._today():
            midnight = self._midnight()
            sent = await self._runtime.store.run(lambda tx: tx.submissions.count_faxes(user, midnight))
            self._today().setdefault(user, sent)

    def admit_sender(self, user: str | None, sender: str) -> None:
        """Check MAIL FROM. Raises Refused. The null sender passes here: clients expect its refusal at RCPT."""
        if sender:
            policy.check_sender(sender, self._user_senders(user))

    def admit_recipient(self, draft: Draft, address: str, notify: str | None, orcpt: str | None) -> None:
        """Check one RCPT, a number or a contact, and add all its numbers to the draft, or none. Raises Refused."""
        policy.check_null_sender(draft.sender or "")
        smtp, rules = self._config.smtp, self._config.numbers
        numbers = find_numbers(address, smtp.domains, smtp.region, self._config.directory, possible=rules.possible)
        user = self._user(draft.user)
        for number in numbers:
            policy.check_number(number, rules.allow if user is None or user.allow is None else user.allow, rules.deny)
        policy.check_recipients(len(draft.recipients) + len(numbers), smtp.max_recipients)
        wanted = {recipient.number for recipient in draft.recipients} | set(numbers)
        self._check_daily(draft.user, len(wanted))
        draft.recipients += [Recipient(number=number, address=address, notify=notify, orcpt=orcpt) for number in numbers]

    def open(self, draft: Draft) -> SpoolFile:
        """Begin the draft's file in the spool. Raises StoreUnavailable."""
        return self._runtime.spool.create(draft.id)

    async def accept(self, draft: Draft, file: SpoolFile) -> str:
        """Read the spooled mail, make it durable with its faxes, and return the reply: `250 2.0.0 queued as fax_01J…`.

        Raises Refused or StoreUnavailable; the file is gone then, unless the store may have taken the mail after all.
        """
        try:
            letter = await self._read_and_sync(file)
            page = None if letter.text_page is None else await self._store_page(letter.text_page, file)
            documents = letter.documents if page is None else (page, *letter.documents)
            envelope, faxes = self._admit(draft, replace(letter, documents=documents), file)
        except BaseException:
            file.abort()
            raise
        ids, fresh = await self._keep(envelope, faxes, file)
        if not fresh:
            file.abort()
            return _queued(ids)
        self._count(draft.user, len(faxes))
        for fax in faxes:
            log.fax_queued(fax.id, envelope=envelope.id, to=fax.number, account=fax.account, documents=len(fax.documents))
        return _queued(ids)

    async def _read_and_sync(self, file: SpoolFile) -> Letter:
        """Read the mail while the disk makes it durable: neither needs the other."""
        synced = file.begin_commit()
        try:
            return await self._read_letter(file.relpath)
        finally:
            # Also after a refusal: the file may only go when no thread has it in hand, and a disk that fails is told first.
            await synced

    async def _store_page(self, page: TextPage, file: SpoolFile) -> Document:
        path = await self._runtime.spool.store_page(file, page.content)
        return Document(
            name="page.pdf",
            content_type="application/pdf",
            size=page.size,
            sha256=page.sha256,
            path=path,
            offset=0,
            length=page.size,
            pages=page.pages,
        )

    def _admit(self, draft: Draft, letter: Letter, file: SpoolFile) -> tuple[Envelope, list[Fax]]:
        policy.check_loop(letter)
        # A From without an address, as cron writes it, names no author: then the envelope's sender counts.
        for author in letter.authors or (letter.sender or draft.sender or "",):
            policy.check_sender(author, self._user_senders(draft.user))
        account = self._account(draft, letter)
        now = self._runtime.clock()
        envelope = Envelope(
            id=draft.id,
            sender=draft.sender or "",
            recipients=tuple(draft.recipients),
            path=file.relpath,
            size=file.size,
            received_at=now,
            message_id=letter.message_id,
            subject=letter.subject,
            account=account,
            user=draft.user,
            envid=draft.envid,
            ret=draft.ret,
        )
        # One fax for each number, however often and in whatever spelling the mail names it.
        numbers = dict.fromkeys(recipient.number for recipient in draft.recipients)
        self._check_daily(draft.user, len(numbers))
        # In the order of the numbers, which the store then tells a mail that comes again: the first id is the first one's.
        ids = sorted(new_id("fax") for _ in numbers)
        return envelope, [self._fax(id, envelope, letter, number, now) for id, number in zip(ids, numbers, strict=True)]

    def _fax(self, id: str, envelope: Envelope, letter: Letter, number: str, now: datetime) -> Fax:
        due = letter.send_at or now
        return Fax(
            id=id,
            envelope_id=envelope.id,
            account=envelope.account,
            number=number,
            state="queued",
            token=new_token(),
            documents=letter.documents,
            created_at=now,
            due_at=due,
            expires_at=max(now, due) + timedelta(seconds=self._config.fax.give_up),
            pages=_pages(letter),
            email=Email(message_id=letter.message_id, envelope_id=envelope.envid, sender=envelope.sender, subject=letter.subject),
            tags=letter.tags,
        )

    async def _keep(self, envelope: Envelope, faxes: list[Fax], file: SpoolFile) -> tuple[list[str], bool]:
        key = _repeat_key(envelope)
        ids = [fax.id for fax in faxes]
        user, midnight = self._user(envelope.user), self._midnight()

        def work(tx: Transaction) -> tuple[list[str], bool]:
            earlier = tx.submissions.fax_ids(key, envelope.received_at - _REPEAT) if key else []
            if earlier:
                return earlier, False
            if user is not None:
                # Other sessions of this user may have sent since RCPT.
                policy.check_daily(
                    user.daily_limit, lambda: tx.submissions.count_faxes(envelope.user or "", midnight), len(faxes)
                )
            tx.submissions.add(envelope, faxes, key, envelope.received_at)
            return ids, True

        try:
            return await self._runtime.store.run(work)
        except Undecided:
            await self._forget_unless_stored(ids[0], file)
            raise
        except Exception:
            file.abort()
            raise

    async def _forget_unless_stored(self, fax_id: str, file: SpoolFile) -> None:
        """A commit that failed may have reached the disk: a file is only removed when the store surely lacks its fax."""
        try:
            await self._runtime.store.run(lambda tx: tx.faxes.get(fax_id))
        except NotFound:
            file.abort()
        except StoreUnavailable:
            log.spool_file_kept("store", error="the database did not answer; a mail's file stays in the spool", path=file.relpath)

    def _account(self, draft: Draft, letter: Letter) -> str:
        if letter.account is not None and letter.account not in self._config.accounts:
            raise Refused("554 5.6.0 The account that X-Mailbridge-Account, or send --account, names is none of this gateway")
        user = self._user(draft.user)
        return letter.account or (user.account if user else None) or next(iter(self._config.accounts))

    def _user(self, name: str | None) -> User | None:
        return self._config.users.get(name) if name is not None else None

    def _user_senders(self, name: str | None) -> tuple[str, ...]:
        user = self._user(name)
        return user.senders if user else ()

    def _check_daily(self, name: str | None, more: int) -> None:
        user = self._user(name)
        if user is not None:
            policy.check_daily(user.daily_limit, lambda: self._today()[name or ""], more)

    def _count(self, name: str | None, faxes: int) -> None:
        if name is not None:
            self._today()[name] += faxes

    def _midnight(self) -> datetime:
        return datetime.combine(self._runtime.clock().astimezone(self._zone).date(), time(), self._zone)

    def _today(self) -> Counter[str]:
        day = self._runtime.clock().astimezone(self._zone).date()
        if day != self._day:
            self._day, self._sent_today = day, Counter()
        return self._sent_today


def _queued(ids: list[str]) -> str:
    more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
    return f"250 2.0.0 queued as {ids[0]}{more}"


def _pages(letter: Letter) -> int | None:
    pages = [document.pages for document in letter.documents]
    return sum(page for page in pages if page is not None) if pages and None not in pages else None


def _repeat_key(envelope: Envelope) -> str | None:
    """Return what tells a mail sent again from a new one: Message-ID, numbers and account; None without a Message-ID."""
    if not envelope.message_id:
        return None
    numbers = sorted({recipient.number for recipient in envelope.recipients})
    return hashlib.sha256("\n".join([envelope.message_id, *numbers, envelope.account]).encode()).hexdigest()
