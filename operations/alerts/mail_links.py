"""What the signed links in alert mails do, for anyone who has them: no sign-in is needed.

Reading a link never acts. A link disables the destination of its mail, or acknowledges one incident
once. The audit log names the destination as the actor.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.alerts import AlertDestination, DestinationState
from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import IncidentAlreadyResolved, NotFound
from domain.ids import ProjectId
from domain.incidents import Incident, IncidentState
from operations.audit_writer import AuditWriter
from store.alerts import destinations, links
from store.alerts.destinations import DestinationChanges
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.projects import projects
from store.receipts import operator_actions, queries

INVALID = "This link is not valid. It may have been cut, or its destination was removed."
USED = "This link was used. Sign in to see the incident."
EXPIRED = "This link has expired. Sign in to acknowledge the incident."


@dataclass(frozen=True, slots=True)
class Unsubscribing:
    """What a link to unsubscribe disables."""

    project_id: ProjectId
    project_name: str
    destination: AlertDestination

    @property
    def is_done(self) -> bool:
        """Whether the destination is disabled already."""
        return self.destination.state is DestinationState.DISABLED


@dataclass(frozen=True, slots=True)
class Acknowledging:
    """What a link to acknowledge is about."""

    project_name: str
    incident: Incident
    internal_reference: str


class MailLinkOperations:
    """The links of alert mails, on an opened store."""

    def __init__(self, database: Database, audit: AuditWriter, *, sealer: Sealer) -> None:
        self._database, self._audit, self._sealer = database, audit, sealer

    async def read_unsubscribing(self, token: str) -> Unsubscribing:
        """What the link disables. Raises: NotFound."""
        async with self._database.reading() as session:
            return await self._unsubscribing(session, token)

    async def unsubscribe(self, token: str, *, actor: Actor) -> Unsubscribing:
        """Disable the destination of the link. A second time changes nothing. Raises: NotFound."""
        async with self._database.transaction() as session:
            found = await self._unsubscribing(session, token)
            if found.is_done:
                return found
            changed = await destinations.change_destination(
                session,
                self._sealer,
                project_id=found.project_id,
                destination_id=found.destination.id,
                changes=DestinationChanges(is_disabled=True),
                now=await self._database.now(session),
            )
            await self._audit.record(
                session,
                replace(actor, id=changed.id),
                AuditAction.DESTINATION_CHANGED,
                Subject(SubjectType.DESTINATION, changed.id),
                project_id=found.project_id,
                details={"fields": ["disabled"]},
            )
        return replace(found, destination=changed)

    async def read_acknowledging(self, token: str) -> Acknowledging:
        """What the link is about. Raises: NotFound, IncidentAlreadyResolved."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            return (await self._acknowledging(session, token, now))[1]

    async def acknowledge(self, token: str, *, actor: Actor) -> Acknowledging:
        """Acknowledge the incident of the link, once. Raises: NotFound, IncidentAlreadyResolved."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            found, about = await self._acknowledging(session, token, now)
            if not await links.use_link(session, found.link, now):
                raise NotFound(USED)
            await operator_actions.acknowledge(
                SessionStatements(session),
                found.incident_id,
                now,
                requested_by=found.destination_id,
            )
            await self._audit.record(
                session,
                replace(actor, id=found.destination_id),
                AuditAction.INCIDENT_ACKNOWLEDGED,
                Subject(SubjectType.INCIDENT, found.incident_id),
                project_id=found.link.project_id,
                details={"event_id": about.incident.event_id},
            )
        return about

    async def _unsubscribing(self, session: AsyncSession, token: str) -> Unsubscribing:
        link = await links.read_unsubscribe_link(session, self._sealer, token)
        if link is None:
            raise NotFound(INVALID)
        try:
            project = await projects.read_project(session, link.project_id)
            destination = await destinations.read_destination(
                session, link.project_id, link.destination_id
            )
        except NotFound:
            raise NotFound(INVALID) from None
        return Unsubscribing(project.id, project.name, destination)

    async def _acknowledging(
        self, session: AsyncSession, token: str, now: datetime
    ) -> tuple[links.Acknowledgement, Acknowledging]:
        found = await links.read_acknowledge_link(session, self._sealer, token, now)
        if found is None:
            raise NotFound(INVALID)
        if found.is_used or found.is_expired:
            raise NotFound(USED if found.is_used else EXPIRED)
        project_id = found.link.project_id
        row = await queries.read_incident(session, project_id, found.incident_id)
        if row is None:
            raise NotFound(INVALID)
        if row.incident.state is IncidentState.RESOLVED:
            raise IncidentAlreadyResolved
        project = await projects.read_project(session, project_id)
        return found, Acknowledging(project.name, row.incident, row.receipt.internal_reference)
