"""Records a report about a sent fax: finds the fax, and ends it, asks the poller, or emits `report.received`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mailbridge import log
from mailbridge.errors import IllegalTransition
from mailbridge.model import Failure, Fax, Report, last_attempt
from mailbridge.myfax.status_codes import DELIVERED, Outcome, describe, report_outcome
from mailbridge.report.match import SKEW, How, Match, identifiers, match
from mailbridge.report.watcher_options import WatcherOptions
from mailbridge.store.interface import Transaction


class ReportRecorder:
    """Records the reports of one mailbox.

    A report ends its fax only if it is trusted and names it surely. Any other one is a reason to ask MyFax, no more.
    """

    def __init__(self, options: WatcherOptions) -> None:
        self._options = options

    def record(self, tx: Transaction, report: Report, now: datetime) -> None:
        """Record one report."""
        found = None if report.defects else match(report, self._candidates(tx, report), self._options.region)
        if found is None:
            self._emit(tx, report, None, now)
            return
        fax, outcome = tx.faxes.get(found.fax_id), report_outcome(report.status, report.status_code)
        if not report.trusted or (found.how == "destination" and not self._number_suffices(fax)):
            self._emit(tx, report, found, now)
            tx.poll_requests.request(fax, now)
        elif outcome == "ask" or outcome.kind == "pending" or self._poller_decides(report, found, fax, outcome):
            self._leave_to_poller(tx, report, found, fax, now)
        else:
            self._end(tx, report, found, fax, outcome, now)

    def _candidates(self, tx: Transaction, report: Report) -> list[Fax]:
        """Return every fax that the report may name."""
        named = identifiers(report, self._options.region)
        if named.tokens:
            return tx.faxes.by_tokens(named.tokens)
        coded = tx.faxes.by_fax_codes(named.codes)
        return coded or (tx.faxes.by_numbers(named.numbers, report.date - SKEW) if report.date else [])

    def _number_suffices(self, fax: Fax) -> bool:
        """Whether a report that names only the number may end this fax.

        Any customer of MyFax gets genuine, signed reports about the same number, and can forward one: only in a mailbox that
        nobody else can deliver to does it suffice. A fax in doubt needs a token or a FAX_CODE.
        """
        return self._options.mailbox.trust == "none" and fax.state == "submitted"

    def _poller_decides(self, report: Report, found: Match, fax: Fax, outcome: Outcome) -> bool:
        """Whether a result is not final: MyFax may dial again, or the report is about an earlier attempt, or another number."""
        if found.contradicted:
            return True
        if outcome.error is None:
            return False
        late = len(fax.attempts) > 1 and report.date is not None and report.date < fax.attempts[-1].started_at - SKEW
        return found.earlier or late or (outcome.error in self._options.poll_first and fax.state == "submitted")

    def _leave_to_poller(self, tx: Transaction, report: Report, found: Match, fax: Fax, now: datetime) -> None:
        if fax.state == "submitted":
            tx.faxes.update(fax.id, report=report_data(report, found.how))
        tx.poll_requests.request(fax, now)
        log.report_inconclusive(fax.id, mailbox=self._options.name, status_code=report.status_code, how=found.how)

    def _end(self, tx: Transaction, report: Report, found: Match, fax: Fax, outcome: Outcome, now: datetime) -> None:
        ended = last_attempt(fax, ended_at=now, error_code=outcome.error)
        changes: dict[str, Any] = {"report": report_data(report, found.how), "source": "report", "attempts": ended}
        if outcome.error is not None:
            message = describe(report.status_code)
            changes["failure"] = Failure(code=outcome.error, message=message, provider_code=report.status_code)
        try:
            tx.faxes.transition(fax.id, "confirm" if outcome == DELIVERED else "fail", now, **changes)
        except IllegalTransition:
            self._emit(tx, report, found, now)
            return
        how, mailbox = found.how, self._options.name
        log.report_applied(fax.id, mailbox=mailbox, status_code=report.status_code, how=how, outcome=outcome.kind)

    def _emit(self, tx: Transaction, report: Report, found: Match | None, now: datetime) -> None:
        """Emit `report.received`."""
        options, how = self._options, found.how if found else None
        data: dict[str, Any] = {
            "mailbox": options.name,
            "account": options.account,
            "matched": found and found.fax_id,
            "match": how,
            "trusted": report.trusted,
            "report": report_data(report, how),
            "defects": list(report.defects),
        }
        fax_id = found.fax_id if found else None
        tx.events.emit("report.received", data, now, fax_id)
        log_event = log.report_unmatched if found is None else log.report_not_applied
        log_event = log.report_unreadable if report.defects else log_event
        log_event(fax_id or report.message_id or "report", mailbox=options.name, trusted=report.trusted, defects=report.defects)


def report_data(report: Report, how: How | None) -> dict[str, Any]:
    """Return a report as events hold it; `how` says what in it named the fax."""
    return {
        "status": report.status,
        "status_code": report.status_code,
        "subject": report.subject,
        "trusted": report.trusted,
        "message_id": report.message_id,
        "match": how,
    }
