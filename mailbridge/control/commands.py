"""The commands of the control socket, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from mailbridge.control import delivery_actions, delivery_queries, fax_actions, queries, token_commands
from mailbridge.control.server import Command
from mailbridge.model import Event
from mailbridge.store.interface import Store


def bind(store: Store, clock: Callable[[], datetime], render: Callable[[Event], bytes]) -> Mapping[str, Command]:
    """Return the commands that need only the store. The command line calls them itself if no daemon runs.

    `render` returns the body of an event as it is delivered.
    """
    reading = (
        *(queries.queue, queries.received, queries.show, queries.stored_documents),
        *(delivery_queries.deliveries, queries.usage, queries.held, queries.nodes),
    )
    changing = (
        fax_actions.cancel,
        fax_actions.retry,
        fax_actions.resolve,
        fax_actions.resolve_all,
        fax_actions.hold,
        fax_actions.resume,
        delivery_actions.replay,
        token_commands.claim_token,
        token_commands.keep_token,
        token_commands.release_token,
    )
    return {
        "events": partial(queries.events, store, render),
        **{command.__name__: partial(command, store) for command in reading},
        **{command.__name__: partial(command, store, clock) for command in changing},
    }
