"""Options that make no sense are refused when they are made."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from mailbridge.config import Mailbox
from mailbridge.report.listing_recorder import ListingOptions
from mailbridge.report.watcher_options import WatcherOptions

ZONE = ZoneInfo("Asia/Jerusalem")


@pytest.mark.parametrize("change", [{"timeout": 0.0}, {"idle": -1.0}, {"max_mail": 0}])
def test_a_limit_of_a_watcher_must_be_above_zero(change: dict[str, Any]) -> None:
    mailbox = Mailbox(host="127.0.0.1", username="office", password=SecretStr("x"))
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be above zero"):
        WatcherOptions(name="office", mailbox=mailbox, account="office", zone=ZONE, **change)


def test_the_rounds_of_a_listing_must_have_time_between_them() -> None:
    with pytest.raises(ValueError, match="every must be above zero"):
        ListingOptions(account="office", kind="voice", every=0.0, zone=ZONE)


def test_only_a_fax_waits_for_its_mail() -> None:
    fax, voicemail = (ListingOptions(account="office", kind=kind, every=600.0, zone=ZONE) for kind in ("incoming", "voice"))
    assert fax.grace.total_seconds() == 1200
    assert not voicemail.grace
