"""Login and logout, and the choice of a language."""

from __future__ import annotations

from starlette.responses import Response

from mailbridge.console import sessions
from mailbridge.console.security import is_local_path
from mailbridge.console.texts import LANGUAGES
from mailbridge.console.visit import LANGUAGE_COOKIE, ROOT, Visit, printable
from mailbridge.errors import Refused

_YEAR = 365 * 24 * 3600


async def show_login(visit: Visit) -> Response:
    """Show the form for name and password."""
    if visit.who is not None:
        return visit.redirect("/")
    return _form(visit, visit.query("next"))


async def log_in(visit: Visit) -> Response:
    """Check name and password, and begin a session. The check is that of SMTP: slower, the more of them have failed."""
    form = await visit.form()
    name, password, target = printable(form.get("name", "")).strip(), form.get("password", ""), form.get("next", "")
    try:
        await visit.console.services.log_in(name, password.encode(), visit.client, "console")
    except Refused as refused:
        error = "login.too_soon" if refused.reply.startswith("454") else "login.wrong"
        return _form(visit, target, name, error)
    await _end(visit)
    token = await sessions.start(visit.console, visit.request, name, visit.client)
    response = visit.redirect(target.removeprefix(ROOT) if is_local_path(target) else "/")
    sessions.set_cookie(visit.console, response, token)
    return response


def _form(visit: Visit, target: str, name: str = "", error: str | None = None) -> Response:
    values = {"next": target if is_local_path(target) else "", "name": name, "error": error and visit.texts.text(error)}
    return visit.page("login.html", 403 if error else 200, **values)


async def log_out(visit: Visit) -> Response:
    """End the session."""
    await _end(visit)
    response = visit.redirect("/login", "logged_out")
    sessions.delete_cookie(visit.console, response)
    return response


async def _end(visit: Visit) -> None:
    if visit.who is not None and visit.who.session_id is not None:
        await sessions.end(visit.console, visit.who.session_id, visit.who, visit.client)


async def choose_language(visit: Visit) -> Response:
    """Show the console in another language in this browser."""
    form = await visit.form()
    target = form.get("back", "")
    response = visit.redirect(target.removeprefix(ROOT) if is_local_path(target) else "/")
    if (language := form.get("language")) in LANGUAGES:
        secure = visit.console.config.http.is_secure
        response.set_cookie(LANGUAGE_COOKIE, str(language), _YEAR, path=ROOT, secure=secure, httponly=True, samesite="lax")
    return response
