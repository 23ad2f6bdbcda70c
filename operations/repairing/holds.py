"""The operations on holds: add, list, remove."""

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import FieldError, ValidationFailed
from domain.ids import HoldId, ProjectId
from domain.repairing.holds import Hold
from operations.audit_writer import AuditWriter
from operations.names import check_known
from operations.repairing.inputs import HoldBody
from operations.validation import Json, check_texts, known_id, validated
from store.db.database import Database
from store.projects.projects import read_project
from store.receipts.held import holds
from store.receipts.held.holds import NewHold


class HoldOperations:
    """Holds of an opened store."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        self._database, self._audit = database, audit

    async def add_hold(self, project_id: str, content: Json, *, actor: Actor) -> Hold:
        """Add a hold; `content` is the body of REST's POST. It holds from now on.

        Raises: NotFound, ValidationFailed.
        """
        body, project_id = validated(HoldBody, content), known_id(project_id)
        check_texts(internal_reference=body.internal_reference, reason=body.reason)
        async with self._database.transaction(project_id) as session:
            project = await read_project(session, ProjectId(project_id))
            check_known([project], provider=None, event_type=None, effect_type=body.effect_type)
            now = await self._database.now(session)
            if body.until is not None and body.until <= now:
                message = "Must be in the future."
                raise ValidationFailed(errors=(FieldError("/until", "out_of_range", message),))
            new = NewHold(body.effect_type, body.internal_reference, body.reason, body.until)
            hold = await holds.add_hold(
                session, project.id, new, now, created_by=actor.requested_by
            )
            subject = Subject(SubjectType.HOLD, hold.id)
            details = {"effect_type": body.effect_type, "all": body.all}
            await self._audit.record(
                session,
                actor,
                AuditAction.HOLD_ADDED,
                subject,
                project_id=project.id,
                details=details,
            )
        return hold

    async def list_holds(self, project_id: str) -> list[Hold]:
        """The project's active holds, oldest first. Raises: NotFound."""
        project = ProjectId(known_id(project_id))
        async with self._database.reading(project) as session:
            await read_project(session, project)
            return await holds.list_holds(session, project)

    async def remove_hold(self, project_id: str, hold_id: str, *, actor: Actor) -> Hold:
        """End the hold. What it holds begins, in order. Raises: NotFound."""
        project = ProjectId(known_id(project_id))
        async with self._database.transaction(project) as session:
            now = await self._database.now(session)
            hold = await holds.end_hold(session, project, HoldId(known_id(hold_id)), now)
            if hold.ended_at is None:
                subject = Subject(SubjectType.HOLD, hold.id)
                await self._audit.record(
                    session, actor, AuditAction.HOLD_REMOVED, subject, project_id=project
                )
        return hold
