"""Who may use one of a few places next. Every pool of connections has its turns.

The pool's own queue would do, but for two things. Those who wait in it stay asleep when a connection fails or is cancelled. And
it knows nobody by name: here a name can be given a limit, and one who asks for much lets others go before. A place that was used
can rest for its name, while others may have it: so one name has a bounded share of the machine, not of the places alone.
"""

import asyncio
from collections import Counter, deque


class Permits:
    """`places` at once, and of these `each` at most for one name.

    The name that has fewest goes first, then the one that was served longest ago. Within a name, who came first.
    """

    def __init__(self, places: int, *, each: int | None = None) -> None:
        self._free = places
        self._each = each or places
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._given = 0
        self._last_given: dict[str, int] = {}  # of the names that have a place or wait for one

    def has_all(self, name: str) -> bool:
        """Whether this name has as many places as one may have."""
        return self._running[name] >= self._each

    async def take(self, name: str, *, seconds: float) -> None:
        """Wait for a place; the caller must `release` it.

        Raises: TimeoutError when none is free within `seconds`.
        """
        # A name that waits while a place is free has all that one may have, so that nobody is passed by.
        if self._free and not self.has_all(name):
            self._give(name)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(turn)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # it was given in the same moment
                self.release(name)
            else:
                self._leave(name, turn)
            raise

    def release(self, name: str, *, rest_seconds: float = 0.0) -> None:
        """Give a place back, and pass it on. For so long it still counts as this name's, whoever has it meanwhile."""
        self._free += 1
        if rest_seconds > 0:
            asyncio.get_running_loop().call_later(rest_seconds, self._end, name)
            self._pass_on()
        else:
            self._end(name)

    def _end(self, name: str) -> None:
        self._running[name] -= 1
        if not self._running[name]:
            del self._running[name]
        self._pass_on()
        if name not in self._running and name not in self._waiting:
            self._last_given.pop(name, None)

    def _pass_on(self) -> None:
        while self._free and (following := self._next()) is not None:
            turn = self._waiting[following][0]
            self._leave(following, turn)
            if not turn.done():  # else its wait was cancelled in this moment
                self._give(following)
                turn.set_result(None)

    def _next(self) -> str | None:
        """The name that comes next; None when nobody waits who may have a place."""
        able = (name for name in self._waiting if not self.has_all(name))
        return min(able, key=lambda name: (self._running[name], self._last_given.get(name, 0)), default=None)

    def _give(self, name: str) -> None:
        self._free -= 1
        self._running[name] += 1
        self._given += 1
        self._last_given[name] = self._given

    def _leave(self, name: str, turn: "asyncio.Future[None]") -> None:
        """Out of the queue; it is there no more when a release has passed it over."""
        queue = self._waiting.get(name, deque())
        if turn in queue:
            queue.remove(turn)
        if not queue:
            self._waiting.pop(name, None)
