"""The error tree.

MailbridgeError
├── ConfigError          the configuration is wrong: names the key, the fault and the remedy (exit 78)
├── StateLocked          another daemon works on the same state_dir (exit 78)
├── SchemaTooNew         the database was written by a newer mailbridge (exit 78)
├── NotFound             no fax, event or delivery has this id
├── IllegalTransition    the lifecycle has no such transition from the present state
├── Refused              a mail that cannot be taken, with its SMTP reply (permanent)
├── StoreUnavailable     the disk or the database cannot take it now (transient)
│   └── Undecided        a commit failed at its last step: after a crash it may turn out to have happened
├── ControlError         the daemon does not answer, or said no
├── MyFaxError           a call to MyFax that gave no answer to use
│   ├── NotTaken         provably not taken; safe to try again
│   ├── NeedsPerson      provably not taken; trying again will not help
│   │   └── InvalidArgument  not even sent: a parameter is not as MyFax documents it
│   ├── Rejected         MyFax answered with a RESPONSE_CODE below 0
│   └── InDoubt          the request left whole and its outcome is unknown
└── MailboxError         the IMAP mailbox cannot be watched now
"""

from __future__ import annotations


class MailbridgeError(Exception):
    """The root of every error that mailbridge raises on purpose."""


class ConfigError(MailbridgeError):
    """A configuration that cannot be used.

    `key` is the dotted path of the key, `fault` says what is wrong with it and `remedy` what to write instead. `others` are the
    file's other mistakes.
    """

    def __init__(self, key: str, fault: str, remedy: str) -> None:
        self.key, self.fault, self.remedy = key, fault, remedy
        self.others: tuple[ConfigError, ...] = ()
        super().__init__(f"{key}: {fault}; {remedy}")


class StateLocked(MailbridgeError):
    """Another daemon holds the lock of this state_dir."""


class SchemaTooNew(MailbridgeError):
    """The database has a schema that this version does not know."""


class NotFound(MailbridgeError):
    """No object has this id."""


class IllegalTransition(MailbridgeError):
    """The lifecycle has no transition by this trigger from this state."""

    def __init__(self, state: str, trigger: str) -> None:
        self.state, self.trigger = state, trigger
        super().__init__(f"no transition {trigger!r} from state {state!r}")


class Refused(MailbridgeError):
    """A mail or recipient refused in the SMTP dialogue (RFC 5321 section 4.2, RFC 3463).

    `reply` is the whole reply line: the code, the enhanced code, and one sentence for a person in an office.
    """

    def __init__(self, reply: str) -> None:
        self.reply = reply
        super().__init__(reply)


class StoreUnavailable(MailbridgeError):
    """The spool or the database cannot take anything at this moment; the client should try again later."""


class Undecided(StoreUnavailable):
    """A commit that failed when it was to be made durable: it has not happened, but after a crash it may have."""


class ControlError(MailbridgeError):
    """The daemon's control socket did not answer, or the daemon refused the command."""


class MyFaxError(MailbridgeError):
    """A call to MyFax without an answer that can be used."""


class NotTaken(MyFaxError):
    """MyFax provably did not take the request; it may be tried again (transient)."""


class NeedsPerson(MyFaxError):
    """MyFax provably did not take the request, and trying again will not help (permanent)."""


class InvalidArgument(NeedsPerson, ValueError):
    """An argument that MyFax does not take, found before anything was sent.

    `field` is the parameter's documented name, `fault` says what is wrong with it and never repeats its value.
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
    """The request left whole and nothing tells whether MyFax took it."""


class MailboxError(MailbridgeError):
    """The mailbox cannot be watched now: not reachable, login refused, or the server broke the protocol."""
