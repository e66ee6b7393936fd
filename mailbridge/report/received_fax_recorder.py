"""Records a mail about a received fax: emits `fax.received`, unless the list of `incoming.do` has reported this fax already."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from mailbridge import log
from mailbridge.model import ReceivedItem, Report
from mailbridge.report.listing_match import MAX_GAP, canonical_number, closest_listed
from mailbridge.report.received_document import SpooledMail
from mailbridge.report.received_event import received_data
from mailbridge.report.watcher_options import WatcherOptions
from mailbridge.store.interface import Transaction

NOT_ADDRESSED = "the mail is addressed to nobody here, nor is the fax to a known line"


class ReceivedFaxRecorder:
    """Records the received faxes of one mailbox."""

    def __init__(self, options: WatcherOptions) -> None:
        self._options = options

    def record(self, tx: Transaction, mail: SpooledMail, now: datetime) -> bool:
        """Record one received fax; return False if the list has reported it already: the documents are not needed then."""
        report, mailbox = mail.report, self._options.name
        mailed = self._item(mail, now)
        listed = self._listed(tx, mailed)
        if report.trusted and listed is None and not self._is_addressed(tx, report, mailed.called):
            # It is a genuine mail about somebody's fax. Any customer of MyFax can send us theirs.
            report = replace(report, trusted=False, defects=(*report.defects, NOT_ADDRESSED))
            mailed = replace(mailed, trusted=False)
        if listed is not None and listed.event_id is not None:
            tx.received.put(replace(listed, mailed=True))
            log.fax_duplicate(listed.id, mailbox=mailbox, trusted=report.trusted, message_id=report.message_id)
            return False
        source_fields = {"subject": report.subject, "message_id": report.message_id}
        data = received_data(mailed, mail.documents, report.defects, mailbox=mailbox, **source_fields)
        event = tx.events.emit("fax.received", data, now, mailed.id)
        item = mailed if listed is None else replace(listed, mailed=True, sha256=mailed.sha256, url=None, due_at=None)
        tx.received.put(replace(item, event_id=event.id))
        log.fax_received(mailed.id, mailbox=mailbox, trusted=report.trusted, documents=len(mail.documents))
        return True

    def _is_addressed(self, tx: Transaction, report: Report, called: str | None) -> bool:
        """Whether a mail was written to us, or is about a fax to a line of this account. Delivered-To says nothing of either."""
        options = self._options
        if options.mailbox.trust == "none" or report.addressed:
            return True
        return called is not None and tx.received.has_line(options.account, called)

    def _item(self, mail: SpooledMail, now: datetime) -> ReceivedItem:
        report, region = mail.report, self._options.region
        return ReceivedItem(
            id=str(mail.fax_id),
            account=self._options.account,
            kind="incoming",
            caller=canonical_number(report.sender, region),
            called=canonical_number(report.to, region),
            at=report.date if report.date is not None and report.date <= now else now,
            noted_at=now,
            mailed=True,
            trusted=report.trusted,
            sha256=str(mail.documents[0]["sha256"]) if mail.documents else None,
        )

    def _listed(self, tx: Transaction, mailed: ReceivedItem) -> ReceivedItem | None:
        """Return the list's item of the same fax, if no other mail belongs to it and it is not older than the first start.

        An untrusted mail must have the same document as the item: a forged mail must not hide a fax.
        """
        near = tx.received.between(mailed.account, "incoming", mailed.at - MAX_GAP, mailed.at + MAX_GAP)
        listed = [item for item in near if item.listing_id and not item.mailed and (item.event_id or item.due_at)]
        if not mailed.trusted:
            listed = [item for item in listed if mailed.sha256 is not None and item.sha256 == mailed.sha256]
        return closest_listed(mailed, listed)
