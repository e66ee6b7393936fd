"""The first page: what a person has to do."""

from __future__ import annotations

from starlette.responses import Response

from mailbridge.console.visit import Visit


async def show_todo(visit: Visit) -> Response:
    """Show what waits for a person. A sender has nothing to do here, and gets the sent faxes."""
    return visit.page("todo.html")
