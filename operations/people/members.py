"""The operations on members: list, grant and change a role, remove.

Every change is recorded under its project, so that the project's owners see it.
"""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction
from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import ProjectId, UserId
from domain.users import Invitation, Member, Role, User
from operations.audit_writer import AuditWriter
from operations.people.accounts import find_user, user_subject
from operations.validation import known_id
from store.db.database import Database
from store.people import invitations, members


@dataclass(frozen=True, slots=True)
class ProjectMembers:
    """The members of a project, and its open invitations."""

    members: list[Member]
    invitations: list[Invitation]


@dataclass(frozen=True, slots=True)
class Membership:
    """A user's role in a project; `role` None when they are not a member any more."""

    user: User
    project_id: ProjectId
    role: Role | None


class MemberOperations:
    """Members of an opened store's projects."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        self._database, self._audit = database, audit

    async def list_members(self, project_id: str) -> ProjectMembers:
        """The project's members and open invitations."""
        project = ProjectId(known_id(project_id))
        async with self._database.reading() as session:
            now = await self._database.now(session)
            found = await members.list_members(session, project)
            invited = await invitations.list_invitations(session, project, now=now)
        return ProjectMembers(found, invited)

    async def grant(
        self, project_id: str, email_or_id: str, role: str, *, actor: Actor
    ) -> Membership:
        """Give the user this role.

        Raises: NotFound; ValidationFailed for an unknown role or the last owner.
        """
        wanted = parse_role(role)
        async with self._database.transaction() as session:
            user = await find_user(session, email_or_id)
            await self._grant(session, actor, ProjectId(known_id(project_id)), user.user_id, wanted)
        return Membership(user, ProjectId(project_id), wanted)

    async def change_role(self, project_id: str, user_id: str, role: str, *, actor: Actor) -> None:
        """Give a member another role.

        Raises: NotFound; ValidationFailed for an unknown role or the last owner.
        """
        wanted, project = parse_role(role), ProjectId(known_id(project_id))
        user = UserId(known_id(user_id))
        async with self._database.transaction() as session:
            if project not in (await members.read_access(session, user)).roles:
                raise NotFound("There is no such member in this project.")
            await self._grant(session, actor, project, user, wanted)

    async def remove_member(self, project_id: str, user_id: str, *, actor: Actor) -> None:
        """Remove the member, named by user id.

        Raises: NotFound; ValidationFailed for the last owner.
        """
        project, user = ProjectId(known_id(project_id)), UserId(known_id(user_id))
        async with self._database.transaction() as session:
            await self._revoke(session, actor, project, user)

    async def revoke(self, project_id: str, email_or_id: str, *, actor: Actor) -> Membership:
        """Remove the member, named by address or id.

        Raises: NotFound; ValidationFailed for the last owner.
        """
        async with self._database.transaction() as session:
            user = await find_user(session, email_or_id)
            await self._revoke(session, actor, ProjectId(known_id(project_id)), user.user_id)
        return Membership(user, ProjectId(project_id), None)

    async def _grant(
        self, session: AsyncSession, actor: Actor, project: ProjectId, user_id: UserId, role: Role
    ) -> None:
        now = await self._database.now(session)
        before = await members.grant(
            session, project_id=project, user_id=user_id, role=role, now=now
        )
        if before is role:
            return
        action, details = AuditAction.ROLE_GRANTED, {"role": role.value}
        if before is not None:
            action, details = AuditAction.ROLE_CHANGED, {**details, "before": before.value}
        await self._audit.record(
            session,
            actor,
            action,
            user_subject(user_id),
            now=now,
            project_id=project,
            details=details,
        )

    async def _revoke(
        self, session: AsyncSession, actor: Actor, project: ProjectId, user_id: UserId
    ) -> None:
        role = await members.revoke(session, project_id=project, user_id=user_id)
        await self._audit.record(
            session,
            actor,
            AuditAction.ROLE_REVOKED,
            user_subject(user_id),
            project_id=project,
            details={"role": role.value},
        )


def parse_role(text: str) -> Role:
    """The role with this name. Raises: ValidationFailed."""
    if text not in set(Role):
        message = f"A role is one of {', '.join(role.value for role in Role)}."
        raise ValidationFailed(errors=(FieldError("/role", "unknown", message),))
    return Role(text)
