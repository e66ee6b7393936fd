"""What a session is built from: the options of its listener, and the services that all sessions share."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from mailbridge.submission.acceptance import Acceptance
from mailbridge.submission.active_sessions import ActiveSessions
from mailbridge.submission.admission import Admission
from mailbridge.submission.connection_limits import ConnectionLimits
from mailbridge.submission.daily_limits import DailyLimits
from mailbridge.submission.limits import DataLimits
from mailbridge.submission.log_lines import LogLines
from mailbridge.submission.login import Authenticator
from mailbridge.submission.trusted_networks import TrustedNetworks
from mailbridge.submission.turns import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """Options of every session. `starttls` is None where STARTTLS is not offered."""

    hostname: str
    data: DataLimits
    max_recipients: int
    auth_offered: bool
    auth_required: bool
    starttls: ssl.SSLContext | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionServices:
    """What all sessions of a server share."""

    daily_limits: DailyLimits
    admission: Admission
    acceptance: Acceptance
    authenticator: Authenticator
    networks: TrustedNetworks
    connections: ConnectionLimits
    active: ActiveSessions
    turns: Turns
    log_lines: LogLines
