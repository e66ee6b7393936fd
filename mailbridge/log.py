"""One function per log event, and one event per meaning, so that an alarm can be set on it.

Each line begins with an id: grep a fax's id to see its full history. Warnings and errors are explained in
docs/troubleshooting.md, one row for each.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, Literal, Protocol

import structlog

# Of syslog (RFC 5424 section 6.2.1).
PRIORITIES = {"error": 3, "warning": 4, "info": 6, "debug": 7}
_SECRET = ("password", "secret", "authorization", "credential", "refresh_token")


class Event(Protocol):
    """Writes the lines of one event."""

    def __call__(self, id: str, /, **facts: object) -> None: ...


def setup(level: str = "info", format: Literal["auto", "console", "json"] = "auto") -> None:
    """Write lines of `level` and above to standard error; `auto` is console on a terminal, else JSON.

    In systemd's journal each line has its priority, so that `journalctl -p err` finds the errors.
    """
    console = format == "console" or (format == "auto" and sys.stderr.isatty())
    render: Callable[..., Any] = _console_line if console else structlog.processors.JSONRenderer(serializer=_json_line)
    if is_journal(os.environ):
        render = _with_priority(render)
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), _redact, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # looked up for each line, because tests replace it
        cache_logger_on_first_use=False,
    )


_JSON = json.JSONEncoder(default=str)  # json.dumps would make one for each line


def _json_line(facts: Mapping[str, Any], **_: object) -> str:
    return _JSON.encode(facts)


def is_journal(environ: Mapping[str, str]) -> bool:
    """Whether standard error is a stream to systemd's journal (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        facts = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{facts.st_dev}:{facts.st_ino}"


def _with_priority(render: Callable[..., Any]) -> Callable[..., Any]:
    """Return a renderer that puts the priority before a line (sd-daemon(3))."""

    def prefixed(logger: object, name: str, facts: MutableMapping[str, Any]) -> str:
        priority = PRIORITIES[facts["level"]]
        return f"<{priority}>{render(logger, name, facts)}"

    return prefixed


def _redact(_: object, __: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in facts:
        if _is_secret(key):
            facts[key] = "***"
    return {"id": facts.pop("id"), **facts}


@lru_cache(maxsize=256)
def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET)


def _console_line(_: object, __: str, facts: MutableMapping[str, Any]) -> str:
    """Render a console line. structlog's own renderer would import rich if it is installed."""
    head = f"{facts.pop('timestamp')} {facts.pop('level'):7} {_harmless(facts.pop('id'))} {facts.pop('event')}"
    return " ".join([head, *(f"{key}={_harmless(value, ' ')}" for key, value in facts.items())])


def _harmless(value: object, *quoted: str) -> str:
    """Return a value without control characters, which a terminal would obey: a mail may have brought it.

    It is quoted if it has any, or one of the signs in `quoted`.
    """
    text, written = str(value), repr(value)
    if text.isprintable() and not any(sign in text for sign in quoted):
        return text
    return written if written.isprintable() else repr(written)


def _ignore(level: str, event: str) -> None:
    """Count nothing: in a command."""


# Called with the level and text of each warning and error. The daemon counts them (see `metrics`).
observe: Callable[[str, str], None] = _ignore


def _event(text: str, level: Literal["debug", "info", "warning", "error"] = "info") -> Event:
    def emit(id: str, /, **facts: object) -> None:
        if level in ("warning", "error"):
            observe(level, text)
        # A full disk, or a pipe that nobody reads any more, loses the line, and must not fail the work that it is about: a stored
        # mail would be answered 451, and a fax would stay `uploading`.
        with contextlib.suppress(OSError):
            # What structlog's get_logger() returns would do the same by two more objects for each line.
            config = structlog.get_config()
            logger = config["wrapper_class"](config["logger_factory"](), config["processors"], {})
            getattr(logger, level)(text, id=id, **facts)

    return emit


daemon_started = _event("daemon started")
daemon_stopping = _event("daemon stopping")
daemon_stopped = _event("daemon stopped")
config_reloaded = _event("configuration reloaded")
config_warning = _event("configuration warning", "warning")
config_rejected = _event("configuration rejected, keeping the current one", "error")
clock_jumped = _event("system clock changed, schedules adjusted", "warning")
store_unavailable = _event("store unavailable, retrying", "error")
spool_file_kept = _event("commit not confirmed, spool file kept", "error")
command_crashed = _event("control command failed unexpectedly", "error")

connection_not_accepted = _event("connection not accepted, trying again", "error")
event_loop_error = _event("unexpected error in the event loop", "error")
page_crashed = _event("page of the console failed unexpectedly", "error")
http_request_failed = _event("HTTP request answered with 503", "warning")
worker_crashed = _event("worker failed unexpectedly", "error")
link_key_replaced = _event("link key was damaged and is replaced, links that were sent are void", "error")
sandbox_incomplete = _event("workers lack a part of their sandbox", "warning")
descriptors_short = _event("few file descriptors, fewer connections", "warning")
connection_limit_reached = _event("too many connections, client rejected", "warning")
data_before_greeting = _event("data before greeting, client rejected", "warning")
tls_on_plain_port = _event("client speaks TLS on a plain SMTP port; use smtp.tls.listen or STARTTLS", "warning")
not_smtp = _event("client does not speak SMTP", "warning")
command_limit_reached = _event("too many commands without a mail, connection closed", "warning")
bad_command_limit_reached = _event("too many bad commands, connection closed", "warning")
data_incomplete = _event("mail incomplete, connection ended during DATA", "warning")
tls_handshake_failed = _event("TLS handshake failed", "warning")
login_failed = _event("login failed", "warning")
session_crashed = _event("session failed unexpectedly", "error")
mail_repeated = _event("mail repeated, answered with the first id")
mail_refused = _event("mail refused")
mail_not_stored = _event("mail not stored, client asked to send it again", "error")

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
upload_refused = _event("upload refused, administrator must act", "error")
document_damaged = _event("document damaged, fax not sent", "error")
upload_crashed = _event("upload failed unexpectedly", "error")
outcome_not_stored = _event("upload outcome not stored", "error")
poll_crashed = _event("status poll failed unexpectedly", "error")
status_unanswered = _event("status query not answered", "error")
sending_held = _event("sending held by a person", "warning")
sending_resumed = _event("sending resumed")
account_paused = _event("account paused", "error")
account_reopened = _event("account reopened")

report_applied = _event("report applied")
report_inconclusive = _event("report inconclusive, fax polled")
report_not_applied = _event("report not applied")
report_unmatched = _event("unmatched report")
report_unreadable = _event("unreadable report", "warning")
fax_received = _event("fax received")
fax_duplicate = _event("duplicate of listed fax")
voicemail_received = _event("voicemail received")
listing_failed = _event("incoming.do poll failed", "warning")
document_not_fetched = _event("received document not fetched", "warning")
mailbox_up = _event("mailbox up")
mailbox_down = _event("mailbox down", "error")
mail_unreadable = _event("mail unreadable", "error")
mail_not_marked = _event("mail not marked as handled", "error")
token_not_kept = _event("OAuth2 token not stored", "error")

delivery_delivered = _event("delivery delivered")
delivery_deferred = _event("delivery deferred", "warning")
delivery_dead = _event("delivery dead", "error")
delivery_not_settled = _event("delivery result not stored", "error")
dispatcher_crashed = _event("webhook dispatcher failed unexpectedly", "error")
webhook_stopped = _event("webhook stopped", "error")
webhook_removed = _event("removed webhook has pending deliveries", "error")

notice_not_sent = _event("notice not sent")
notice_sent = _event("notice sent")
notice_deferred = _event("notice deferred", "warning")
notice_dead = _event("notice dead", "error")
notice_not_settled = _event("notice result not stored", "error")
notices_crashed = _event("notice dispatcher failed unexpectedly", "error")
confirmation_not_made = _event("confirmation not made", "warning")
relay_down = _event("mail relay down", "error")
relay_up = _event("mail relay up")

lease_taken = _event("lease taken, this node does it from now on")
lease_ended = _event("lease ended, another node may do it")
schema_migrated = _event("schema migrated")
document_deleted = _event("document deleted")
document_not_deleted = _event("document not deleted", "error")
record_deleted = _event("record deleted")
orphan_deleted = _event("orphan file deleted", "warning")
orphans_swept = _event("orphan cleanup done")
cache_unusable = _event("a cache cannot be written; it is not needed", "warning")
orphans_kept = _event("files of a former database kept in the spool", "warning")

# Until the configuration is read. structlog's default is standard output, where commands print JSON.
setup("warning")
