"""The one transaction that handles mails from MyFax: it notes each, moves its fax or raises an event, and moves the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from mailbridge import log
from mailbridge.errors import IllegalTransition
from mailbridge.model import Cursor, ErrorCode, Failure, Fax, ReceivedItem, Report, last_attempt, rfc3339
from mailbridge.myfax.status_codes import DELIVERED, Outcome, describe, report_outcome
from mailbridge.report.listing_match import NEAR, nearest, number
from mailbridge.report.match import SKEW, How, Match, clues, e164, match
from mailbridge.store.interface import Transaction

# An untrusted report makes us ask MyFax, but a flood of them must not make us flood MyFax.
ASK_AGAIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One mail, ready to be taken. `fax_id` and `document` (the event's own) are set for an incoming fax.

    One that is `unread` is left in the mailbox as it is, for a person to look at.
    """

    uid: int
    report: Report
    digest: str
    fax_id: str | None = None
    document: dict[str, Any] | None = None
    unread: bool = False


@dataclass(slots=True)
class Recorder:
    """Takes the mails of one mailbox. `ask_first` are outcomes for the poller to settle, since it may dial again after them.

    `exclusive` says that nothing but MyFax reaches the mailbox (`trust = "none"`). `asked` tells when a report last made the
    poller ask about a fax; mailboxes that tell of the same faxes share it.
    """

    mailbox: str
    account: str
    folder: str
    region: str = "IL"
    ask_first: frozenset[ErrorCode] = frozenset()
    exclusive: bool = False
    asked: dict[str, datetime] = field(default_factory=dict)

    def take(self, tx: Transaction, arrivals: Sequence[Arrival], cursor: Cursor, now: datetime) -> set[int]:
        """Handle mails in their order and advance the cursor; return the UIDs of those that an event tells of.

        Those that had been handled before are not among them, nor the faxes that the list of `incoming.do` had told.
        """
        tx.mailboxes.save_cursor(self.mailbox, self.folder, cursor)
        fresh = [arrival for arrival in arrivals if tx.mailboxes.mark_processed(self.mailbox, arrival.digest, now)]
        taken = set()
        for place, arrival in enumerate(fresh):
            moment = now + timedelta(microseconds=place)  # so that their events stand in the order of the mails
            if arrival.report.kind != "incoming":
                self._reported(tx, arrival.report, moment)
            elif self._received(tx, arrival, moment):
                continue
            taken.add(arrival.uid)
        return taken

    def _received(self, tx: Transaction, arrival: Arrival, now: datetime) -> bool:
        """Raise `fax.received`, unless the list of `incoming.do` told of this very fax before; return whether it did."""
        report, fax_id = arrival.report, str(arrival.fax_id)
        moment = report.date if report.date is not None and report.date <= now else now
        receipt = self._receipt(arrival, moment, now)
        listed = self._listed(tx, receipt)
        if listed is not None and listed.event_id is not None:
            tx.received.put(replace(listed, mailed=True))
            log.fax_duplicate(listed.id, mailbox=self.mailbox, trusted=report.trusted, message_id=report.message_id)
            return True
        data = {
            "fax_id": fax_id,
            "seq": 1,
            "direction": "inbound",
            "account": self.account,
            "mailbox": self.mailbox,
            "to": self._number(report.to),
            "from": number(report.sender, self.region),
            "status": "received",
            "received_at": rfc3339(moment),
            "pages": arrival.document and arrival.document["pages"],
            "source": "mail",
            "trusted": report.trusted,
            "subject": report.subject,
            "message_id": report.message_id,
            "document": arrival.document,
        }
        if report.defects:
            data["defects"] = list(report.defects)
        event = tx.events.emit("fax.received", data, now, fax_id)
        noted = receipt if listed is None else replace(listed, mailed=True, sha256=receipt.sha256, url=None, due_at=None)
        tx.received.put(replace(noted, event_id=event.id))
        log.fax_received(fax_id, mailbox=self.mailbox, trusted=report.trusted, document=arrival.document is not None)
        return False

    def _receipt(self, arrival: Arrival, at: datetime, now: datetime) -> ReceivedItem:
        report = arrival.report
        return ReceivedItem(
            id=str(arrival.fax_id),
            account=self.account,
            kind="incoming",
            caller=number(report.sender, self.region),
            called=number(report.to, self.region),
            at=at,
            noted_at=now,
            mailed=True,
            trusted=report.trusted,
            sha256=str(arrival.document["sha256"]) if arrival.document else None,
        )

    def _listed(self, tx: Transaction, mailed: ReceivedItem) -> ReceivedItem | None:
        """Return the item of the list that a mail tells of, where no other mail did and it is not older than the first start.

        A mail that is not trusted must bring the very document: whoever forges one must not hide a fax.
        """
        near = tx.received.between(self.account, "incoming", mailed.at - NEAR, mailed.at + NEAR)
        alone = [one for one in near if one.listing_id and not one.mailed and (one.event_id or one.due_at)]
        if mailed.trusted:
            return nearest(mailed, alone)
        return nearest(mailed, [one for one in alone if mailed.sha256 is not None and one.sha256 == mailed.sha256])

    def _number(self, printed: str | None) -> str | None:
        """E.164 where it can be, what was printed where not, None where nothing was."""
        return (e164(printed, self.region) or printed) if printed else None

    def _candidates(self, tx: Transaction, report: Report) -> list[Fax]:
        named = clues(report, self.region)
        if named.tokens:
            return tx.faxes.by_tokens(named.tokens)
        coded = tx.faxes.by_fax_codes(named.codes)
        return coded or (tx.faxes.by_numbers(named.numbers, report.date - SKEW) if report.date else [])

    def _reported(self, tx: Transaction, report: Report, now: datetime) -> None:
        found = None if report.defects else match(report, self._candidates(tx, report), self.region)
        if found is None or not report.trusted:
            self._raise(tx, report, found, now)
            if found is not None:
                self._ask(tx, tx.faxes.get(found.fax_id), now)
            return
        outcome = report_outcome(report.status, report.status_code)
        fax = tx.faxes.get(found.fax_id)
        if found.how == "destination" and not self._settles(fax):
            self._raise(tx, report, found, now)
            self._ask(tx, fax, now)
        elif outcome == "ask" or outcome.kind == "pending" or self._is_for_the_poller(report, fax, outcome):
            if fax.state == "submitted":
                tx.faxes.update(fax.id, report=as_told(report, found.how))
            self._ask(tx, fax, now)
            log.report_inconclusive(fax.id, mailbox=self.mailbox, status_code=report.status_code, how=found.how)
        else:
            self._move(tx, report, found, fax, outcome, now)

    def _settles(self, fax: Fax) -> bool:
        """Whether a report that names no more than the number is believed of this fax.

        Another customer of MyFax gets genuine, signed reports of the same number, and can mail one on: where others reach the
        mailbox it is a reason to ask. A doubt is ended by a token or a FAX_CODE alone.
        """
        return self.exclusive and fax.state == "submitted"

    def _is_for_the_poller(self, report: Report, fax: Fax, outcome: Outcome) -> bool:
        """Whether a failure is not the last word: MyFax may dial again, or the late report is of an earlier attempt."""
        if outcome.error is None:
            return False
        late = len(fax.attempts) > 1 and report.date is not None and report.date < fax.attempts[-1].started_at - SKEW
        return late or (outcome.error in self.ask_first and fax.state == "submitted")

    def _move(self, tx: Transaction, report: Report, found: Match, fax: Fax, outcome: Outcome, now: datetime) -> None:
        ended = last_attempt(fax, ended_at=now, error_code=outcome.error)
        changes: dict[str, Any] = {"report": as_told(report, found.how), "source": "report", "attempts": ended}
        if outcome.error is not None:
            changes["failure"] = Failure(
                code=outcome.error, message=describe(report.status_code), provider_code=report.status_code
            )
        try:
            tx.faxes.transition(found.fax_id, "confirm" if outcome == DELIVERED else "fail", now, **changes)
        except IllegalTransition:
            self._raise(tx, report, found, now)
            return
        log.report_applied(
            found.fax_id, mailbox=self.mailbox, status_code=report.status_code, how=found.how, outcome=outcome.kind
        )

    def _raise(self, tx: Transaction, report: Report, found: Match | None, now: datetime) -> None:
        data: dict[str, Any] = {
            "mailbox": self.mailbox,
            "account": self.account,
            "matched": found and found.fax_id,
            "match": found and found.how,
            "trusted": report.trusted,
            "report": as_told(report, found.how if found else None),
            "defects": list(report.defects),
        }
        tx.events.emit("report.received", data, now, found.fax_id if found else None)
        log_event = log.report_unmatched if found is None else log.report_not_applied
        (log.report_unreadable if report.defects else log_event)(
            found.fax_id if found else report.message_id or "report",
            mailbox=self.mailbox,
            trusted=report.trusted,
            defects=report.defects,
        )

    def _ask(self, tx: Transaction, fax: Fax, now: datetime) -> None:
        """Make the poller ask about a submitted fax at once, at most once in ASK_AGAIN."""
        for fax_id in [fax_id for fax_id, at in self.asked.items() if now - at >= ASK_AGAIN]:
            del self.asked[fax_id]
        if fax.state == "submitted" and fax.id not in self.asked:
            self.asked[fax.id] = now
            tx.faxes.update(fax.id, due_at=now)


def document_told(path: str, sha256: str, size: int, content_type: str, filename: str) -> dict[str, Any]:
    """Return a received document as the store's events hold it: `path` is in the spool, `size` in bytes."""
    about = {"sha256": sha256, "size": size, "content_type": content_type, "filename": filename}
    return {"path": path, **about, "pages": None}


def as_told(report: Report, how: How | None) -> dict[str, Any]:
    """Return a report as events tell it, with how it was matched with its fax."""
    return {
        "status": report.status,
        "status_code": report.status_code,
        "subject": report.subject,
        "trusted": report.trusted,
        "message_id": report.message_id,
        "match": how,
    }
