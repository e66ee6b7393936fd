"""The interface of the notices in a store (see `store.interface`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from mailbridge.model import Delivery
from mailbridge.store.notice_records import Alert, DueNotice, NoticeDraft


class Alerts(Protocol):
    """What an administrator must act on."""

    def causes(self, now: datetime) -> dict[tuple[str, str], Alert]:
        """Return what holds now, by cause and name."""

    def known(self) -> list[Alert]:
        """Return what was mailed in the last hour, or still lasts."""

    def save(self, alert: Alert) -> None:
        """Store an alert; it replaces the one of the same cause and name."""

    def forget(self, alert: Alert) -> None:
        """Delete an alert."""

    def mail(self, drafts: Sequence[NoticeDraft], alert: Alert, now: datetime) -> None:
        """Store notices about an alert."""


class Notices(Protocol):
    """Notices: deliveries by mail or to a folder. They are added by the changes that they are about."""

    def claim(self, endpoint: str, now: datetime, limit: int, per_hour: int | None = None) -> list[DueNotice]:
        """Change due notices from pending to sending, as `Deliveries.claim` does, and return them with what they say.

        Notices to a sender who got `per_hour` in the last hour are first moved into one summary, due when the hour is over.
        """

    def of_mail(self, envelope_id: str) -> list[Delivery]:
        """Return the notices about the faxes of one mail, oldest first."""

    def remove(self, one: Delivery) -> None:
        """Delete a notice that nobody needs any more."""
