"""The operations on groups: list, read, mute, unmute, and acknowledge or resolve all incidents.

An act on the incidents of a group runs batch after batch, each in its own transaction with its own
entry in the audit log. It ends after a time or a number of incidents, and says whether any are
left: the same call goes on there.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import FieldError, IncidentAlreadyResolved, NotFound, ValidationFailed
from domain.groups.group import LONGEST_MUTE, Group
from domain.ids import GroupId
from operations.audit_writer import AuditWriter
from operations.incidents import ResolveBody
from operations.lists import ALL_PROJECTS, DEFAULT_LIMIT, project_or_none
from operations.validation import Json, WireInstant, known_id, validated
from store.db.database import Database
from store.db.paging import Page
from store.db.sql import SessionStatements, Statements
from store.receipts.groups import actions, queries
from store.receipts.groups.actions import Batch, Position
from store.receipts.groups.queries import GroupFilters
from store.receipts.queries import IncidentRow

# Of one call. The batches are short, so that nothing else waits long for SQLite's one writer.
ACTS_AT_MOST, NOTES_AT_MOST = 10_000, 100_000
ACT_SECONDS = 10.0
ACTS_AT_ONCE, NOTES_AT_ONCE = 50, 500

Act = Callable[[Statements, Batch, datetime], Awaitable[int]]


class MuteBody(BaseModel):
    """Until when a group alerts nothing."""

    model_config = ConfigDict(frozen=True, title="Mute")

    until: WireInstant


@dataclass(frozen=True, slots=True)
class GroupAct:
    """A group after an act, and how many of its incidents changed.

    `complete` is False if some are left, because there were too many for one call.
    """

    group: Group
    changed: int
    complete: bool


class GroupOperations:
    """Groups of an opened store."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        self._database, self._audit = database, audit

    async def list_groups(
        self, filters: GroupFilters, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[Group]:
        """A page of groups, the one with the newest incident first.

        Raises: ValidationFailed for a cursor that this service did not issue.
        """
        async with self._database.searching(filters.project_id or ALL_PROJECTS) as session:
            now = await self._database.now(session)
            return await queries.list_groups(session, filters, now, limit=limit, cursor=cursor)

    async def read_group(self, project_id: str | None, group_id: str) -> Group:
        """The group. Raises: NotFound."""
        async with self._database.reading(project_id or ALL_PROJECTS) as session:
            return await self._load(session, project_id, group_id)

    async def list_incidents(
        self,
        project_id: str | None,
        group_id: str,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[IncidentRow]:
        """A page of the group's incidents: open, repairing, then resolved ones.

        Raises: NotFound; ValidationFailed for a cursor that this service did not issue.
        """
        async with self._database.searching(project_id or ALL_PROJECTS) as session:
            group = await self._load(session, project_id, group_id)
            return await queries.list_group_incidents(session, group.id, limit=limit, cursor=cursor)

    async def mute(
        self, project_id: str | None, group_id: str, content: Json, *, actor: Actor
    ) -> GroupAct:
        """Mute the group until the instant in the body: it alerts nothing meanwhile.

        Raises: NotFound; ValidationFailed for an instant that has passed or is over a year ahead.
        """
        until = validated(MuteBody, content).until
        return await self._set_muted(project_id, group_id, until, AuditAction.GROUP_MUTED, actor)

    async def unmute(self, project_id: str | None, group_id: str, *, actor: Actor) -> GroupAct:
        """End the mute. What opened meanwhile is not alerted. Raises: NotFound."""
        return await self._set_muted(project_id, group_id, None, AuditAction.GROUP_UNMUTED, actor)

    async def acknowledge(self, project_id: str | None, group_id: str, *, actor: Actor) -> GroupAct:
        """Acknowledge all unresolved incidents. Raises: NotFound, IncidentAlreadyResolved."""
        group = await self._unresolved(project_id, group_id)

        async def act(st: Statements, batch: Batch, now: datetime) -> int:
            return await actions.acknowledge_batch(
                st, group.project_id, group.id, batch, now, requested_by=actor.requested_by
            )

        return await self._act_on_all(
            group,
            act,
            AuditAction.GROUP_ACKNOWLEDGED,
            actor,
            of_each=ACTS_AT_ONCE,
            at_most=ACTS_AT_MOST,
            skips_acknowledged=True,
        )

    async def resolve(
        self, project_id: str | None, group_id: str, reason: str, *, actor: Actor
    ) -> GroupAct:
        """Resolve all unresolved incidents manually, with a reason.

        Raises: NotFound, IncidentAlreadyResolved, ValidationFailed.
        """
        reason = validated(ResolveBody, {"reason": reason}).reason

        async def act(st: Statements, batch: Batch, now: datetime) -> int:
            return await actions.resolve_batch(
                st, batch, now, reason=reason, requested_by=actor.requested_by
            )

        group = await self._unresolved(project_id, group_id)
        return await self._act_on_all(
            group,
            act,
            AuditAction.GROUP_RESOLVED,
            actor,
            of_each=ACTS_AT_ONCE,
            at_most=ACTS_AT_MOST,
        )

    async def _set_muted(
        self,
        project_id: str | None,
        group_id: str,
        until: datetime | None,
        action: AuditAction,
        actor: Actor,
    ) -> GroupAct:
        async with self._database.transaction(project_id or ALL_PROJECTS) as session:
            group = await self._load(session, project_id, group_id)
            now = await self._database.now(session)
            if until is not None and not now < until <= now + LONGEST_MUTE:
                message = "Must be in the future, and at most 365 days ahead."
                raise ValidationFailed(errors=(FieldError("/until", "out_of_range", message),))
            await actions.set_muted(SessionStatements(session), group.id, until)
            await self._record(session, actor, action, group)

        async def act(st: Statements, batch: Batch, now: datetime) -> int:
            return await actions.note_muted(
                st, group.id, batch, now, until=until, requested_by=actor.requested_by
            )

        return await self._act_on_all(
            group, act, None, actor, of_each=NOTES_AT_ONCE, at_most=NOTES_AT_MOST
        )

    async def _unresolved(self, project_id: str | None, group_id: str) -> Group:
        group = await self.read_group(project_id, group_id)
        if not group.counts.unresolved:
            raise IncidentAlreadyResolved("All incidents of this group are resolved.")
        return group

    async def _act_on_all(
        self,
        group: Group,
        act: Act,
        action: AuditAction | None,
        actor: Actor,
        *,
        of_each: int,
        at_most: int,
        skips_acknowledged: bool = False,
    ) -> GroupAct:
        """Act on the group's unresolved incidents; each batch has an entry of `action`."""
        began, changed = time.monotonic(), 0
        following: Position | None = Position()
        while following is not None and changed < at_most and not _is_over(began):
            async with self._database.transaction(group.project_id) as session:
                st, now = SessionStatements(session), await self._database.now(session)
                batch = await actions.next_batch(
                    st, group.id, following, limit=of_each, skips_acknowledged=skips_acknowledged
                )
                acted = await act(st, batch, now) if batch.incidents else 0
                if action is not None and acted:
                    await self._record(session, actor, action, group, incidents=acted)
            changed, following = changed + acted, batch.following
        after = await self.read_group(group.project_id, group.id)
        return GroupAct(after, changed, complete=following is None)

    async def _load(self, session: AsyncSession, project_id: str | None, group_id: str) -> Group:
        now = await self._database.now(session)
        group = await queries.read_group(
            session, project_or_none(project_id), GroupId(known_id(group_id)), now
        )
        if group is None:
            raise NotFound("No group with this id exists here. Check the id and the project.")
        return group

    async def _record(
        self,
        session: AsyncSession,
        actor: Actor,
        action: AuditAction,
        group: Group,
        **details: object,
    ) -> None:
        subject = Subject(SubjectType.GROUP, group.id)
        await self._audit.record(
            session, actor, action, subject, project_id=group.project_id, details=details
        )


def _is_over(began: float) -> bool:
    return time.monotonic() - began > ACT_SECONDS
