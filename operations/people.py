"""What is done about people, once: the functions that console and command line share. They answer with JSON.

Members and invitations here, accounts and sessions in `operations.accounts`, with the same rules: one short transaction each,
which writes the audit log last. What concerns a project is told with it, so that its owners see who came and went, and through
whom.
"""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import ProjectId, UserId
from domain.users import Invitation, Role, User
from domain.values.timestamps import to_iso
from operations.accounts import Accounts, find_person, person, user_view
from operations.validation import Json, known_id
from store.people import invitations, members, users

LINK_LEADS_NOWHERE = "This invitation was used before, withdrawn, or is too old. Ask an owner of the project for a new one."


class People(Accounts):
    """Users, members, invitations and sessions, on an opened store."""

    async def list_members(self, project_id: str) -> Json:
        """The project's people and those invited."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            found = await members.list_members(session, ProjectId(known_id(project_id)))
            invited = await invitations.list_invitations(session, ProjectId(known_id(project_id)), now=now)
        rows = [{"user_id": one.user_id, "email": one.email, "role": one.role.value, "since": to_iso(one.since)} for one in found]
        return {"data": rows, "invitations": [_invitation(one) for one in invited]}

    async def grant(self, project_id: str, email_or_id: str, role: str, *, actor: Actor) -> Json:
        """The person has the role. Raises: NotFound; ValidationFailed for an unknown role or the last owner."""
        wanted = _role(role)
        async with self._database.transaction() as session:
            user = await find_person(session, email_or_id)
            await self._grant(session, actor, ProjectId(known_id(project_id)), user.user_id, wanted)
        return {**user_view(user), "project_id": project_id, "role": wanted.value}

    async def change_role(self, project_id: str, user_id: str, role: str, *, actor: Actor) -> None:
        """A member has another role. Raises: NotFound; ValidationFailed for an unknown role or the last owner."""
        wanted, project, user = _role(role), ProjectId(known_id(project_id)), UserId(known_id(user_id))
        async with self._database.transaction() as session:
            if project not in (await members.read_access(session, user)).roles:
                raise NotFound("There is no such member in this project.")
            await self._grant(session, actor, project, user, wanted)

    async def remove_member(self, project_id: str, user_id: str, *, actor: Actor) -> None:
        """The member belongs to the project no longer. Raises: NotFound; ValidationFailed for the last owner."""
        async with self._database.transaction() as session:
            await self._revoke(session, actor, ProjectId(known_id(project_id)), UserId(known_id(user_id)))

    async def revoke(self, project_id: str, email_or_id: str, *, actor: Actor) -> Json:
        """The person belongs to the project no longer. Raises: NotFound; ValidationFailed for the last owner."""
        async with self._database.transaction() as session:
            user = await find_person(session, email_or_id)
            await self._revoke(session, actor, ProjectId(known_id(project_id)), user.user_id)
        return {**user_view(user), "project_id": project_id, "role": None}

    async def invite(self, project_id: str, *, email: str, role: str, actor: Actor) -> str:
        """The token of a link into the project, which the actor, a user, gives out. Raises: NotFound, ValidationFailed."""
        project, wanted = ProjectId(known_id(project_id)), _role(role)
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            token, invitation_id = await invitations.invite(
                session, project_id=project, email=email, role=wanted, invited_by=actor.id, now=now
            )
            act, subject = AuditAction.INVITATION_CREATED, Subject(SubjectType.INVITATION, invitation_id)
            await self._record(session, actor, act, subject, now=now, project_id=project, role=wanted.value)
        return token

    async def withdraw(self, project_id: str, invitation_id: str, *, actor: Actor) -> None:
        """The link leads nowhere any more. Raises: NotFound."""
        project, invitation = ProjectId(known_id(project_id)), known_id(invitation_id)
        async with self._database.transaction() as session:
            await invitations.withdraw(session, project_id=project, invitation_id=invitation)
            act, subject = AuditAction.INVITATION_WITHDRAWN, Subject(SubjectType.INVITATION, invitation)
            await self._record(session, actor, act, subject, now=await self._database.now(session), project_id=project)

    async def find_invitation(self, token: str) -> Json | None:
        """What the link offers; None when it leads nowhere."""
        async with self._database.reading() as session:
            found = await invitations.find_invitation(session, token=token, now=await self._database.now(session))
        return None if found is None else _invitation(found)

    async def join(self, token: str, *, as_user: UserId | None, actor: Actor) -> User:
        """Who is a member now: `as_user`, who is signed in, or a new account with the invitation's address.

        Who takes it is told as the actor, who came from where `actor` did.

        Raises: NotFound for a link that leads nowhere; ValidationFailed when somebody else has to take it.
        """
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            invitation = await invitations.use_invitation(session, token=token, now=now)
            if invitation is None:
                raise NotFound(LINK_LEADS_NOWHERE)
            user = await _taker(session, invitation, as_user, now)
            project, role = invitation.project_id, invitation.role
            has = (await members.read_access(session, user.user_id)).roles.get(project)
            if has is None or not has.allows(role):
                await members.grant(session, project_id=project, user_id=user.user_id, role=role, now=now)
            taker, act = replace(actor, id=user.user_id), AuditAction.INVITATION_ACCEPTED
            if as_user is None:
                await self._record(session, taker, AuditAction.USER_CREATED, person(user.user_id), now=now, by="invitation")
            before = None if has is None else has.value
            subject = Subject(SubjectType.INVITATION, invitation.id)
            await self._record(session, taker, act, subject, now=now, project_id=project, role=role.value, before=before)
        return user

    async def _grant(self, session: AsyncSession, actor: Actor, project: ProjectId, user_id: UserId, role: Role) -> None:
        now = await self._database.now(session)
        before = await members.grant(session, project_id=project, user_id=user_id, role=role, now=now)
        if before is None:
            act, told = AuditAction.ROLE_GRANTED, {"role": role.value}
        else:
            act, told = AuditAction.ROLE_CHANGED, {"role": role.value, "before": before.value}
        if before is not role:
            await self._record(session, actor, act, person(user_id), now=now, project_id=project, **told)

    async def _revoke(self, session: AsyncSession, actor: Actor, project: ProjectId, user_id: UserId) -> None:
        role, now = await members.revoke(session, project_id=project, user_id=user_id), await self._database.now(session)
        act = AuditAction.ROLE_REVOKED
        await self._record(session, actor, act, person(user_id), now=now, project_id=project, role=role.value)


def _invitation(invitation: Invitation) -> Json:
    return {
        "id": invitation.id,
        "project_name": invitation.project_name,
        "email": invitation.email,
        "role": invitation.role.value,
        "expires_at": to_iso(invitation.expires_at),
    }


async def _taker(session: AsyncSession, invitation: Invitation, as_user: UserId | None, now: datetime) -> User:
    """Who takes the invitation. Its address is who was meant: nobody takes it by mistake under another one."""
    try:
        known = await users.find_user(session, invitation.email)
    except NotFound:
        known = None
    if as_user is None and known is None:
        return await users.create_user(session, email=invitation.email, now=now)
    if known is None or as_user != known.user_id:
        message = f"This invitation is for {invitation.email}: sign out, or sign in as them, and open the link again."
        raise ValidationFailed(errors=(FieldError("/email", "other_account", message),))
    return known


def _role(text: str) -> Role:
    if text not in set(Role):
        message = f"A role is one of {', '.join(role.value for role in Role)}."
        raise ValidationFailed(errors=(FieldError("/role", "unknown", message),))
    return Role(text)
