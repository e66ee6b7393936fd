"""`[incoming]`: polling of MyFax's list of received faxes and voicemails."""

from __future__ import annotations

from pydantic import Field

from mailbridge.config.section import Section
from mailbridge.config.values import Interval


class Incoming(Section):
    """How often the list is compared with the mailboxes."""

    every: Interval = Field(
        default=600.0,
        description=(
            'Polling interval, or "off". Voicemails are listed for every account; faxes for accounts that have a mailbox, or for '
            "all accounts if there is no mailbox. A listed fax is reported if its mail is still missing after two polls, a "
            "voicemail immediately. Items older than the first start are ignored."
        ),
    )
