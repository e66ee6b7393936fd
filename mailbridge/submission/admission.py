"""Admission: which senders, recipients and letters the configuration admits. Every refusal is an SMTP reply."""

from __future__ import annotations

from mailbridge.config import Config, User
from mailbridge.errors import Refused
from mailbridge.model import Fax, Recipient
from mailbridge.store.interface import Transaction
from mailbridge.submission import policy
from mailbridge.submission.address import find_numbers
from mailbridge.submission.daily_limits import DailyLimits
from mailbridge.submission.letter.letter import Letter
from mailbridge.submission.mail_transaction import MailTransaction


class Admission:
    """Checks each step of a mail transaction against the rules of the gateway and of its user. Every method raises Refused."""

    def __init__(self, config: Config, limits: DailyLimits) -> None:
        self._config, self._limits = config, limits

    def set_sender(self, transaction: MailTransaction, sender: str) -> None:
        """Check MAIL FROM and note it. The null sender passes here: clients expect its refusal at RCPT."""
        if sender:
            policy.check_sender(sender, self._senders(transaction.user))
        transaction.sender = sender

    def add_recipient(
        self, transaction: MailTransaction, address: str, notify: str | None = None, orcpt: str | None = None
    ) -> None:
        """Check one RCPT, a number or a contact, and add all its numbers to the transaction, or none."""
        policy.check_null_sender(transaction.sender or "")
        smtp = self._config.smtp
        numbers = find_numbers(address, smtp.domains, smtp.region, self._config.directory, possible=self._config.numbers.possible)
        for number in numbers:
            self._check_number(transaction.user, number)
        policy.check_recipients(len(transaction.recipients) + len(numbers), smtp.max_recipients)
        wanted = {recipient.number for recipient in transaction.recipients} | set(numbers)
        self._limits.check(transaction.user, len(wanted))
        transaction.recipients += [Recipient(number=number, address=address, notify=notify, orcpt=orcpt) for number in numbers]

    def check_again(self, tx: Transaction, fax: Fax) -> None:
        """Check whether a fax's user may send it once more, as if it came by mail now."""
        self._check_number(fax.user, fax.number)
        self._limits.check_stored(tx, fax.user, 1)

    def _check_number(self, user_name: str | None, number: str) -> None:
        user, rules = self._user(user_name), self._config.numbers
        policy.check_number(number, rules.allow if user is None or user.allow is None else user.allow, rules.deny)

    def admit(self, transaction: MailTransaction, letter: Letter) -> str:
        """Check a letter's headers; return the MyFax account that sends its faxes."""
        policy.check_loop(letter)
        # A From without an address, as cron writes it, names no author: then the envelope's sender counts.
        for author in letter.authors or (letter.sender or transaction.sender or "",):
            policy.check_sender(author, self._senders(transaction.user))
        account = self._account(transaction.user, letter.account)
        self._limits.check(transaction.user, len({recipient.number for recipient in transaction.recipients}))
        return account

    def _account(self, user_name: str | None, wanted: str | None) -> str:
        if wanted is not None and wanted not in self._config.accounts:
            raise Refused("554 5.6.0 Unknown account in X-Mailbridge-Account, or in send --account")
        allowed = self._config.accounts_of(user_name)
        if wanted is None or wanted in allowed:
            return wanted or allowed[0]
        raise Refused(f"554 5.7.1 You may not send faxes with the account {wanted}")

    def _user(self, name: str | None) -> User | None:
        return self._config.users.get(name) if name is not None else None

    def _senders(self, user_name: str | None) -> tuple[str, ...]:
        user = self._user(user_name)
        return user.senders if user else ()
