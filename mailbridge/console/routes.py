"""Every address of the console, with the roles that may use it. Nothing else decides who may do what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Literal, NamedTuple

from starlette.responses import Response

from mailbridge.console import (
    csv_pages,
    downloads,
    fax_actions,
    fax_lists,
    fax_page,
    login,
    page_images,
    received_pages,
    send,
    sending_actions,
    session_pages,
    system_page,
    todo,
    webhook_pages,
)
from mailbridge.console.identity import Role
from mailbridge.console.visit import Visit

Handler = Callable[[Visit], Awaitable[Response]]
# None: also without a login.
ANYBODY: Final = None
USERS: Final[frozenset[Role]] = frozenset({"sender", "operator", "viewer"})
READERS: Final[frozenset[Role]] = frozenset({"operator", "viewer"})
SENDERS: Final[frozenset[Role]] = frozenset({"sender", "operator"})
OPERATORS: Final[frozenset[Role]] = frozenset({"operator"})


class Access(NamedTuple):
    """One address and method: what answers, and for whom."""

    method: Literal["GET", "POST"]
    path: str  # below /console
    handler: Handler
    roles: frozenset[Role] | None
    has_part: bool = False  # whether a part of it is asked for again and again, and shared by all who may see the same


ROUTES: Final = (
    Access("GET", "/", todo.show_todo, USERS, has_part=True),
    Access("GET", "/login", login.show_login, ANYBODY),
    Access("POST", "/login", login.log_in, ANYBODY),
    Access("POST", "/logout", login.log_out, USERS),
    Access("POST", "/language", login.choose_language, ANYBODY),
    *(Access("GET", f"/{one.name}", partial(fax_lists.show_list, one), USERS, has_part=True) for one in fax_lists.LISTS),
    *(Access("GET", f"/{one.name}/csv", partial(csv_pages.download_faxes, one), USERS) for one in fax_lists.LISTS),
    Access("GET", "/received/csv", csv_pages.download_received, READERS),
    Access("GET", "/faxes/{id}", fax_page.show_fax, USERS, has_part=True),
    Access("GET", "/faxes/{id}/cancel", fax_actions.ask_cancel, SENDERS),
    Access("POST", "/faxes/{id}/cancel", fax_actions.cancel, SENDERS),
    Access("GET", "/faxes/{id}/retry", fax_actions.ask_retry, SENDERS),
    Access("POST", "/faxes/{id}/retry", fax_actions.retry, SENDERS),
    Access("GET", "/faxes/{id}/resolve", fax_actions.ask_resolve, OPERATORS),
    Access("POST", "/faxes/{id}/resolve", fax_actions.resolve, OPERATORS),
    Access("GET", "/faxes/{id}/documents/{n}", downloads.download_document, USERS),
    Access("GET", "/faxes/{id}/documents/{n}/pages/{page}", page_images.show_page, USERS),
    Access("GET", "/faxes/{id}/documents/{n}/pages/{page}/view", page_images.show_page_view, USERS),
    Access("GET", "/received/{id}/documents/{n}/pages/{page}/view", page_images.show_page_view, READERS),
    Access("GET", "/received/{id}/documents/{n}/pages/{page}", page_images.show_page, READERS),
    Access("GET", "/faxes/{id}/confirmation", downloads.download_confirmation, USERS),
    Access("GET", "/received", received_pages.show_received, READERS, has_part=True),
    Access("GET", "/received/{id}", received_pages.show_received_fax, READERS),
    Access("POST", "/received/{id}/note", received_pages.save_note, OPERATORS),
    Access("GET", "/received/{id}/documents/{n}", downloads.download_document, READERS),
    Access("GET", "/webhooks", webhook_pages.show_webhooks, READERS, has_part=True),
    Access("GET", "/webhooks/{name}", webhook_pages.show_webhook, READERS, has_part=True),
    Access("POST", "/webhooks/{name}/test", webhook_pages.send_test, OPERATORS),
    Access("POST", "/webhooks/{name}/replay", webhook_pages.replay_all, OPERATORS),
    Access("GET", "/deliveries/{id}", webhook_pages.show_delivery, READERS),
    Access("POST", "/deliveries/{id}/replay", webhook_pages.replay_one, OPERATORS),
    Access("GET", "/system", system_page.show_system, READERS, has_part=True),
    Access("GET", "/system/hold", partial(sending_actions.ask, "hold"), OPERATORS),
    Access("POST", "/system/hold", partial(sending_actions.act, "hold"), OPERATORS),
    Access("GET", "/system/resume", partial(sending_actions.ask, "resume"), OPERATORS),
    Access("POST", "/system/resume", partial(sending_actions.act, "resume"), OPERATORS),
    Access("GET", "/sessions", session_pages.show_sessions, USERS),
    Access("POST", "/sessions/{id}/end", session_pages.end_session, USERS),
    Access("GET", "/send", send.show_form, SENDERS),
    Access("POST", "/send", send.compose, SENDERS),
    Access("GET", "/send/{key}", send.show_draft, SENDERS),
    Access("POST", "/send/{key}", send.send_draft, SENDERS),
    Access("POST", "/send/{key}/discard", send.discard_draft, SENDERS),
    Access("GET", "/send/{key}/documents/{n}/pages/{page}", send.show_draft_page, SENDERS),
    Access("GET", "/send/{key}/documents/{n}/pages/{page}/view", send.show_draft_page_view, SENDERS),
)
