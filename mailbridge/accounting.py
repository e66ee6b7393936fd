"""Who pays for work: the seconds that it holds the event loop, or the store's thread, are charged to whoever caused it."""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextvars import ContextVar
from time import perf_counter
from typing import Any, Final, TypeVar

T = TypeVar("T")
A = TypeVar("A")


class Account:
    """Calls `charge` with seconds, in the event loop, until it is closed: what runs on after that is nobody's."""

    def __init__(self, charge: Callable[[float], None]) -> None:
        self._charge, self._loop = charge, asyncio.get_running_loop()
        self.is_open = True

    def charge(self, seconds: float) -> None:
        """Charge seconds of work."""
        if self.is_open:
            self._charge(seconds)

    def charge_from_thread(self, seconds: float) -> None:
        """Charge seconds of work that was done in another thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.charge, seconds)


# Tasks inherit the account of the one that began them.
_account: Final[ContextVar[Account | None]] = ContextVar("account", default=None)


@contextlib.contextmanager
def charging(charge: Callable[[float], None]) -> Iterator[None]:
    """Charge work that is begun inside by `charge`."""
    account = Account(charge)
    token = _account.set(account)
    try:
        yield
    finally:
        account.is_open = False
        _account.reset(token)


async def charged(work: Awaitable[T]) -> T:
    """Await `work`, and charge its steps in the event loop. Raises what `work` raises."""
    account = _account.get()
    return await work if account is None else await _timed(work.__await__(), account.charge)


def charged_call(work: Callable[[A], T]) -> Callable[[A], T]:
    """Return a function whose time is charged, for another thread to call."""
    account = _account.get()
    if account is None:
        return work

    def timed(argument: A) -> T:
        began = perf_counter()
        try:
            return work(argument)
        finally:
            account.charge_from_thread(perf_counter() - began)

    return timed


@types.coroutine
def _timed(steps: Generator[Any, Any, T], charge: Callable[[float], None]) -> Generator[Any, Any, T]:
    thrown: BaseException | None = None
    while True:
        began = perf_counter()
        try:
            awaited = steps.send(None) if thrown is None else steps.throw(thrown)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # a generator's StopIteration has its result
        finally:
            charge(perf_counter() - began)
        try:
            yield awaited
            thrown = None
        except BaseException as error:  # such as a cancellation, which the work must see
            thrown = error
