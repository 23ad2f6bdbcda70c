"""Records in the background that a source's deliveries fail, and that they are right again.

No response waits for it, and one that is lost is made up for by the next delivery. Anybody who
knows the address of a hook can send forged deliveries. So a single bad signature is no problem of
the source, a run of them is written at most once a minute, and one good signature ends the run.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError

from domain.errors import Unavailable
from domain.ids import SourceId
from domain.sources.source import Source, SourceProblem
from store.db.database import Database
from store.sources.health import record_good_delivery, record_problem, record_unreadable

# So many in a row, without a good one in between, are a wrong secret and no stray call.
RUN_OF_BAD_SIGNATURES = 3
# While good deliveries come, the secret is right, and the bad ones are somebody else's.
QUIET_AFTER_GOOD_SECONDS = 60.0
RECORD_SECONDS = 60.0
# The cached source shows a problem for a while after it was cleared.
CLEAR_AGAIN_SECONDS = 10.0
MAXIMUM_WATCHED = 2_000

log = structlog.get_logger(__name__)

# Records the source's problem with its detail, or that there is none any more.
RecordHealth = Callable[[Source, SourceProblem | None, str], Awaitable[None]]


@dataclass(slots=True)
class _Watched:
    """What this process knows of one source. Instants are on the monotonic clock."""

    bad_signatures: int = 0  # since the last good one
    good_at: float | None = None
    recorded_at: float | None = None
    unreadable_at: float | None = None  # when one was last recorded
    cleared_at: float | None = None
    is_recorded: bool = False


class HookHealth:
    """The sources that this process was called for. Above `MAXIMUM_WATCHED`, some are dropped."""

    def __init__(self, *, record: RecordHealth, clock: Callable[[], float]) -> None:
        self._record, self._clock = record, clock
        self._watched: dict[SourceId, _Watched] = {}
        self._recording: dict[SourceId, asyncio.Task[None]] = {}
        self._waiting: dict[SourceId, tuple[Source, str]] = {}  # unreadable, during a recording

    def bad_signature(self, source: Source, detail: str) -> None:
        """Count a bad signature. A run of them is a problem of the source."""
        watched = self._watch(source.id)
        watched.bad_signatures += 1
        is_run = watched.bad_signatures >= RUN_OF_BAD_SIGNATURES
        if is_run and not self._is_within(watched.good_at, QUIET_AFTER_GOOD_SECONDS):
            self.failed(source, SourceProblem.BAD_SIGNATURE, detail)

    def failed(self, source: Source, problem: SourceProblem, detail: str) -> None:
        """Record a problem, at most once a minute. It quotes nothing that was sent."""
        watched = self._watch(source.id)
        if self._is_within(watched.recorded_at, RECORD_SECONDS):
            return
        if self._start(source, problem, detail):
            watched.recorded_at, watched.is_recorded = self._clock(), True

    def unreadable(self, source: Source, detail: str) -> None:
        """Record that a genuine delivery is no event, at most once a minute.

        It waits for a recording that runs, so that a single such delivery is not forgotten.
        """
        watched = self._watch(source.id)
        if self._is_within(watched.unreadable_at, RECORD_SECONDS):
            return
        if self._start(source, SourceProblem.BAD_ANSWER, detail):
            watched.unreadable_at, watched.is_recorded = self._clock(), True
        else:
            self._waiting[source.id] = (source, detail)

    def good(self, source: Source) -> None:
        """End the run. A problem that is stored is cleared, also one of another process.

        That some deliveries cannot be read lasts for longer: `store.sources.health` decides.
        """
        watched = self._watch(source.id)
        watched.bad_signatures, watched.good_at = 0, self._clock()
        was_cleared = self._is_within(watched.cleared_at, CLEAR_AGAIN_SECONDS)
        is_due = watched.is_recorded or (source.problem is not None and not was_cleared)
        # While another recording runs, the next delivery does it.
        if is_due and self._start(source, None, ""):
            watched.cleared_at, watched.is_recorded = self._clock(), False
            watched.recorded_at = None

    async def stop(self) -> None:
        """Wait for what is being recorded."""
        while self._recording:
            await asyncio.gather(*self._recording.values())

    def _watch(self, source_id: SourceId) -> _Watched:
        watched = self._watched.get(source_id)
        if watched is None:
            if len(self._watched) >= MAXIMUM_WATCHED:
                del self._watched[next(iter(self._watched))]
            watched = self._watched[source_id] = _Watched()
        return watched

    def _is_within(self, at: float | None, seconds: float) -> bool:
        return at is not None and self._clock() - at < seconds

    def _start(self, source: Source, problem: SourceProblem | None, detail: str) -> bool:
        """Start to record, unless a recording about this source runs."""
        if source.id in self._recording:
            return False
        task = asyncio.create_task(self._try_to_record(source, problem, detail))
        self._recording[source.id] = task
        return True

    async def _try_to_record(
        self, source: Source, problem: SourceProblem | None, detail: str
    ) -> None:
        try:
            await self._record(source, problem, detail)
        except (Unavailable, SQLAlchemyError) as error:
            log.warning("source_health_not_recorded", error=type(error).__name__)
            if problem is SourceProblem.BAD_ANSWER:
                self._watch(source.id).unreadable_at = None
        finally:
            del self._recording[source.id]
            if (waiting := self._waiting.pop(source.id, None)) is not None:
                self.unreadable(*waiting)


def health_recorder(database: Database) -> RecordHealth:
    """A function that records the health of sources in this store."""

    async def record(source: Source, problem: SourceProblem | None, detail: str) -> None:
        async with database.transaction(source.project_id) as session:
            now = await database.now(session)
            match problem:
                case None:
                    await record_good_delivery(session, source.id, now)
                case SourceProblem.BAD_ANSWER:
                    await record_unreadable(session, source.id, detail, now)
                case _:
                    await record_problem(session, source.id, problem, detail, now)

    return record
