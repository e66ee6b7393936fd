"""Several daemons on one PostgreSQL database, and what their tests ask that database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString

from tests.e2e.environment import Environment
from tests.loopback_ports import reserved_port


@asynccontextmanager
async def nodes(
    state: Path, count: int, *, myfax: bool = True, start: bool = True, each: list[dict[str, Any]] | None = None, **options: Any
) -> AsyncIterator[list[Environment]]:
    """Run MyFax and so many daemons on one database, which keep their ports. `each` has more options of each node."""
    own = each or [{}] * count
    async with AsyncExitStack() as stack:
        ports = [stack.enter_context(reserved_port()) for _ in range(count)]
        first = await stack.enter_async_context(Environment(state / "node1", smtp_port=ports[0], **{**options, **own[0]}))
        others = [first.another(state / f"node{n + 1}", smtp_port=ports[n], **own[n]) for n in range(1, count)]
        for other in others:
            await stack.enter_async_context(other)
        if myfax:
            await first.start_myfax()
        for node in (first, *others) if start else ():
            await node.start()
        yield [first, *others]


def name_of_uploader(node: Environment, fax: str) -> str | None:
    """Return the name of the node that uploads a fax."""
    found = node.ask_database("SELECT node.name FROM fax JOIN node ON node.id = fax.node WHERE fax.id = %s", fax)
    return str(found[0][0]) if found else None


def holder(node: Environment, lease: str) -> str | None:
    """Return the name of the node that has a lease, whose name begins so."""
    question: LiteralString = "SELECT node.name FROM lease JOIN node ON node.id = lease.node WHERE starts_with(lease.name, %s)"
    found = node.ask_database(question, lease)
    return str(found[0][0]) if found else None
