"""Every error that mailbridge raises on purpose. Whether to try again is in its class.

MailbridgeError
├── ConfigError          the configuration is wrong: names the key, the fault and the remedy (exit 78)
├── StateLocked          another daemon works on the same state_dir (exit 78)
├── RestoreUnfinished    a restore into the state_dir was interrupted (exit 78)
├── StateMoved           what the state_dir has was moved to another database (exit 78)
├── SchemaTooNew         the database was written by a newer mailbridge (exit 78)
├── NotFound             no fax, event or delivery has this id
├── UploadSuperseded     an upload that may not go on: its fax has changed meanwhile
├── IllegalTransition    the lifecycle has no such transition from the present state
├── Refused              a mail or recipient that is rejected, with its SMTP reply (permanent)
├── StoreUnavailable     the disk or the database does not work now (transient)
│   └── Undecided        a commit failed while it was made durable: after a crash it may have happened
├── ControlError         the daemon does not answer, or refuses the command
├── MyFaxError           a call to MyFax without a usable answer
│   ├── NotTaken         provably not taken; safe to try again (transient)
│   ├── NeedsPerson      provably not taken; trying again will not help (permanent)
│   │   └── InvalidArgument  not even sent: a parameter is not as MyFax documents it
│   ├── Rejected         MyFax answered with a RESPONSE_CODE below 0 (permanent)
│   └── InDoubt          the request left whole, and its outcome is unknown
└── MailboxError         the IMAP mailbox cannot be watched now
    └── LoginRefused     the user or password is not accepted; trying again soon could lock the account
"""

from __future__ import annotations

from typing import Literal

# Why a fax failed.
ErrorCode = Literal[
    "no_answer",
    "busy",
    "wrong_number",
    "transfer_failed",
    "deleted",
    "rejected",
    "expired",
    "abandoned",
    "unreachable",
    "unknown",
]


class MailbridgeError(Exception):
    """The base class of every error that mailbridge raises on purpose."""


class ConfigError(MailbridgeError):
    """A configuration that cannot be used.

    `key` is the dotted path of the key, `fault` says what is wrong with it, and `remedy` what to write instead. `others` are the
    other mistakes in the same file.
    """

    def __init__(self, key: str, fault: str, remedy: str) -> None:
        self.key, self.fault, self.remedy = key, fault, remedy
        self.others: tuple[ConfigError, ...] = ()
        super().__init__(f"{key}: {fault}; {remedy}")


class StateLocked(MailbridgeError):
    """Another daemon holds the lock of this state_dir."""


class RestoreUnfinished(MailbridgeError):
    """A restore into this state_dir was interrupted, so that faxes may be missing in it."""


class StateMoved(MailbridgeError):
    """What this state_dir has was moved to another database, where its faxes are sent."""


class SchemaTooNew(MailbridgeError):
    """The database has a schema that this version does not know."""


class NotFound(MailbridgeError):
    """No object has this id."""


class UploadSuperseded(MailbridgeError):
    """An upload that may not send its last bytes: its fax has another state, or another attempt, meanwhile."""


class IllegalTransition(MailbridgeError):
    """The lifecycle has no transition by this trigger from this state."""

    def __init__(self, state: str, trigger: str) -> None:
        self.state, self.trigger = state, trigger
        super().__init__(f"no transition {trigger!r} from state {state!r}")


class Refused(MailbridgeError):
    """A mail or recipient rejected in the SMTP session (RFC 5321 section 4.2, RFC 3463).

    `reply` is the complete reply: the code, the enhanced status code, and a sentence for the sender.
    """

    def __init__(self, reply: str) -> None:
        self.reply = reply
        super().__init__(reply)


class StoreUnavailable(MailbridgeError):
    """The spool or the database does not work at this moment; the client should try again later (transient)."""


class Undecided(StoreUnavailable):
    """A commit that failed while it was made durable: it has not happened, but after a crash it may have."""


class ControlError(MailbridgeError):
    """The daemon's control socket did not answer, or the daemon refused the command."""


class MyFaxError(MailbridgeError):
    """A call to MyFax without a usable answer."""


class NotTaken(MyFaxError):
    """MyFax provably did not take the request; it may be tried again (transient)."""


class NeedsPerson(MyFaxError):
    """MyFax provably did not take the request, and trying again will not help (permanent).

    `status` is the HTTP status that refused it, None if it was not sent.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class InvalidArgument(NeedsPerson, ValueError):
    """An argument that MyFax does not accept, found before anything was sent.

    `field` is the documented name of the parameter; `fault` says what is wrong with it, and never repeats its value.
    """

    def __init__(self, field: str, fault: str) -> None:
        self.field, self.fault = field, fault
        super().__init__(f"{field}: {fault}")


class Rejected(MyFaxError):
    """MyFax answered with a RESPONSE_CODE below 0 (permanent)."""

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(f"MyFax refused with code {code}" + (f": {text}" if text else ""))


class InDoubt(MyFaxError):
    """The request left whole, and it is not known whether MyFax took it."""


class MailboxError(MailbridgeError):
    """The mailbox cannot be watched now: it is not reachable, it refused the login, or it broke the protocol (transient)."""


class LoginRefused(MailboxError):
    """The mail server does not accept the user, the password or the token. Trying again soon could lock the account."""
