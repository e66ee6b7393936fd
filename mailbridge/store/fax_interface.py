"""What a transaction does with accepted mails and outbound faxes. See `store.interface`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Protocol

from mailbridge.lifecycle import FaxState, FaxTrigger
from mailbridge.model import Envelope, Fax, QueuedMail
from mailbridge.store.sending_state import SendingState


class Submissions(Protocol):
    """Accepted mails."""

    def add(self, envelope: Envelope, faxes: Sequence[Fax], key: str | None, now: datetime) -> None:
        """Store one mail and its faxes as queued, and emit `fax.queued` for each. `key` identifies repeats of it."""

    def add_all(self, mails: Sequence[QueuedMail]) -> None:
        """Do the same for many mails, each of the time at which it was received."""

    def fax_ids(self, keys: Collection[str], since: datetime) -> dict[str, list[str]]:
        """Return by key the fax ids of the first mail with this key that was received at or after `since`."""

    def same_again(self, keys: Collection[str], since: datetime) -> dict[str, str]:
        """Return by `Fax.same_key` the newest fax with this key that was created at or after `since`."""

    def passed_over(self, envelope_id: str) -> list[str]:
        """Return the names of a mail's parts that are not faxed, or []."""

    def count_faxes(self, user: str, since: datetime) -> int:
        """Return how many faxes this user's mails have made that were received at or after `since`."""


class Sending(Protocol):
    """Whether the faxes of an account may be uploaded."""

    def state(self, account: str) -> SendingState:
        """Return whether a person holds the account back, and whether it is paused."""

    def add_doubt(self, account: str, most: int, until: datetime) -> SendingState:
        """Count one more upload without an answer, and pause the account if they are `most` in a row."""

    def pause_until(self, account: str, until: datetime) -> SendingState:
        """Let a pause that has not ended last until then; return the state after that."""

    def answered(self, account: str, *, doubts: bool) -> bool:
        """End the pause and forget the doubts, since MyFax has answered; return whether there was a pause.

        With `doubts` false this node knows of none, and only what other nodes have counted is looked for.
        """

    def paused(self) -> list[str]:
        """Return the accounts that are paused."""


class PollRequests(Protocol):
    """Requests of reports to ask MyFax about a fax at once."""

    def request(self, fax: Fax, now: datetime) -> None:
        """Make a submitted fax due for a status request now, unless that was done in the last minute."""


class Faxes(Protocol):
    """Outbound faxes."""

    def add(self, fax: Fax, now: datetime) -> None:
        """Store one more queued fax of a mail that is already stored, and emit `fax.queued`."""

    def get(self, fax_id: str) -> Fax:
        """Return one fax. Raises NotFound."""

    def newest(self, state: FaxState | None = None, limit: int = 100) -> list[Fax]:
        """Return faxes, newest first; with `state`, only those."""

    def counts(self) -> dict[FaxState, int]:
        """Return how many faxes are in each state; states without one are absent."""

    def due(self, state: FaxState, now: datetime, account: str | None = None, limit: int = 1) -> list[Fax]:
        """Return faxes in `state` whose due_at has come, earliest due_at first; with `account`, only its faxes."""

    def due_uploads(self, now: datetime, account: str, per_number: int, limit: int, after: str = "") -> list[Fax]:
        """Return the earliest due queued fax of each user of an account, to a number with fewer calls than `per_number` (0: any).

        The users come in their order, beginning with the one behind `after` (see `Fax.owner`), so that they take turns.
        """

    def may_call(self, number: str, per_number: int, *, again: bool) -> bool:
        """Return whether fewer faxes than `per_number`, of any account, to this number are uploading or submitted.

        It is for a fax that `due_uploads` has just found. `again` is whether the transaction has since claimed another one to
        this number. Until the end of the transaction no other node gets True for this number.
        """

    def free_uploads(self, account: str, uploads: int) -> int:
        """Return how many more uploads of this account all nodes together may begin, if `uploads` is the limit.

        With SQLite that is the limit: the one process counts them itself.
        """

    def mark_whole(self, fax_id: str, n: int, at: datetime) -> None:
        """Record that the request of the nth upload may be whole from now on.

        Raises UploadSuperseded if the fax is not in this upload any more: its last bytes must not be sent.
        """

    def interrupted(self, *, own: bool = False, limit: int = 1000) -> list[Fax]:
        """Return faxes that are uploading though nobody uploads them: those of nodes that have ended, with SQLite all.

        With `own`, those that this node itself has begun: it knows which of its uploads it has cancelled.
        """

    def next_due(self, state: FaxState, account: str | None = None) -> datetime | None:
        """Return the earliest due_at in `state`, or None."""

    def credit_left(self, account: str) -> str | None:
        """Return the account's credit after its last final fax, as MyFax wrote it, or None."""

    def expired(self, now: datetime, limit: int = 100) -> list[Fax]:
        """Return queued and submitted faxes whose expires_at has come."""

    def by_tokens(self, tokens: Collection[str]) -> list[Fax]:
        """Return the faxes that have one of these tokens, or had it at an earlier upload, in any state."""

    def by_fax_codes(self, codes: Collection[str]) -> list[Fax]:
        """Return the faxes that have one of these FAX_CODEs, in any state; case is ignored."""

    def by_numbers(self, numbers: Collection[str], since: datetime) -> list[Fax]:
        """Return the faxes to these numbers that are uploading, in_doubt or submitted, or became final at or after `since`."""

    def transition(self, fax_id: str, trigger: FaxTrigger, now: datetime, **changes: Any) -> Fax:
        """Change a fax's state by `lifecycle`, set `changes` (fields of Fax), emit the transition's events; return the new fax.

        A fax in a final state keeps its fields: `changes` are ignored. Raises NotFound, IllegalTransition.
        """

    def update(self, fax_id: str, **changes: Any) -> Fax:
        """Change fields other than the state, such as the next due_at; return the new fax. Raises NotFound."""
