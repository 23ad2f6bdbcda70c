"""The operations on incidents: list, read, reprocess, resolve, stop a repair,
count.

For the others see `operations.triage.actions`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import NotFound
from domain.ids import IncidentId, ProjectId, ReplayId
from domain.incidents import Incident
from operations.audit_writer import AuditWriter
from operations.lists import ALL_PROJECTS, DEFAULT_LIMIT, checked_filters, project_or_none
from operations.validation import ReasonText, known_id, validated
from store.db.database import Database
from store.db.paging import Page
from store.db.sql import SessionStatements
from store.receipts import operator_actions, queries, repairs
from store.receipts.queries import Counts, IncidentRow, ListFilters


class ReprocessBody(BaseModel):
    """Whether to repair although a later event, such as a refund, makes it doubtful."""

    model_config = ConfigDict(frozen=True, title="Reprocess")

    confirm: Annotated[bool, Field(strict=True)] = False


class ResolveBody(BaseModel):
    """The reason for resolving an incident manually."""

    model_config = ConfigDict(frozen=True, title="Resolve")

    reason: ReasonText


class IncidentOperations:
    """Incidents of an opened store."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        self._database, self._audit = database, audit

    async def list_incidents(
        self,
        filters: ListFilters,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        *,
        sort: str | None = None,
        asked_by: str | None = None,
    ) -> Page[IncidentRow]:
        """A page of incidents; newest first without `sort`.

        The searches of `asked_by` are limited; None: those of the filters' project. Raises:
        ValidationFailed for an ill-formed filter or search, or a cursor that this service did not
            issue for this order.
        """
        asked_by = asked_by or filters.project_id or ALL_PROJECTS
        async with self._database.searching(asked_by) as session:
            checked = await checked_filters(self._database, session, filters)
            return await queries.list_incidents(
                session, checked, limit=limit, cursor=cursor, sort=sort
            )

    async def with_now(self, filters: ListFilters) -> ListFilters:
        """The filters with the instant of the search, for several pages of one list."""
        async with self._database.reading() as session:
            return replace(filters, now=await self._database.now(session))

    async def read_incident(self, project_id: str | None, incident_id: str) -> Incident:
        """The incident. Raises: NotFound."""
        async with self._database.reading(project_id or ALL_PROJECTS) as session:
            return (await load_incident(session, project_id, incident_id)).incident

    async def reprocess(
        self, project_id: str | None, incident_id: str, *, actor: Actor, confirm: bool = False
    ) -> ReplayId:
        """Request a repair and return its id. While a repair runs, return its id instead.

        `confirm`: also one that a later event makes doubtful.

        Raises: NotFound, IncidentAlreadyResolved, RepairUrlMissing, Superseded.
        """
        async with self._database.transaction(project_id or ALL_PROJECTS) as session:
            row = await load_incident(session, project_id, incident_id)
            event_id = row.incident.event_id
            now = await self._database.now(session)
            repair = await repairs.request_repair(
                SessionStatements(session),
                event_id,
                now,
                requested_by=actor.requested_by,
                confirm=confirm,
            )
            details: dict[str, object] = {"event_id": event_id, "replay_id": repair.replay_id}
            if repair.is_new and row.incident.superseded_by is not None:
                details["superseded_by"] = row.incident.superseded_by
            adopted = {} if repair.is_new else {"adopted": True}
            action = AuditAction.REPROCESS_REQUESTED
            await record_action(self._audit, session, actor, action, row, details | adopted)
        return repair.replay_id

    async def resolve(
        self, project_id: str | None, incident_id: str, reason: str, *, actor: Actor
    ) -> Incident:
        """Resolve the incident manually, with a reason.

        Raises: NotFound, IncidentAlreadyResolved, ValidationFailed.
        """
        reason = validated(ResolveBody, {"reason": reason}).reason
        async with self._database.transaction(project_id or ALL_PROJECTS) as session:
            row = await load_incident(session, project_id, incident_id)
            await operator_actions.resolve_manually(
                SessionStatements(session),
                row.incident.id,
                await self._database.now(session),
                reason=reason,
                requested_by=actor.requested_by,
            )
            await record_action(self._audit, session, actor, AuditAction.INCIDENT_RESOLVED, row)
            return (await load_incident(session, project_id, incident_id)).incident

    async def stop_repair(
        self, project_id: str | None, incident_id: str, *, actor: Actor
    ) -> Incident:
        """Stop the active repair, so that the incident is open again.

        Raises: NotFound, IncidentAlreadyResolved.
        """
        async with self._database.transaction(project_id or ALL_PROJECTS) as session:
            row = await load_incident(session, project_id, incident_id)
            await operator_actions.stop_repair(
                SessionStatements(session),
                row.incident.id,
                await self._database.now(session),
                requested_by=actor.requested_by,
            )
            await record_action(self._audit, session, actor, AuditAction.REPAIR_STOPPED, row)
            return (await load_incident(session, project_id, incident_id)).incident

    async def counts(
        self,
        project_id: str | None,
        within: tuple[ProjectId, ...] | None = None,
        *,
        asked_by: str = ALL_PROJECTS,
        scope: tuple[ProjectId, ...] | None = None,
    ) -> Counts:
        """The numbers of waiting receipts and unresolved incidents, for the console's navigation.

        `within` lists the projects that the user belongs to, None for all. `scope` are those that
        this leaves, if they are known.

        Raises: Unavailable; RateLimited for `asked_by`.
        """
        async with self._database.searching(asked_by) as session:
            now = await self._database.now(session)
            return await queries.counts(
                session, project_or_none(project_id), now, within=within, scope=scope
            )


async def load_incident(
    session: AsyncSession, project_id: str | None, incident_id: str
) -> IncidentRow:
    """The incident with its receipt. Raises: NotFound."""
    row = await queries.read_incident(
        session, project_or_none(project_id), IncidentId(known_id(incident_id))
    )
    if row is None:
        raise NotFound("No incident with this id exists here. Check the id and the project.")
    return row


async def record_action(
    audit: AuditWriter,
    session: AsyncSession,
    actor: Actor,
    action: AuditAction,
    row: IncidentRow,
    details: Mapping[str, object] | None = None,
) -> None:
    """Append the audit entry of an action on the incident."""
    await audit.record(
        session,
        actor,
        action,
        Subject(SubjectType.INCIDENT, row.incident.id),
        project_id=row.incident.project_id,
        details=details or {"event_id": row.incident.event_id},
    )
