"""Builds the stage from the configuration: the relay, and the services that deliver."""

from __future__ import annotations

import base64
from typing import Literal
from zoneinfo import ZoneInfo

from mailbridge.config import Config
from mailbridge.config.mail_addresses import relay_address
from mailbridge.notice.admin_watch import AdminWatch
from mailbridge.notice.compose import Letterhead
from mailbridge.notice.dispatcher import NoticeDispatcher
from mailbridge.notice.folder import FolderDispatcher
from mailbridge.notice.planner import sender_of
from mailbridge.notice.relay import Relay
from mailbridge.notice.writer import Confirm, NoticeWriter, confirmation_of_fax
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Store


def letterhead(config: Config) -> Letterhead:
    """Return what all notices have in common."""
    return Letterhead(
        sender=sender_of(config),
        hostname=config.smtp.hostname,
        gateway=config.smtp.domains[0],
        language=config.language,
        zone=ZoneInfo(config.timezone),
        user_languages={name: user.language for name, user in config.users.items() if user.language is not None},
    )


def build_relay(config: Config) -> Relay | None:
    """Return the relay, None where none is set."""
    if config.notice.relay is None:
        return None
    return Relay(relay_address(config.notice.relay.get_secret_value()), config.smtp.hostname, config.notice.envelope)


def build_dispatcher(config: Config, runtime: Runtime, confirm: Confirm | None) -> NoticeDispatcher | None:
    """Return the service that mails notices, None without a relay."""
    relay, notice = build_relay(config), config.notice
    if relay is None:
        return None
    writer = NoticeWriter(
        letterhead(config), runtime.spool, runtime.clock, notice.return_limit, confirm if notice.confirmation else None
    )
    return NoticeDispatcher(relay, writer.write, notice.per_hour, runtime)


def build_admin_watch(config: Config, runtime: Runtime) -> AdminWatch | None:
    """Return the service that mails administrators, None without addresses or a relay."""
    relay = build_relay(config)
    if relay is None or not config.notice.admin:
        return None
    unstored: Literal["disk", "database"] = "disk" if config.store.url is None else "database"
    return AdminWatch(config.notice.admin, letterhead(config), relay, runtime, unstored)


def build_folders(config: Config, runtime: Runtime) -> FolderDispatcher | None:
    """Return the service that stores documents in folders, None where no route has one."""
    wanted = any(route.folder for route in config.routes.values())
    return FolderDispatcher(runtime, ZoneInfo(config.timezone)) if wanted else None


async def confirmation_of(fax_id: str, store: Store, config: Config, confirm: Confirm) -> str:
    """Return the confirmation of a sent fax: a PDF in base64. Raises NotFound, StoreUnavailable, Refused."""
    fax = await store.run(lambda tx: tx.faxes.get(fax_id))
    return base64.b64encode(await confirmation_of_fax(fax, letterhead(config), confirm)).decode()
