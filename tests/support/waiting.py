"""Waits for a condition with a deadline, instead of sleeping for a time.

Each function returns the first true value of the predicate. After the deadline the test fails and
names what it waited for. A predicate that raises ends the wait.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

POLL_SECONDS = 0.02

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], *, seconds: float = 10.0, what: str = "") -> T:
    """The first true value of the predicate, called again until `seconds` are over."""
    deadline = time.monotonic() + seconds
    while True:
        if value := predicate():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(_failure(what, predicate, seconds))
        time.sleep(POLL_SECONDS)


async def wait_until_async(
    predicate: Callable[[], Awaitable[T]] | Callable[[], T],
    *,
    seconds: float = 10.0,
    what: str = "",
) -> T:
    """The same on the event loop, with a predicate that may be a coroutine function."""
    deadline = time.monotonic() + seconds
    while True:
        answer = predicate()
        value: T = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(_failure(what, predicate, seconds))
        await asyncio.sleep(POLL_SECONDS)


def _failure(what: str, predicate: Callable[[], object], seconds: float) -> str:
    named = what or getattr(predicate, "__qualname__", repr(predicate))
    return f"not within {seconds:g} s: {named}"
