"""A fair semaphore with named holders. Every connection pool has one.

SQLAlchemy's own pool queue is not enough, for three reasons:

1. Its waiters are not woken when a connection fails or a task is cancelled.
2. It has no names. Here a name can have a limit, and a name with many requests goes last.
3. A released permit can cool down for its name while other names use it. So one name has a bounded
   share of the machine, not only of the permits.
"""

import asyncio
from collections import Counter, deque


class Permits:
    """`total` permits, at most `each` of them for one name.

    The name that holds the fewest permits goes first. Among equals, the name that was served
    longest ago goes first. Within a name, the order is first in, first out.
    """

    def __init__(self, total: int, *, each: int | None = None) -> None:
        self._free = total
        self._each = each or total
        self._counted: Counter[str] = Counter()  # permits in use or cooling down
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._grants = 0
        self._last_grant: dict[str, int] = {}  # of the names that hold or wait for a permit

    def has_all(self, name: str) -> bool:
        """Whether this name has reached its limit."""
        return self._counted[name] >= self._each

    async def acquire(self, name: str, *, seconds: float) -> None:
        """Wait for a permit. The caller must `release` it.

        Raises: TimeoutError when none is free within `seconds`.
        """
        # Every name that waits while a permit is free is at its limit, so this overtakes nobody.
        if self._free and not self.has_all(name):
            self._grant(name)
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except BaseException:
            # the permit was granted at the same moment
            if waiter.done() and not waiter.cancelled():
                self.release(name)
            else:
                self._dequeue(name, waiter)
            raise

    def release(self, name: str, *, cooldown_seconds: float = 0.0) -> None:
        """Give a permit back and grant it to the next waiter.

        During the cooldown it still counts against the limit of `name`, but other names may use it.
        """
        self._free += 1
        if cooldown_seconds > 0:
            asyncio.get_running_loop().call_later(cooldown_seconds, self._uncount, name)
            self._grant_free()
        else:
            self._uncount(name)

    def _uncount(self, name: str) -> None:
        self._counted[name] -= 1
        if not self._counted[name]:
            del self._counted[name]
        self._grant_free()
        if name not in self._counted and name not in self._waiting:
            self._last_grant.pop(name, None)

    def _grant_free(self) -> None:
        while self._free and (name := self._next_name()) is not None:
            waiter = self._waiting[name][0]
            self._dequeue(name, waiter)
            if not waiter.done():  # otherwise its wait was cancelled at this moment
                self._grant(name)
                waiter.set_result(None)

    def _next_name(self) -> str | None:
        """The name to serve next. None if no waiting name is below its limit."""
        eligible = (name for name in self._waiting if not self.has_all(name))
        return min(
            eligible,
            key=lambda name: (self._counted[name], self._last_grant.get(name, 0)),
            default=None,
        )

    def _grant(self, name: str) -> None:
        self._free -= 1
        self._counted[name] += 1
        self._grants += 1
        self._last_grant[name] = self._grants

    def _dequeue(self, name: str, waiter: "asyncio.Future[None]") -> None:
        """Remove a waiter from its queue, unless a release has removed it already."""
        queue = self._waiting.get(name, deque())
        if waiter in queue:
            queue.remove(waiter)
        if not queue:
            self._waiting.pop(name, None)
