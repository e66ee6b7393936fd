"""Sessions of people who have logged in. The browser has 256 random bits in a cookie, and the store their hash."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from mailbridge.console.console import Console
from mailbridge.console.identity import Identity
from mailbridge.console.visit import read_cookie
from mailbridge.model import new_id
from mailbridge.store.console_interface import ConsoleSession
from mailbridge.store.interface import Transaction

LIFETIME: Final = timedelta(hours=12)
_PATH: Final = "/"  # as the prefix __Host- demands
_TOKEN_SIZE: Final = 32  # bytes
_MOST_OF_A_USER: Final = 20
_AGENT_SIZE: Final = 200  # characters


def cookie_name(console: Console) -> str:
    """Return the cookie's name. Behind HTTPS its prefix lets the browser take it from this host over HTTPS alone."""
    return "__Host-mailbridge" if console.config.http.is_secure else "mailbridge"


async def start(console: Console, request: Request, user: str, client: str) -> str:
    """Start a session for a user whose password was checked; return its token. It never continues an earlier one."""
    token, now = secrets.token_urlsafe(_TOKEN_SIZE), console.runtime.clock()
    agent = request.headers.get("user-agent", "")[:_AGENT_SIZE]
    session = ConsoleSession(
        hash=_hash(token),
        id=new_id("ses"),
        user=user,
        password=console.password_digest(user) or "",
        created_at=now,
        expires_at=now + LIFETIME,
        client=client,
        agent=agent,
    )

    def store(tx: Transaction) -> None:
        tx.console_sessions.add(session, _MOST_OF_A_USER)
        tx.audit.note("login", user, None, {"client": client, "session": session.id}, now)

    await console.runtime.store.run(store)
    console.sessions.forget(user)  # too many end the oldest
    return token


async def find(console: Console, request: Request) -> Identity | None:
    """Return who has the session of a request's cookie, or None. A user who was removed, or has another password, has none."""
    token = read_cookie(request, cookie_name(console))
    if not token:
        return None
    now, hash = console.runtime.clock(), _hash(token)
    session = console.sessions.get(hash, now)
    if session is None:
        session, shared = await console.runtime.store.run(lambda tx: (tx.console_sessions.get(hash, now), tx.shared))
        if session is not None:
            console.sessions.put(session, now, shared=shared)
    if session is None or console.password_digest(session.user) != session.password:
        return None
    return console.identity(session.user, session.id)


async def end(console: Console, id: str, by: Identity, client: str) -> bool:
    """End a session, of anybody if an operator does it; return whether there was one."""
    now = console.runtime.clock()

    def work(tx: Transaction) -> ConsoleSession | None:
        ended = tx.console_sessions.end(id, None if by.role == "operator" else by.name)
        if ended is not None:
            tx.audit.note("logout", ended.user, None, {"user": by.name, "client": client, "session": id}, now)
        return ended

    ended = await console.runtime.store.run(work)
    if ended is not None:
        console.sessions.forget(ended.user)
    return ended is not None


def set_cookie(console: Console, response: Response, token: str) -> None:
    """Give the browser the token of a session."""
    secure = console.config.http.is_secure
    response.set_cookie(
        cookie_name(console),
        token,
        max_age=int(LIFETIME.total_seconds()),
        path=_PATH,
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def delete_cookie(console: Console, response: Response) -> None:
    """Let the browser forget the token."""
    secure = console.config.http.is_secure
    response.delete_cookie(cookie_name(console), path=_PATH, secure=secure, httponly=True, samesite="strict")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
