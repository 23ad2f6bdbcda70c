"""The operations on signing secrets: rotate, read the rotation, finish it.

During a rotation, callbacks carry the signatures of both secrets. It ends after 24 hours, or when
it is finished.
"""

from dataclasses import dataclass
from datetime import datetime

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.ids import ProjectId
from domain.projects import Project
from operations.audit_writer import AuditWriter
from operations.validation import known_id
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects import projects, signing_secrets


@dataclass(frozen=True, slots=True)
class CreatedSigningSecret:
    """A project's next signing secret, returned only here. Until `overlap_ends_at` both sign."""

    project_id: ProjectId
    signing_secret: str
    overlap_ends_at: datetime


class SigningSecretOperations:
    """Signing secrets of an opened store's projects."""

    def __init__(self, database: Database, audit: AuditWriter, *, sealer: Sealer) -> None:
        self._database, self._audit, self._sealer = database, audit, sealer

    async def rotate_signing_secret(self, project_id: str, *, actor: Actor) -> CreatedSigningSecret:
        """Create the next signing secret, which is returned only here. Raises: NotFound."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            secret = await signing_secrets.rotate_signing_secret(
                session, self._sealer, project_id=ProjectId(known_id(project_id)), now=now
            )
            await self._audit.record(
                session,
                actor,
                AuditAction.SIGNING_SECRET_ROTATED,
                Subject(SubjectType.PROJECT, project_id),
                project_id=project_id,
                details={"shown": ["signing_secret"]},
            )
        ends_at = now + signing_secrets.OVERLAP
        return CreatedSigningSecret(ProjectId(project_id), secret, ends_at)

    async def read_rotation(self, project_id: str) -> datetime | None:
        """When the rotation ends; None when no rotation is in progress. Raises: NotFound."""
        project = ProjectId(known_id(project_id))
        async with self._database.reading() as session:
            await projects.read_project(session, project)
            now = await self._database.now(session)
            return await signing_secrets.overlap_ends_at(session, project, now)

    async def finish_rotation(self, project_id: str, *, actor: Actor) -> Project:
        """Stop signing with the previous secret. Raises: NotFound."""
        known = ProjectId(known_id(project_id))
        async with self._database.transaction() as session:
            await signing_secrets.finish_rotation(session, project_id=known)
            project = await projects.read_project(session, known)
            await self._audit.record(
                session,
                actor,
                AuditAction.SIGNING_SECRET_ROTATION_FINISHED,
                Subject(SubjectType.PROJECT, project.id),
                project_id=project.id,
            )
        return project
