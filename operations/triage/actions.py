"""The operations of people who look after incidents: acknowledge, assign, comment, snooze, reopen.
Also: move the deadline of a receipt that still waits.

Each is one transaction with its entries of timeline and audit log, and answers the incident.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import ProjectId, UserId
from domain.incidents import Incident
from operations.audit_writer import AuditWriter
from operations.events import load_event
from operations.incidents import ResolveBody, load_incident, record_action
from operations.lists import ALL_PROJECTS
from operations.validation import Json, WireInstant, check_texts, validated
from store.db.database import Database
from store.db.sql import SessionStatements, Statements
from store.people import members
from store.people.users import find_user
from store.receipts import operator_actions
from store.receipts.queries import EventRow, IncidentRow
from store.receipts.triage import deadline_moves

LONGEST_QUIET = timedelta(days=30)
LONGEST_EXTENSION = timedelta(days=7)
LONGEST_COMMENT = 4_000


class AcknowledgeBody(BaseModel):
    """Until when somebody investigates. Omitted: for the project's `acknowledge_minutes`."""

    model_config = ConfigDict(frozen=True, title="Acknowledge")

    until: WireInstant | None = None


class AssignBody(BaseModel):
    """The e-mail address of a member of the project, or null for nobody."""

    model_config = ConfigDict(frozen=True, title="Assign")

    assignee: Annotated[str, StringConstraints(min_length=1, max_length=320)] | None


class CommentBody(BaseModel):
    """A comment on an incident."""

    model_config = ConfigDict(frozen=True, title="Comment")

    text: Annotated[
        str,
        StringConstraints(
            min_length=1,
            max_length=LONGEST_COMMENT,
            strip_whitespace=True,
            pattern=r"^[^\x00]*$",
        ),
    ]


class SnoozeBody(BaseModel):
    """Until when no alert is sent, at most 30 days ahead."""

    model_config = ConfigDict(frozen=True, title="Snooze")

    until: WireInstant


class ReopenBody(ResolveBody):
    """The reason for opening a manually resolved incident again."""

    model_config = ConfigDict(frozen=True, title="Reopen")


class DeadlineBody(BaseModel):
    """The new deadline of a waiting receipt, at most 7 days ahead."""

    model_config = ConfigDict(frozen=True, title="Deadline")

    deadline_at: WireInstant


# A step of the store on the incident, at the instant given.
Step = Callable[[Statements, IncidentRow, datetime], Awaitable[object]]


class TriageOperations:
    """Incidents of an opened store, and the people who look after them."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        self._database, self._audit = database, audit

    async def acknowledge(
        self, project_id: str | None, incident_id: str, body: Json | None = None, *, actor: Actor
    ) -> Incident:
        """Record that somebody investigates; `body` is that of REST.

        Raises: NotFound, IncidentAlreadyResolved, ValidationFailed.
        """
        until = validated(AcknowledgeBody, body or {}).until

        async def step(st: Statements, row: IncidentRow, now: datetime) -> None:
            if until is not None:
                check_ahead("until", until, now, at_most=LONGEST_QUIET)
            await operator_actions.acknowledge(
                st, row.incident.id, now, requested_by=actor.requested_by, until=until
            )

        return await self._act(
            project_id, incident_id, AuditAction.INCIDENT_ACKNOWLEDGED, step, actor
        )

    async def unacknowledge(
        self, project_id: str | None, incident_id: str, *, actor: Actor
    ) -> Incident:
        """Take the acknowledgement back. Raises: NotFound, IncidentAlreadyResolved."""

        async def step(st: Statements, row: IncidentRow, now: datetime) -> None:
            await operator_actions.unacknowledge(
                st, row.incident.id, now, requested_by=actor.requested_by
            )

        action = AuditAction.INCIDENT_UNACKNOWLEDGED
        return await self._act(project_id, incident_id, action, step, actor)

    async def assign(
        self, project_id: str | None, incident_id: str, body: Json, *, actor: Actor
    ) -> Incident:
        """Assign the incident to a member, who gets a mail; or to nobody.

        Raises: NotFound, IncidentAlreadyResolved; ValidationFailed for who is no member.
        """
        email = validated(AssignBody, body).assignee
        check_texts(assignee=email)
        async with self._database.transaction(project_id or ALL_PROJECTS) as session:
            row = await load_incident(session, project_id, incident_id)
            assignee, address = (
                (None, "")
                if email is None
                else await _member(session, row.incident.project_id, email)
            )
            await operator_actions.assign(
                SessionStatements(session),
                row.incident.id,
                await self._database.now(session),
                assignee=assignee,
                email=address,
                requested_by=actor.requested_by,
            )
            details = {"event_id": row.incident.event_id, "assignee": assignee}
            action = AuditAction.INCIDENT_ASSIGNED
            await record_action(self._audit, session, actor, action, row, details)
            return (await load_incident(session, project_id, incident_id)).incident

    async def comment(
        self, project_id: str | None, incident_id: str, body: Json, *, actor: Actor
    ) -> Incident:
        """Add a comment to the timeline. Raises: NotFound, ValidationFailed."""
        text = validated(CommentBody, body).text
        check_texts(text=text)

        async def step(st: Statements, row: IncidentRow, now: datetime) -> None:
            by = actor.requested_by
            await operator_actions.comment(st, row.incident.id, now, text=text, requested_by=by)

        return await self._act(project_id, incident_id, AuditAction.INCIDENT_COMMENTED, step, actor)

    async def snooze(
        self, project_id: str | None, incident_id: str, body: Json, *, actor: Actor
    ) -> Incident:
        """Send no alerts until then, or until a repair fails.

        Raises: NotFound, IncidentAlreadyResolved, ValidationFailed.
        """
        until = validated(SnoozeBody, body).until

        async def step(st: Statements, row: IncidentRow, now: datetime) -> None:
            check_ahead("until", until, now, at_most=LONGEST_QUIET)
            by = actor.requested_by
            await operator_actions.snooze(st, row.incident.id, now, until=until, requested_by=by)

        return await self._act(project_id, incident_id, AuditAction.INCIDENT_SNOOZED, step, actor)

    async def reopen(
        self, project_id: str | None, incident_id: str, body: Json, *, actor: Actor
    ) -> Incident:
        """Open an incident again that was resolved manually, with alerts.

        Raises: NotFound, NotClosed, ValidationFailed.
        """
        reason = validated(ReopenBody, body).reason

        async def step(st: Statements, row: IncidentRow, now: datetime) -> None:
            by = actor.requested_by
            await operator_actions.reopen(st, row.incident.id, now, reason=reason, requested_by=by)

        return await self._act(project_id, incident_id, AuditAction.INCIDENT_REOPENED, step, actor)

    async def move_deadline(
        self, project_id: str | None, event_id: str, body: Json, *, actor: Actor
    ) -> EventRow:
        """Move the deadline of a waiting receipt.

        Raises: NotFound, NotWaiting, ValidationFailed.
        """
        deadline_at = validated(DeadlineBody, body).deadline_at
        async with self._database.transaction(project_id or ALL_PROJECTS) as session:
            receipt = (await load_event(session, project_id, event_id)).receipt
            now = await self._database.now(session)
            check_ahead("deadline_at", deadline_at, now, at_most=LONGEST_EXTENSION)
            await deadline_moves.move_deadline(
                SessionStatements(session),
                receipt.event_id,
                now,
                deadline_at=deadline_at,
                requested_by=actor.requested_by,
            )
            subject = Subject(SubjectType.RECEIPT, receipt.event_id)
            action, of = AuditAction.DEADLINE_MOVED, receipt.project_id
            await self._audit.record(session, actor, action, subject, project_id=of)
            return await load_event(session, project_id, event_id)

    async def _act(
        self,
        project_id: str | None,
        incident_id: str,
        action: AuditAction,
        step: Step,
        actor: Actor,
    ) -> Incident:
        """Run one step on the incident, with its audit entry, and return the incident after it."""
        async with self._database.transaction(project_id or ALL_PROJECTS) as session:
            row = await load_incident(session, project_id, incident_id)
            await step(SessionStatements(session), row, await self._database.now(session))
            await record_action(self._audit, session, actor, action, row)
            return (await load_incident(session, project_id, incident_id)).incident


def check_ahead(name: str, at: datetime, now: datetime, *, at_most: timedelta) -> None:
    """Check that an instant is in the future, and not too far. Raises: ValidationFailed."""
    if now < at <= now + at_most:
        return
    message = f"Must be in the future, at most {at_most.days} days ahead."
    raise ValidationFailed(errors=(FieldError(f"/{name}", "out_of_range", message),))


async def _member(session: AsyncSession, project_id: ProjectId, email: str) -> tuple[UserId, str]:
    """The member with this address, and the address that the account has.

    Administrators count as members of every project. An account of others and none at all get the
    same answer. Raises: ValidationFailed.
    """
    message = "Must be the e-mail address of a member of the project."
    refused = ValidationFailed(errors=(FieldError("/assignee", "unknown_member", message),))
    if "@" not in email:
        raise refused
    try:
        user = await find_user(session, email)
    except NotFound:
        raise refused from None
    access = await members.read_access(session, user.user_id)
    if user.email is None or access.role_in(project_id) is None:
        raise refused
    return user.user_id, user.email
