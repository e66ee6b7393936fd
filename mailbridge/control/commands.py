"""Every command of the control socket by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from mailbridge.control import actions, queries
from mailbridge.control.server import Command
from mailbridge.store.interface import Store


def bind(store: Store, clock: Callable[[], datetime]) -> Mapping[str, Command]:
    """Return the commands that a store alone can answer: in the daemon, or in a command itself when no daemon runs."""
    asking = (queries.queue, queries.show, queries.events, queries.deliveries)
    changing = (actions.cancel, actions.retry, actions.resolve, actions.replay)
    return {
        **{command.__name__: partial(command, store) for command in asking},
        **{command.__name__: partial(command, store, clock) for command in changing},
    }
