"""Who may use one of a few places next. Every pool of connections has its turns.

The pool's own queue would do, but for two things. Those who wait in it stay asleep when a connection fails or is cancelled. And
it knows nobody by name: here a name can be given a limit, so that one tenant never takes all places.
"""

import asyncio
from collections import Counter


class Turns:
    """`places` at once, and of these `each` at most for one name. Who has fewest goes first, then who came first."""

    def __init__(self, places: int, *, each: int | None = None) -> None:
        self._free = places
        self._each = each or places
        self._running: Counter[str] = Counter()
        self._waiting: dict[asyncio.Future[None], str] = {}

    def has_all(self, name: str) -> bool:
        """Whether this name has as many places as one may have."""
        return self._running[name] >= self._each

    async def take(self, name: str, *, seconds: float) -> None:
        """Wait for a place; the caller must `release` it.

        Raises: TimeoutError when none is free within `seconds`.
        """
        # Whoever waits while a place is free has all that one may have, so that nobody is passed by.
        if self._free and not self.has_all(name):
            self._give(name)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = name
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException:
            if self._waiting.pop(turn, None) is None:  # it was given in the same moment
                self.release(name)
            raise

    def release(self, name: str) -> None:
        """Give a place back, and pass it on."""
        self._free += 1
        self._running[name] -= 1
        if not self._running[name]:
            del self._running[name]
        while self._free and (turn := self._next()) is not None:
            self._give(self._waiting.pop(turn))
            turn.set_result(None)

    def _give(self, name: str) -> None:
        self._free -= 1
        self._running[name] += 1

    def _next(self) -> asyncio.Future[None] | None:
        """Who comes next; a wait that was cancelled in this moment is passed over."""
        able = (turn for turn, name in self._waiting.items() if not turn.done() and not self.has_all(name))
        return min(able, key=lambda turn: self._running[self._waiting[turn]], default=None)
