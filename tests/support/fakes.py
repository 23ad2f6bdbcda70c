"""Wrappers of an ingest connection that count, pause or fail its commits.

Each does its work through the real connection, so that the store itself commits and rolls back.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from store.db.sql import Statements
from store.ingest.connection import IngestConnection, PostgresIngestConnection


class CountingConnection:
    """Counts commits. Each of `failures` is raised once, in place of one commit."""

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


class PausedConnection:
    """Does the work of a transaction, and commits only after `release` is set."""

    def __init__(self, real: IngestConnection) -> None:
        self.has_worked = asyncio.Event()
        self.release = asyncio.Event()
        self._real = real

    @asynccontextmanager
    async def transaction(self, *, short_lock_timeout: bool = False) -> AsyncIterator[Statements]:
        async with self._real.transaction(short_lock_timeout=short_lock_timeout) as statements:
            yield statements
            self.has_worked.set()
            await self.release.wait()

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[Statements | None]:
        if not isinstance(self._real, PostgresIngestConnection):
            yield None
            return
        # A transaction instead: the commit of a single statement cannot be paused.
        async with self.transaction() as statements:
            yield statements

    async def close(self) -> None:
        await self._real.close()
