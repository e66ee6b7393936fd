"""The records of notices: what is to be stored, and what was claimed to be sent. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from mailbridge.lifecycle import FaxState
from mailbridge.model import Delivery, Envelope, Event, Fax

# "delayed" is a fax without a result after `notice.delay`; "summary" stands for notices beyond `notice.per_hour`.
NoticeKind = Literal["delivered", "failed", "in_doubt", "delayed", "summary", "received", "admin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeDraft:
    """A notice to be stored. Drafts of one mail with the same kind, form and address are gathered in one notice."""

    kind: NoticeKind
    to: str  # an address, or a directory
    due_at: datetime
    form: Literal["mail", "dsn"] = "mail"
    endpoint: Literal["notice", "folder"] = "notice"
    blocks: tuple[Mapping[str, Any], ...] = ()  # of a sender's notice: `fax_id`, `address` and `orcpt` of each recipient
    facts: Mapping[str, Any] = field(default_factory=dict)  # of an administrator's notice: what it says


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that an administrator must act on, and what was mailed about it."""

    cause: str  # a key of `notice.admin_text.CAUSES`
    name: str = ""  # of the account, mailbox or endpoint
    since: datetime
    error: str | None = None
    count: int = 0
    mailed_at: datetime | None = None  # when it was last mailed
    over: bool = False
    unmailed: bool = False  # it began again within the hour, and nobody knows

    def facts(self) -> dict[str, Any]:
        """Return what a notice says about it."""
        names = ("cause", "name", "since", "error", "count", "over")
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> str:
        """Return it as text for the store."""
        return json.dumps({name: _json(getattr(self, name)) for name in self.__dataclass_fields__})

    @classmethod
    def from_json(cls, text: str) -> Alert:
        """Return what `to_json` wrote."""
        values = json.loads(text)
        times = {name: datetime.fromisoformat(values[name]) for name in ("since", "mailed_at") if values[name]}
        return cls(**{**values, **times})


def _json(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class DueNotice:
    """A claimed notice with everything that it says."""

    delivery: Delivery
    event: Event
    envelope: Envelope | None = None  # the mail that it is about; None once it was deleted, and where there is none
    faxes: Mapping[str, Fax] = field(default_factory=dict)  # those of its blocks, by id
    counts: Mapping[FaxState, int] = field(default_factory=dict)  # how many faxes of the mail are in each state
