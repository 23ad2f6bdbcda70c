"""The operations on incidents: list, read, reprocess, resolve, acknowledge, count."""

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import NotFound
from domain.ids import IncidentId, ProjectId
from operations.audit_writer import AuditWriter
from operations.lists import (
    ALL_PROJECTS,
    DEFAULT_LIMIT,
    ListFilters,
    page_view,
    project_or_none,
    store_filters,
)
from operations.serializers import incident_view
from operations.validation import Json, ResolveBody, known_id, validated
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts import operator_actions, queries, repairs


class IncidentOperations:
    """Incidents of an opened store."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        self._database, self._audit = database, audit

    async def list_incidents(
        self,
        project_id: str | None,
        filters: ListFilters,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Json:
        """A page of incidents, newest first.

        Raises: ValidationFailed for an ill-formed filter, or a cursor that this service did not
            issue.
        """
        async with self._database.searching(project_id or ALL_PROJECTS) as session:
            narrowed = store_filters(project_id, filters)
            page = await queries.list_incidents(session, narrowed, limit=limit, cursor=cursor)
        return page_view([incident_view(row.incident) for row in page.rows], page.next_cursor)

    async def read_incident(self, project_id: str | None, incident_id: str) -> Json:
        """The incident. Raises: NotFound."""
        async with self._database.reading(project_id or ALL_PROJECTS) as session:
            return incident_view((await _load(session, project_id, incident_id)).incident)

    async def reprocess(self, project_id: str | None, incident_id: str, *, actor: Actor) -> Json:
        """Request a repair. While a repair runs, return its id and start nothing.

        Raises: NotFound, IncidentAlreadyResolved, RepairUrlMissing.
        """
        async with self._database.transaction(project_id or ALL_PROJECTS) as session:
            row = await _load(session, project_id, incident_id)
            event_id = row.incident.event_id
            now = await self._database.now(session)
            repair = await repairs.request_repair(
                SessionStatements(session), event_id, now, requested_by=actor.requested_by
            )
            details: Json = {"event_id": event_id, "replay_id": repair.replay_id}
            details |= {} if repair.is_new else {"adopted": True}
            await self._record(session, actor, AuditAction.REPROCESS_REQUESTED, row, details)
        return {"replay_id": repair.replay_id, "incident_id": incident_id}

    async def resolve(
        self, project_id: str | None, incident_id: str, reason: str, *, actor: Actor
    ) -> Json:
        """Resolve the incident manually, with a reason.

        Raises: NotFound, IncidentAlreadyResolved, ValidationFailed.
        """
        reason = validated(ResolveBody, {"reason": reason}).reason
        async with self._database.transaction(project_id or ALL_PROJECTS) as session:
            row = await _load(session, project_id, incident_id)
            await operator_actions.resolve_manually(
                SessionStatements(session),
                row.incident.id,
                await self._database.now(session),
                reason=reason,
                requested_by=actor.requested_by,
            )
            await self._record(session, actor, AuditAction.INCIDENT_RESOLVED, row)
            return incident_view((await _load(session, project_id, incident_id)).incident)

    async def acknowledge(self, project_id: str | None, incident_id: str, *, actor: Actor) -> Json:
        """Record that somebody is investigating. Raises: NotFound, IncidentAlreadyResolved."""
        async with self._database.transaction(project_id or ALL_PROJECTS) as session:
            row = await _load(session, project_id, incident_id)
            await operator_actions.acknowledge(
                SessionStatements(session),
                row.incident.id,
                await self._database.now(session),
                requested_by=actor.requested_by,
            )
            await self._record(session, actor, AuditAction.INCIDENT_ACKNOWLEDGED, row)
            return incident_view((await _load(session, project_id, incident_id)).incident)

    async def counts(
        self,
        project_id: str | None,
        within: tuple[ProjectId, ...] | None = None,
        *,
        asked_by: str = ALL_PROJECTS,
    ) -> Json:
        """The numbers of waiting receipts and unresolved incidents, for the console's navigation.

        `within` lists the projects that the user belongs to, None for all.

        Raises: Unavailable; RateLimited for `asked_by`.
        """
        async with self._database.searching(asked_by) as session:
            now = await self._database.now(session)
            counted = await queries.counts(session, project_or_none(project_id), now, within=within)
        return {
            "waiting": counted.waiting,
            "open": counted.open,
            "repairing": counted.repairing,
            "repaired_this_week": counted.repaired_this_week,
        }

    async def _record(
        self,
        session: AsyncSession,
        actor: Actor,
        action: AuditAction,
        row: queries.IncidentRow,
        details: Json | None = None,
    ) -> None:
        await self._audit.record(
            session,
            actor,
            action,
            Subject(SubjectType.INCIDENT, row.incident.id),
            project_id=row.incident.project_id,
            details=details or {"event_id": row.incident.event_id},
        )


async def _load(
    session: AsyncSession, project_id: str | None, incident_id: str
) -> queries.IncidentRow:
    row = await queries.read_incident(
        session, project_or_none(project_id), IncidentId(known_id(incident_id))
    )
    if row is None:
        raise NotFound("No incident with this id exists here. Check the id and the project.")
    return row
