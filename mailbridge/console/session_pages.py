"""The page of sessions: where users are logged in, and the form that ends one."""

from __future__ import annotations

from starlette.responses import Response

from mailbridge.console import sessions
from mailbridge.console.visit import Visit


async def show_sessions(visit: Visit) -> Response:
    """List the user's own sessions; an operator sees those of all users."""
    user, now = None if visit.user.role == "operator" else visit.user.name, visit.now
    found = await visit.console.runtime.store.run(lambda tx: tx.console_sessions.of_user(user, now))
    return visit.page("sessions.html", sessions=found)


async def end_session(visit: Visit) -> Response:
    """End one session."""
    if not await sessions.end(visit.console, visit.path("id"), visit.user, visit.client):
        return visit.message("not_found", 404)
    return visit.redirect("/sessions", "session_ended")
