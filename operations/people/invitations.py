"""The operations on invitations to projects: create, withdraw, find, accept."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import ProjectId, UserId
from domain.users import Invitation, Role, User
from operations.audit_writer import AuditWriter
from operations.people.accounts import user_subject
from operations.people.members import parse_role
from operations.validation import known_id
from store.db.database import Database
from store.people import invitations, members, users

INVALID_INVITATION = (
    "This invitation was used, withdrawn or expired. Ask a project owner for a new one."
)


class InvitationOperations:
    """Invitations of an opened store's projects."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        self._database, self._audit = database, audit

    async def invite(self, project_id: str, *, email: str, role: str, actor: Actor) -> str:
        """Create an invitation and return its link's token, which the actor passes on.

        Raises: NotFound, ValidationFailed.
        """
        project, wanted = ProjectId(known_id(project_id)), parse_role(role)
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            token, invitation_id = await invitations.invite(
                session,
                project_id=project,
                email=email,
                role=wanted,
                invited_by=actor.id,
                now=now,
            )
            await self._audit.record(
                session,
                actor,
                AuditAction.INVITATION_CREATED,
                Subject(SubjectType.INVITATION, invitation_id),
                now=now,
                project_id=project,
                details={"role": wanted.value},
            )
        return token

    async def withdraw(self, project_id: str, invitation_id: str, *, actor: Actor) -> None:
        """Invalidate the invitation's link. Raises: NotFound."""
        project, invitation = ProjectId(known_id(project_id)), known_id(invitation_id)
        async with self._database.transaction() as session:
            await invitations.withdraw(session, project_id=project, invitation_id=invitation)
            action = AuditAction.INVITATION_WITHDRAWN
            subject = Subject(SubjectType.INVITATION, invitation)
            await self._audit.record(session, actor, action, subject, project_id=project)

    async def find_invitation(self, token: str) -> Invitation | None:
        """The invitation of this link's token; None when the link is not valid."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            return await invitations.find_invitation(session, token=token, now=now)

    async def join(self, token: str, *, as_user: UserId | None, actor: Actor) -> User:
        """Accept the invitation and return the new member.

        `as_user` is the signed-in user. None creates an account with the invitation's address.
        The audit log names the new member as the actor, with the address of `actor`.

        Raises: NotFound for an invalid link; ValidationFailed when the invitation is for another
            user.
        """
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            invitation = await invitations.use_invitation(session, token=token, now=now)
            if invitation is None:
                raise NotFound(INVALID_INVITATION)
            user = await _invited_user(session, invitation, as_user, now)
            before = await _raise_role(session, invitation, user.user_id, now)
            member = replace(actor, id=user.user_id)
            if as_user is None:
                action, subject = AuditAction.USER_CREATED, user_subject(user.user_id)
                details = {"by": "invitation"}
                await self._audit.record(session, member, action, subject, now=now, details=details)
            await self._audit.record(
                session,
                member,
                AuditAction.INVITATION_ACCEPTED,
                Subject(SubjectType.INVITATION, invitation.id),
                now=now,
                project_id=invitation.project_id,
                details={
                    "role": invitation.role.value,
                    "before": None if before is None else before.value,
                },
            )
        return user


async def _raise_role(
    session: AsyncSession, invitation: Invitation, user_id: UserId, now: datetime
) -> Role | None:
    """Grant the invitation's role unless the user has it or a higher one; their role before."""
    project, role = invitation.project_id, invitation.role
    before = (await members.read_access(session, user_id)).roles.get(project)
    if before is None or not before.allows(role):
        await members.grant(session, project_id=project, user_id=user_id, role=role, now=now)
    return before


async def _invited_user(
    session: AsyncSession, invitation: Invitation, as_user: UserId | None, now: datetime
) -> User:
    """The user who accepts. Their address must be the invitation's, which prevents mistakes."""
    try:
        known = await users.find_user(session, invitation.email)
    except NotFound:
        known = None
    if as_user is None and known is None:
        return await users.create_user(session, email=invitation.email, now=now)
    if known is None or as_user != known.user_id:
        remedy = "Sign out, or sign in as them, and open the link again."
        message = f"This invitation is for {invitation.email}. {remedy}"
        raise ValidationFailed(errors=(FieldError("/email", "other_account", message),))
    return known
