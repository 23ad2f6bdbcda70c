"""What operators do, once: the functions that REST, console and command line share. They answer with REST's own JSON.

`project_id` None means every project: the console's and the command line's view; REST passes the caller's, so that another
project's things are simply not found. Each function is one short transaction; what the engine must hear is in the outbox when
it commits. Projects and keys are in `operations.projects`.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import Forbidden, NotFound
from domain.ids import EventId, IncidentId, ProjectId
from domain.runs import StuckRun
from domain.values.text import sanitize
from operations.inputs import JudgeRepairUrl
from operations.projects import ProjectOperations
from operations.serializers import event_view, full_event_view, incident_view, project_view, timeline_view
from operations.validation import Json, ResolveBody, check_texts, known_id, validated
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.projects import projects
from store.receipts import operator_actions as requests
from store.receipts import queries as reading
from store.receipts import repairs, stuck_runs
from store.receipts.timeline import read_timeline

DEFAULT_LIMIT = 20
MAXIMUM_LIMIT = 100
EVERYBODY = "*"  # callers of every project: console and command line


@dataclass(frozen=True, slots=True)
class ListFilters:
    """What a list is narrowed to; None for no filter. `state` may name several, separated by commas."""

    state: str | None = None
    provider: str | None = None
    event_type: str | None = None
    effect_type: str | None = None
    internal_reference: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    q: str | None = None


class Operations(ProjectOperations):
    """Everything that is not ingest, on an opened store."""

    def __init__(self, *, database: Database, sealer: Sealer, judge_repair_url: JudgeRepairUrl) -> None:
        super().__init__(database=database, sealer=sealer, judge_repair_url=judge_repair_url)

    async def find_project(self, name_or_id: str) -> Json:
        """The project that a person means, by its id or name. Raises: NotFound."""
        async with self._database.reading() as session:
            return project_view(await projects.find_project(session, sanitize(name_or_id)))

    async def list_events(
        self, project_id: str | None, filters: ListFilters, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Json:
        """A page of events, newest first. Raises: ValidationFailed for an ill-formed filter, or a cursor that is not ours."""
        async with self._database.searching(project_id or EVERYBODY) as session:
            page = await reading.list_events(session, _narrowed(project_id, filters), limit=limit, cursor=cursor)
        return _page([event_view(row.receipt, row.incident) for row in page.rows], page.next_cursor)

    async def list_incidents(
        self, project_id: str | None, filters: ListFilters, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Json:
        """A page of incidents, newest first. Raises: ValidationFailed for an ill-formed filter, or a cursor that is not ours."""
        async with self._database.searching(project_id or EVERYBODY) as session:
            page = await reading.list_incidents(session, _narrowed(project_id, filters), limit=limit, cursor=cursor)
        return _page([incident_view(row.incident) for row in page.rows], page.next_cursor)

    async def read_event(self, project_id: str | None, event_id: str) -> Json:
        """The event with its repairs and timeline. Raises: NotFound."""
        async with self._database.reading(project_id or EVERYBODY) as session:
            event = await reading.read_event(session, _project(project_id), EventId(known_id(event_id)))
        if event is None:
            raise NotFound("There is no such event.")
        return full_event_view(event.receipt, event.incident, event.repairs, event.timeline)

    async def read_timeline(
        self, project_id: str | None, event_id: str, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Json:
        """A page of the event's timeline, newest first. Raises: NotFound; ValidationFailed for a cursor that is not ours."""
        async with self._database.reading(project_id or EVERYBODY) as session:
            row = await reading.read_event_row(session, _project(project_id), EventId(known_id(event_id)))
            if row is None:
                raise NotFound("There is no such event.")
            page = await read_timeline(session, row.receipt, limit=limit, cursor=cursor)
        return _page([timeline_view(entry) for entry in reversed(page.entries)], page.next_cursor)

    async def read_incident(self, project_id: str | None, incident_id: str) -> Json:
        """The incident. Raises: NotFound."""
        async with self._database.reading(project_id or EVERYBODY) as session:
            return incident_view((await _incident(session, project_id, incident_id)).incident)

    async def reprocess(self, project_id: str | None, incident_id: str, *, actor: Actor) -> Json:
        """Begin a repair; while one runs, nothing new: its id is the answer.

        Raises: NotFound, IncidentAlreadyResolved, RepairUrlMissing.
        """
        async with self._database.transaction(project_id or EVERYBODY) as session:
            row = await _incident(session, project_id, incident_id)
            now = await self._database.now(session)
            statements = SessionStatements(session)
            begun = await repairs.request_repair(statements, row.incident.event_id, now, requested_by=actor.requested_by)
            details: Json = {"event_id": row.incident.event_id, "replay_id": begun.replay_id}
            details |= {} if begun.is_new else {"adopted": True}
            await self._record_incident(session, actor, AuditAction.REPROCESS_REQUESTED, row, details)
        return {"replay_id": begun.replay_id, "incident_id": incident_id}

    async def resolve(self, project_id: str | None, incident_id: str, reason: str, *, actor: Actor) -> Json:
        """Close the incident for a reason. Raises: NotFound, IncidentAlreadyResolved, ValidationFailed."""
        reason = validated(ResolveBody, {"reason": reason}).reason
        async with self._database.transaction(project_id or EVERYBODY) as session:
            row = await _incident(session, project_id, incident_id)
            now = await self._database.now(session)
            await requests.resolve_manually(
                SessionStatements(session), row.incident.id, now, reason=reason, requested_by=actor.requested_by
            )
            await self._record_incident(session, actor, AuditAction.INCIDENT_RESOLVED, row)
            return incident_view((await _incident(session, project_id, incident_id)).incident)

    async def acknowledge(self, project_id: str | None, incident_id: str, *, actor: Actor) -> Json:
        """Note that someone is looking at it. Raises: NotFound, IncidentAlreadyResolved."""
        async with self._database.transaction(project_id or EVERYBODY) as session:
            row = await _incident(session, project_id, incident_id)
            now = await self._database.now(session)
            await requests.acknowledge(SessionStatements(session), row.incident.id, now, requested_by=actor.requested_by)
            await self._record_incident(session, actor, AuditAction.INCIDENT_ACKNOWLEDGED, row)
            return incident_view((await _incident(session, project_id, incident_id)).incident)

    async def expire(self, project_id: str | None, event_id: str, *, actor: Actor) -> Json:
        """Make a test project's deadline now. Raises: NotFound, Forbidden in a live project, NotWaiting."""
        async with self._database.transaction(project_id or EVERYBODY) as session:
            found = await reading.read_event_row(session, _project(project_id), EventId(known_id(event_id)))
            if found is None:
                raise NotFound("There is no such event.")
            refuse_live(found.receipt.livemode)
            now = await self._database.now(session)
            await requests.expire(SessionStatements(session), found.receipt.event_id, now, requested_by=actor.requested_by)
            subject, of_project = Subject(SubjectType.RECEIPT, found.receipt.event_id), found.receipt.project_id
            await self._record(session, actor, AuditAction.RECEIPT_EXPIRED, subject, project_id=of_project)
            after = await reading.read_event_row(session, _project(project_id), EventId(known_id(event_id)))
        if after is None:
            raise NotFound("There is no such event.")
        return event_view(after.receipt, after.incident)

    async def restart(self, project_id: str | None, event_id: str, *, actor: Actor) -> Json:
        """Have the receipt's run ended and started again; one that is waiting to be restarted is left alone. Raises: NotFound."""
        async with self._database.transaction() as session:
            event = await reading.read_event_row(session, _project(project_id), EventId(known_id(event_id)))
            if event is None:
                raise NotFound("There is no such event.")
            found = await stuck_runs.stuck_run(session, event.receipt.event_id)
            await self._restart(session, event.receipt.event_id, event.receipt.project_id, found, actor)
        return event_view(event.receipt, event.incident)

    async def count_stuck(self) -> int:
        """How many receipts have a run that cannot go on, in all projects."""
        async with self._database.reading() as session:
            return await stuck_runs.count_stuck(session)

    async def restart_stuck(self, *, after: str | None, actor: Actor) -> list[str]:
        """Have the next runs restarted that cannot go on, at most 100, in all projects; the ids of their events."""
        async with self._database.transaction() as session:
            after_id = None if after is None else EventId(after)
            found = await stuck_runs.stuck_runs(session, after=after_id, limit=MAXIMUM_LIMIT)
            for run in found:
                await self._restart(session, run.event_id, run.project_id, run, actor)
        return [run.event_id for run in found]

    async def stuck_run(self, event_id: str) -> StuckRun | None:
        """What is known of the receipt's run when it cannot go on; None when it is not known to be stuck."""
        async with self._database.reading() as session:
            return await stuck_runs.stuck_run(session, EventId(known_id(event_id)))

    async def _restart(
        self, session: AsyncSession, event_id: EventId, project_id: ProjectId, found: StuckRun | None, actor: Actor
    ) -> None:
        now = await self._database.now(session)
        if not await stuck_runs.request_restart(session, event_id, now, requested_by=actor.requested_by):
            return
        details = {} if found is None or found.cause is None else {"cause": found.cause.value}
        subject = Subject(SubjectType.RECEIPT, event_id)
        await self._record(session, actor, AuditAction.RUN_RESTARTED, subject, project_id=project_id, details=details)

    async def counts(
        self, project_id: str | None, within: tuple[ProjectId, ...] | None = None, *, asked_by: str = EVERYBODY
    ) -> Json:
        """How many receipts wait and how many incidents are unresolved, for the console's navigation.

        `within` are the projects that the reader belongs to, None for all. Raises: Unavailable, RateLimited for `asked_by`.
        """
        async with self._database.searching(asked_by) as session:
            now = await self._database.now(session)
            counted = await reading.counts(session, _project(project_id), now, within=within)
        return {
            "waiting": counted.waiting,
            "open": counted.open,
            "repairing": counted.repairing,
            "repaired_this_week": counted.repaired_this_week,
        }

    async def _record_incident(
        self,
        session: AsyncSession,
        actor: Actor,
        action: AuditAction,
        row: reading.IncidentRow,
        details: Json | None = None,
    ) -> None:
        incident = row.incident
        subject, told = Subject(SubjectType.INCIDENT, incident.id), details or {"event_id": incident.event_id}
        await self._record(session, actor, action, subject, project_id=incident.project_id, details=told)


def refuse_live(livemode: bool) -> None:
    """Nothing for a test project. Raises: Forbidden."""
    if livemode:
        raise Forbidden("Only receipts of test projects can expire by request.")


async def _incident(session: AsyncSession, project_id: str | None, incident_id: str) -> reading.IncidentRow:
    row = await reading.read_incident(session, _project(project_id), IncidentId(known_id(incident_id)))
    if row is None:
        raise NotFound("There is no such incident.")
    return row


def _project(project_id: str | None) -> ProjectId | None:
    return None if project_id is None else ProjectId(known_id(project_id))


def _narrowed(project_id: str | None, filters: ListFilters) -> reading.ListFilters:
    check_texts(q=filters.q, internal_reference=filters.internal_reference)
    return reading.ListFilters(
        project_id=_project(project_id),
        states=tuple(part for part in (filters.state or "").split(",") if part),
        provider=filters.provider,
        event_type=filters.event_type,
        effect_type=filters.effect_type,
        internal_reference=filters.internal_reference,
        created_after=filters.created_after,
        created_before=filters.created_before,
        q=filters.q,
    )


def _page(rows: list[Json], next_cursor: str | None) -> Json:
    return {"data": rows, "has_more": next_cursor is not None, "next_cursor": next_cursor}
