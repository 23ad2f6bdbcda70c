"""Finds the source that a provider calls, with a cache of sources and of ids without one.

It follows the rules of the cache of API keys (`api.auth.api_keys`): what was read is trusted for
`TRUST_SECONDS`, a source in use is read again in the background, and ids that are not known here
are looked up one at a time. So a flood of made-up ids costs one connection at most.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

from domain.errors import Unavailable
from domain.ids import ProjectId, SourceId
from domain.sources.source import Source, is_source_id
from store.crypto.encryption import SealBroken, Sealer
from store.db.database import Database
from store.sources.sources import find_hook, open_secret

TRUST_SECONDS = 5.0
REFRESH_SECONDS = 2.5
MAXIMUM_CACHED = 2_000
MAXIMUM_WAITING_LOOKUPS = 200


@dataclass(frozen=True, slots=True)
class CalledSource:
    """A webhook source with its signing secret.

    It is empty until somebody saves it, and None when no root secret opens it.
    """

    source: Source
    is_suspended: bool
    secret: str | None = field(repr=False)


FindSource = Callable[[str], Awaitable[CalledSource | None]]


@dataclass(slots=True)
class _Known:
    """A cached look-up. `asked_at` is its start on the monotonic clock."""

    found: CalledSource | None
    asked_at: float
    is_being_refreshed: bool = False


class KnownSources:
    """The sources that this process was called for, and the ids that are none."""

    def __init__(self, *, find: FindSource, clock: Callable[[], float]) -> None:
        self._find, self._clock = find, clock
        self._known: dict[str, _Known] = {}
        self._lookups: dict[str, asyncio.Task[CalledSource | None]] = {}
        self._unknown_id_lookups = asyncio.Semaphore(1)
        self._waiting_lookups = 0
        self._changes = 0

    async def called(self, source_id: str) -> CalledSource | None:
        """The source; None for an id of no webhook source.

        Raises: Unavailable when the store does not answer, or too many unknown ids wait.
        """
        if not is_source_id(source_id):
            return None
        known = self._known.get(source_id)
        age_seconds = TRUST_SECONDS if known is None else self._clock() - known.asked_at
        if known is None or age_seconds >= TRUST_SECONDS:
            # Shielded: a cancelled request must not cancel the look-up of the others.
            return await asyncio.shield(self._look_up(source_id))
        is_due = known.found is not None and age_seconds > REFRESH_SECONDS
        if is_due and not known.is_being_refreshed:
            known.is_being_refreshed = True
            self._look_up(source_id).add_done_callback(_ignore_failure)
        return known.found

    async def called_afresh(self, source_id: str) -> CalledSource | None:
        """The source by a look-up that begins after this call: what is dropped is lost.

        One look-up serves all who wait. Raises: Unavailable when the store does not answer.
        """
        if (running := self._lookups.get(source_id)) is not None:
            await asyncio.wait([running])
        return await asyncio.shield(self._look_up(source_id))

    def forget_project(self, project_id: ProjectId) -> None:
        """Expire the project's sources, after this process changed the project."""
        self._expire(lambda found: found.source.project_id == project_id)

    def forget(self, source_id: SourceId) -> None:
        """Expire the source, after this process added, changed or removed it."""
        self._expire(lambda found: found.source.id == source_id)

    def _expire(self, is_changed: Callable[[CalledSource], bool]) -> None:
        """A look-up that runs meanwhile is not trusted: it may have read what was before."""
        self._changes += 1
        expired_at = self._clock() - TRUST_SECONDS
        for known in self._known.values():
            if known.found is None or is_changed(known.found):
                known.asked_at = min(known.asked_at, expired_at)

    def _look_up(self, source_id: str) -> "asyncio.Task[CalledSource | None]":
        """Start a look-up, or join the running one. Raises: Unavailable."""
        lookup = self._lookups.get(source_id)
        if lookup is None:
            known = self._known.get(source_id)
            is_unknown = known is None or known.found is None
            if is_unknown and self._waiting_lookups >= MAXIMUM_WAITING_LOOKUPS:
                raise Unavailable(retry_after_seconds=1)
            self._waiting_lookups += is_unknown
            lookup = asyncio.create_task(self._look_up_in_turn(source_id, is_unknown=is_unknown))
            self._lookups[source_id] = lookup
        return lookup

    async def _look_up_in_turn(self, source_id: str, *, is_unknown: bool) -> CalledSource | None:
        try:
            async with self._unknown_id_lookups if is_unknown else nullcontext():
                asked_at, changes = self._clock(), self._changes
                found = await self._find(source_id)
        finally:
            self._waiting_lookups -= is_unknown
            del self._lookups[source_id]
            if (known := self._known.get(source_id)) is not None:
                known.is_being_refreshed = False
        if changes != self._changes:
            asked_at -= TRUST_SECONDS
        if source_id not in self._known and len(self._known) >= MAXIMUM_CACHED:
            self._make_room()
        self._known[source_id] = _Known(found, asked_at)
        return found

    def _make_room(self) -> None:
        """Drop ids without a source first: anybody can call any number of them.

        If that is not enough, drop the half that was looked up longest ago.
        """
        self._known = {name: known for name, known in self._known.items() if known.found}
        if len(self._known) >= MAXIMUM_CACHED:
            by_age = sorted(self._known.items(), key=lambda item: item[1].asked_at)
            self._known = dict(by_age[len(by_age) // 2 :])


def source_finder(database: Database, sealer: Sealer) -> FindSource:
    """A function that finds the webhook source with this id, in this store."""

    async def find(source_id: str) -> CalledSource | None:
        async with database.reading("hooks") as session:
            hook = await find_hook(session, source_id)
        if hook is None:
            return None
        try:
            secret = open_secret(sealer, hook)
        except SealBroken:
            secret = None
        return CalledSource(hook.source, hook.is_suspended, secret)

    return find


def _ignore_failure(lookup: "asyncio.Task[CalledSource | None]") -> None:
    """Ignore a failed refresh: the next delivery tries again while the source is trusted."""
    if not lookup.cancelled():
        lookup.exception()
