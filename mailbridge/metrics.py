"""What the daemon counts for Prometheus since it started: one function for each thing, as in `log`.

A counter never shrinks: rows that retention deletes were counted before. Gauges of the store are read at each scrape (see
`web.metrics`). docs/monitoring.md lists every metric; a test compares them.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

REGISTRY: Final = CollectorRegistry()

# Endpoints of the table `delivery` that are not webhooks.
_NOTICES = ("notice", "folder")
# Triggers of `lifecycle.DELIVERY` that end an attempt, as people say it.
_OUTCOMES = {"deliver": "delivered", "defer": "deferred", "reject": "dead", "exhaust": "dead"}
_FINAL = {"fax.delivered": "delivered", "fax.failed": "failed", "fax.cancelled": "cancelled"}
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_LONG = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 24 * 3600.0)


def _counter(name: str, help: str, *labels: str) -> Counter:
    return Counter(f"mailbridge_{name}", help, labels, registry=REGISTRY)


def _histogram(name: str, help: str, *labels: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
    return Histogram(f"mailbridge_{name}", help, labels, registry=REGISTRY, buckets=buckets)


_mails = _counter("mails", "Mails that were answered 250; a repeated mail makes no fax", "result")
_refusals = _counter("refusals", "SMTP replies that refused a mail or a recipient, or ended a session", "code", "enhanced_code")
_faxes_queued = _counter("faxes_queued", "Faxes accepted", "account")
_faxes_finished = _counter("faxes_finished", "Faxes that became final", "account", "outcome", "error")
_faxes_in_doubt = _counter("faxes_in_doubt", "Faxes that became in doubt", "account")
_pages = _counter("pages_delivered", "Pages of delivered faxes", "account")
_uploads = _counter("uploads", "Upload attempts by what became of them", "account", "outcome")
_received = _counter("received", "Received faxes and voicemails, and reports of no fax of ours", "type")
_deliveries = _counter("delivery_attempts", "Attempts to deliver an event to a webhook", "endpoint", "outcome")
_notices = _counter("notices", "Attempts to deliver a notice by mail or to a folder", "kind", "outcome")
_log_lines = _counter("log_lines", "Warnings and errors in the log", "level", "event")
_intake = _histogram("intake_seconds", "From the end of a mail's data until its faxes were durable")
_upload = _histogram("upload_seconds", "One call of faxUpload.do", "account")
_final = _histogram("fax_final_seconds", "From a fax's first upload until it was final", "outcome", buckets=_LONG)
_webhook = _histogram("webhook_seconds", "One request to a webhook", "endpoint")


def mail_accepted(seconds: float, *, repeated: bool) -> None:
    """Count a mail that was answered 250, so many seconds after the end of its data."""
    _mails.labels("repeated" if repeated else "accepted").inc()
    _intake.observe(seconds)


def refused(reply: str) -> None:
    """Count a reply such as `550 5.1.3 Not a number`."""
    code, _, text = reply.partition(" ")
    enhanced = text.split(" ", 1)[0]
    _refusals.labels(code, enhanced if enhanced.replace(".", "").isdigit() else "").inc()


def event_emitted(type_: str, account: str) -> None:
    """Count an event that was stored."""
    if type_ == "fax.queued":
        _faxes_queued.labels(account).inc()
    elif type_ == "fax.in_doubt":
        _faxes_in_doubt.labels(account).inc()
    elif type_.endswith(".received"):
        _received.labels(type_).inc()


def fax_finished(type_: str, account: str, error: str, pages: int | None, seconds: float) -> None:
    """Count a fax that became final by this event, with its error or an empty text."""
    outcome = _FINAL[type_]
    _faxes_finished.labels(account, outcome, error).inc()
    _final.labels(outcome).observe(seconds)
    if outcome == "delivered":
        _pages.labels(account).inc(pages or 0)


def uploaded(account: str, outcome: str, seconds: float) -> None:
    """Count an upload by the trigger of its outcome."""
    _uploads.labels(account, outcome).inc()
    _upload.labels(account).observe(seconds)


def delivery_moved(endpoint: str, trigger: str) -> None:
    """Count an attempt that ended by this trigger."""
    if trigger in _OUTCOMES:
        (_notices if endpoint in _NOTICES else _deliveries).labels(endpoint, _OUTCOMES[trigger]).inc()


def webhook_called(endpoint: str, seconds: float) -> None:
    """Count a request to a webhook."""
    _webhook.labels(endpoint).observe(seconds)


def logged(level: str, event: str) -> None:
    """Count a warning or an error."""
    _log_lines.labels(level, event).inc()
