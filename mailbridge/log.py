"""One function per business event: the id first, so that grepping one id tells that fax's life."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Literal, Protocol

import structlog

_SECRET = ("password", "secret", "authorization", "credential", "refresh_token")


class _Tell(Protocol):
    def __call__(self, id: str, /, **facts: object) -> None: ...


def setup(level: str = "info", format: Literal["auto", "console", "json"] = "auto") -> None:
    """Write lines of `level` and above to standard error; `auto` is console on a terminal, else JSON."""
    console = format == "console" or (format == "auto" and sys.stderr.isatty())
    lines: Callable[..., Any] = _line if console else structlog.processors.JSONRenderer(default=str)
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), _redact, lines],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # as it is at that moment: tests exchange it
        cache_logger_on_first_use=False,
    )


def _redact(_: object, __: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in facts:
        if any(word in key.lower() for word in _SECRET):
            facts[key] = "***"
    return {"id": facts.pop("id"), **facts}


def _line(_: object, __: str, facts: MutableMapping[str, Any]) -> str:
    """One console line, without structlog's own renderer: that one imports rich where rich is installed."""
    head = f"{facts.pop('timestamp')} {facts.pop('level'):7} {facts.pop('id')} {facts.pop('event')}"
    return " ".join([head, *(f"{key}={value!r}" if " " in str(value) else f"{key}={value}" for key, value in facts.items())])


def _event(text: str, level: Literal["debug", "info", "warning", "error"] = "info") -> _Tell:
    def tell(id: str, /, **facts: object) -> None:
        getattr(structlog.get_logger(), level)(text, id=id, **facts)

    return tell


daemon_started = _event("daemon started")
daemon_stopping = _event("daemon stopping")
daemon_stopped = _event("daemon stopped")
config_reloaded = _event("configuration reloaded")
config_doubted = _event("configuration has a key that does not do what it seems to", "warning")
config_rejected = _event("configuration rejected, the old one stays", "error")
clock_jumped = _event("clock was set; what waits moved along", "warning")
service_failed = _event("service failed", "error")

session_refused = _event("session refused", "warning")
mail_refused = _event("mail refused")

fax_queued = _event("fax queued")
fax_uploading = _event("fax uploading")
fax_submitted = _event("fax submitted")
fax_deferred = _event("fax deferred", "warning")
fax_in_doubt = _event("fax in doubt", "error")
fax_polled = _event("fax polled", "debug")
fax_delivered = _event("fax delivered")
fax_failed = _event("fax failed", "warning")
fax_expired = _event("fax expired", "warning")
fax_redialled = _event("fax redialled")
account_paused = _event("account paused", "error")
account_reopened = _event("account reopened")

report_taken = _event("report taken")
report_foreign = _event("report of no fax of ours")
report_broken = _event("report broken", "warning")
fax_received = _event("fax received")
fax_known = _event("fax had been told by the list; its mail came later")
voicemail_received = _event("voicemail received")
listing_failed = _event("list of what came in failed", "warning")
mailbox_up = _event("mailbox up")
mailbox_down = _event("mailbox down", "error")

delivery_delivered = _event("delivery delivered")
delivery_deferred = _event("delivery deferred", "warning")
delivery_dead = _event("delivery dead", "error")

schema_migrated = _event("schema migrated")
document_deleted = _event("document deleted")
record_deleted = _event("record deleted")
orphan_deleted = _event("file without a record deleted", "warning")
orphans_swept = _event("spool swept")
orphans_kept = _event("files of a former database stay in the spool", "warning")

# Until a configuration says more: structlog's own default is standard output, where a command prints its JSON.
setup("warning")
