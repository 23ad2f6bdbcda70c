"""The operations on bulk repairs: estimate, start, list, read, pause, resume, abort."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import FieldError, RepairUrlMissing, ValidationFailed
from domain.ids import BulkId, ProjectId
from domain.repairing.bulk import BulkItem, BulkRepair, BulkState, Estimate, Plan
from operations.audit_writer import AuditWriter
from operations.lists import ALL_PROJECTS, DEFAULT_LIMIT, project_or_none
from operations.repairing.inputs import BulkRepairBody
from operations.repairing.members import estimate_members, resolve_members
from operations.validation import Json, known_id, validated
from store.db.database import Database
from store.db.paging import Page
from store.db.sql import SessionStatements
from store.projects.projects import read_project
from store.receipts.queries import ListFilters
from store.repairing import bulk_repairs
from store.repairing.bulk_repairs import NewBulkRepair
from store.repairing.bulk_steps import alert_ended
from store.repairing.estimate import has_repair_url

_ACTIONS = {
    BulkState.PAUSED: AuditAction.BULK_REPAIR_PAUSED,
    BulkState.RUNNING: AuditAction.BULK_REPAIR_RESUMED,
    BulkState.ABORTED: AuditAction.BULK_REPAIR_ABORTED,
}


@dataclass(frozen=True, slots=True)
class BulkWithItems:
    """A bulk repair with a page of its items."""

    bulk: BulkRepair
    items: Page[BulkItem]


class BulkRepairOperations:
    """Bulk repairs of an opened store."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        self._database, self._audit = database, audit

    async def estimate(
        self, project_id: str, content: Json, *, filters: ListFilters | None = None
    ) -> Estimate:
        """What a bulk repair of this selection would do now; it changes nothing.

        `content` is the body of REST's POST. Raises: NotFound, ValidationFailed.
        """
        body, project = validated(BulkRepairBody, content), ProjectId(known_id(project_id))
        members = await resolve_members(self._database, project, body, filters)
        return await estimate_members(
            self._database, project, members, include_superseded=body.include_superseded
        )

    async def start(
        self, project_id: str, content: Json, *, actor: Actor, filters: ListFilters | None = None
    ) -> BulkRepair:
        """Start a bulk repair. Its incidents are fixed now; a worker begins within seconds.

        Raises: NotFound, ValidationFailed, RepairUrlMissing.
        """
        body, project = validated(BulkRepairBody, content), ProjectId(known_id(project_id))
        members = await resolve_members(self._database, project, body, filters)
        if not members:
            message = "No incident matches, so there is nothing to repair."
            raise ValidationFailed(errors=(FieldError("", "not_found", message),))
        async with self._database.transaction(project) as session:
            await read_project(session, project)
            if not await has_repair_url(SessionStatements(session), project):
                raise RepairUrlMissing
            new = NewBulkRepair(
                reason=body.reason,
                requested_by=actor.requested_by,
                plan=Plan(**body.plan.model_dump()),
                include_superseded=body.include_superseded,
                members=members,
            )
            now = await self._database.now(session)
            bulk_id = await bulk_repairs.add_bulk_repair(session, project, new, now)
            bulk = await bulk_repairs.read_bulk_repair(session, project, bulk_id)
            details = {"incidents": len(members), **body.plan.model_dump()}
            await self._record(session, actor, AuditAction.BULK_REPAIR_STARTED, bulk, details)
        return bulk

    async def list_bulk_repairs(
        self,
        project_id: str | None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        *,
        within: tuple[ProjectId, ...] | None = None,
    ) -> Page[BulkRepair]:
        """A page of bulk repairs, newest first: of the project, of those in `within`, or of all.

        Raises: ValidationFailed for a cursor of another list.
        """
        project = project_or_none(project_id)
        among = within if project is None else (project,)
        async with self._database.searching(project or ALL_PROJECTS) as session:
            return await bulk_repairs.list_bulk_repairs(session, among, limit=limit, cursor=cursor)

    async def read_bulk_repair(
        self,
        project_id: str | None,
        bulk_id: str,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> BulkWithItems:
        """The bulk repair with a page of its items, in their order.

        Raises: NotFound; ValidationFailed for a cursor of another list.
        """
        async with self._database.reading(project_id or ALL_PROJECTS) as session:
            bulk = await bulk_repairs.read_bulk_repair(
                session, project_or_none(project_id), BulkId(known_id(bulk_id))
            )
            items = await bulk_repairs.list_items(session, bulk.id, limit=limit, cursor=cursor)
        return BulkWithItems(bulk, items)

    async def pause(self, project_id: str | None, bulk_id: str, *, actor: Actor) -> BulkRepair:
        """Begin no more repairs until it is resumed. Raises: NotFound."""
        return await self._set_state(project_id, bulk_id, BulkState.PAUSED, actor)

    async def resume(self, project_id: str | None, bulk_id: str, *, actor: Actor) -> BulkRepair:
        """Go on where it was paused. Raises: NotFound."""
        return await self._set_state(project_id, bulk_id, BulkState.RUNNING, actor)

    async def abort(self, project_id: str | None, bulk_id: str, *, actor: Actor) -> BulkRepair:
        """Begin no more repairs. What it has begun runs on. Raises: NotFound."""
        return await self._set_state(project_id, bulk_id, BulkState.ABORTED, actor)

    async def _set_state(
        self, project_id: str | None, bulk_id: str, to: BulkState, actor: Actor
    ) -> BulkRepair:
        """Move it to the state. One that has ended stays as it is."""
        found = await self.read_bulk_repair(project_id, bulk_id, 1)
        project = found.bulk.project_id
        async with self._database.transaction(project) as session:
            now = await self._database.now(session)
            bulk, is_changed = await bulk_repairs.set_state(
                session, project, found.bulk.id, to, now
            )
            if is_changed and to is BulkState.ABORTED:
                await alert_ended(session, bulk, now)
            if is_changed:
                await self._record(session, actor, _ACTIONS[to], bulk)
        return bulk

    async def _record(
        self,
        session: AsyncSession,
        actor: Actor,
        action: AuditAction,
        bulk: BulkRepair,
        details: Mapping[str, object] | None = None,
    ) -> None:
        subject = Subject(SubjectType.BULK_REPAIR, bulk.id)
        await self._audit.record(
            session, actor, action, subject, project_id=bulk.project_id, details=details
        )
