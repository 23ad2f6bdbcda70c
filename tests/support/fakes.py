"""Stand-ins for what a test must hold in its hand: front doors that count, hold back or fail
commits around the real one.

Each does all its work through a real front door, so that what is stored and what is undone is the
store's own doing.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from store.db.sql import Statements
from store.ingest.connection import IngestConnection, PostgresIngestConnection


class WatchedFrontDoor:
    """Counts what committed; raises what `failures` holds, one each, so that what was to be
    committed is not.
    """

    def __init__(self, real: IngestConnection, *failures: Exception) -> None:
        self.commits = 0
        self._real = real
        self._failures = list(failures)

    @asynccontextmanager
    async def transaction(self, *, short_lock_timeout: bool = False) -> AsyncIterator[Statements]:
        async with self._real.transaction(short_lock_timeout=short_lock_timeout) as statements:
            yield statements
            if self._failures:
                raise self._failures.pop(0)
        self.commits += 1

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[Statements | None]:
        async with self._real.autocommit() as statements:
            if statements is not None and self._failures:
                raise self._failures.pop(0)
            yield statements
        self.commits += statements is not None

    async def close(self) -> None:
        await self._real.close()


class HeldFrontDoor:
    """Does the work of a transaction, and commits only after `let_go` is set."""

    def __init__(self, real: IngestConnection) -> None:
        self.has_worked = asyncio.Event()
        self.let_go = asyncio.Event()
        self._real = real

    @asynccontextmanager
    async def transaction(self, *, short_lock_timeout: bool = False) -> AsyncIterator[Statements]:
        async with self._real.transaction(short_lock_timeout=short_lock_timeout) as statements:
            yield statements
            self.has_worked.set()
            await self.let_go.wait()

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[Statements | None]:
        if not isinstance(self._real, PostgresIngestConnection):
            yield None
            return
        # A transaction in its place: a statement's own commit cannot be kept back.
        async with self.transaction() as statements:
            yield statements

    async def close(self) -> None:
        await self._real.close()
