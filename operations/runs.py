"""The operations on workflow runs: find the stuck ones and restart them.

A run is stuck when its workflow cannot continue. See `store.receipts.reconcile.stuck_runs`.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.ids import EventId, ProjectId
from domain.temporal.runs import StuckRun
from operations.audit_writer import AuditWriter
from operations.events import load_event
from operations.lists import MAXIMUM_LIMIT
from operations.validation import known_id
from store.db.database import Database
from store.receipts.queries import EventRow
from store.receipts.reconcile import stuck_runs


class RunOperations:
    """Workflow runs of an opened store's receipts."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        self._database, self._audit = database, audit

    async def restart(self, project_id: str | None, event_id: str, *, actor: Actor) -> EventRow:
        """Request that the receipt's run is terminated and started again.

        Nothing changes when a restart is already requested. Raises: NotFound.
        """
        async with self._database.transaction() as session:
            event = await load_event(session, project_id, event_id)
            found = await stuck_runs.stuck_run(session, event.receipt.event_id)
            await self._request_restart(
                session, event.receipt.event_id, event.receipt.project_id, found, actor
            )
        return event

    async def restart_stuck(self, *, after: str | None, actor: Actor) -> list[str]:
        """Request a restart of the next stuck runs of all projects, at most 100.

        Returns their event ids. `after` is the last id of the batch before, None for the first.
        """
        async with self._database.transaction() as session:
            after_id = None if after is None else EventId(after)
            found = await stuck_runs.stuck_runs(session, after=after_id, limit=MAXIMUM_LIMIT)
            for run in found:
                await self._request_restart(session, run.event_id, run.project_id, run, actor)
        return [run.event_id for run in found]

    async def count_stuck(self) -> int:
        """The number of receipts of all projects whose run is stuck."""
        async with self._database.reading() as session:
            return await stuck_runs.count_stuck(session)

    async def stuck_run(self, event_id: str) -> StuckRun | None:
        """The receipt's run when it is known to be stuck, else None."""
        async with self._database.reading() as session:
            return await stuck_runs.stuck_run(session, EventId(known_id(event_id)))

    async def _request_restart(
        self,
        session: AsyncSession,
        event_id: EventId,
        project_id: ProjectId,
        found: StuckRun | None,
        actor: Actor,
    ) -> None:
        now = await self._database.now(session)
        requested_by = actor.requested_by
        if not await stuck_runs.request_restart(session, event_id, now, requested_by=requested_by):
            return
        details = {} if found is None or found.cause is None else {"cause": str(found.cause)}
        await self._audit.record(
            session,
            actor,
            AuditAction.RUN_RESTARTED,
            Subject(SubjectType.RECEIPT, event_id),
            project_id=project_id,
            details=details,
        )
