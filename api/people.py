"""What is done about people, once: the functions that console and command line share. They answer with JSON.

Each is one short transaction. Whether the one who asks may do it is the console's to judge before; the command line belongs to
whoever has the store.
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from api.schemas import known_id
from api.views import Json
from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import ProjectId, UserId
from domain.instants import wire
from domain.texts import kept
from domain.users import Invitation, OpenSession, Role, User
from store import factors, invitations, members, sessions, users
from store.database import Database

LINK_LEADS_NOWHERE = "This invitation was used before, withdrawn, or is too old. Ask an owner of the project for a new one."


class People:
    """Users, members, invitations and sessions, on an opened store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_users(self) -> Json:
        """Everyone with an account, with the role in each project."""
        async with self._database.reading() as session:
            administrators = await members.list_administrators(session)
            rows = []
            for user in await users.list_users(session):
                roles = (await members.read_access(session, user.user_id)).roles
                rows.append({**_user(user), "administrator": user.user_id in administrators, "roles": dict(roles)})
        return {"data": rows}

    async def create_user(self, email: str, *, is_administrator: bool) -> Json:
        """A new account, and the token of the link that signs it in first. Raises: ValidationFailed."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            user = await users.create_user(session, email=email, now=now)
            if is_administrator:
                await members.promote(session, user.user_id, now=now)
            token = await users.create_login_link(session, now=now, user_id=user.user_id)
        return {**_user(user), "administrator": is_administrator, "token": token}

    async def create_link(self, email_or_id: str | None) -> str:
        """The token of a link that signs in once, as this person or the first administrator. Raises: NotFound."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            user_id = None if email_or_id is None else (await _find(session, email_or_id)).user_id
            return await users.create_login_link(session, now=now, user_id=user_id)

    async def delete_user(self, email_or_id: str) -> Json:
        """The account, gone. Raises: NotFound; ValidationFailed for the last administrator or owner."""
        async with self._database.transaction() as session:
            user = await _find(session, email_or_id)
            await members.delete_user(session, user.user_id)
        return _user(user)

    async def set_administrator(self, email_or_id: str, *, is_administrator: bool) -> Json:
        """The person, administrator or not. Raises: NotFound; ValidationFailed for the last one."""
        async with self._database.transaction() as session:
            user = await _find(session, email_or_id)
            if is_administrator:
                await members.promote(session, user.user_id, now=await self._database.now(session))
            else:
                await members.demote(session, user.user_id)
        return {**_user(user), "administrator": is_administrator}

    async def reset_totp(self, email_or_id: str) -> Json:
        """The person signs in without a code from now on. Raises: NotFound."""
        async with self._database.transaction() as session:
            user = await _find(session, email_or_id)
            was_on = await factors.remove_totp(session, user.user_id)
        return {**_user(user), "totp_removed": was_on}

    async def list_members(self, project_id: str) -> Json:
        """The project's people and those invited."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            found = await members.list_members(session, ProjectId(known_id(project_id)))
            invited = await invitations.list_invitations(session, ProjectId(known_id(project_id)), now=now)
        rows = [{"user_id": one.user_id, "email": one.email, "role": one.role.value, "since": wire(one.since)} for one in found]
        return {"data": rows, "invitations": [_invitation(one) for one in invited]}

    async def grant(self, project_id: str, email_or_id: str, role: str) -> Json:
        """The person has the role. Raises: NotFound; ValidationFailed for an unknown role or the last owner."""
        wanted = _role(role)
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            user = await _find(session, email_or_id)
            await members.grant(session, project_id=ProjectId(known_id(project_id)), user_id=user.user_id, role=wanted, now=now)
        return {**_user(user), "project_id": project_id, "role": wanted.value}

    async def change_role(self, project_id: str, user_id: str, role: str) -> None:
        """A member has another role. Raises: NotFound; ValidationFailed for an unknown role or the last owner."""
        wanted, project, user = _role(role), ProjectId(known_id(project_id)), UserId(known_id(user_id))
        async with self._database.transaction() as session:
            if user not in (one.user_id for one in await members.list_members(session, project)):
                raise NotFound("There is no such member in this project.")
            now = await self._database.now(session)
            await members.grant(session, project_id=project, user_id=user, role=wanted, now=now)

    async def remove_member(self, project_id: str, user_id: str) -> None:
        """The member belongs to the project no longer. Raises: NotFound; ValidationFailed for the last owner."""
        async with self._database.transaction() as session:
            project, user = ProjectId(known_id(project_id)), UserId(known_id(user_id))
            await members.revoke(session, project_id=project, user_id=user)

    async def revoke(self, project_id: str, email_or_id: str) -> Json:
        """The person belongs to the project no longer. Raises: NotFound; ValidationFailed for the last owner."""
        async with self._database.transaction() as session:
            user = await _find(session, email_or_id)
            await members.revoke(session, project_id=ProjectId(known_id(project_id)), user_id=user.user_id)
        return {**_user(user), "project_id": project_id, "role": None}

    async def invite(self, project_id: str, *, email: str, role: str, invited_by: UserId) -> str:
        """The token of a link into the project. Raises: NotFound, ValidationFailed."""
        async with self._database.transaction() as session:
            return await invitations.invite(
                session,
                project_id=ProjectId(known_id(project_id)),
                email=email,
                role=_role(role),
                invited_by=invited_by,
                now=await self._database.now(session),
            )

    async def withdraw(self, project_id: str, invitation_id: str) -> None:
        """The link leads nowhere any more. Raises: NotFound."""
        async with self._database.transaction() as session:
            project = ProjectId(known_id(project_id))
            await invitations.withdraw(session, project_id=project, invitation_id=known_id(invitation_id))

    async def find_invitation(self, token: str) -> Json | None:
        """What the link offers; None when it leads nowhere."""
        async with self._database.reading() as session:
            found = await invitations.find_invitation(session, token=token, now=await self._database.now(session))
        return None if found is None else _invitation(found)

    async def join(self, token: str, *, as_user: UserId | None) -> UserId:
        """Who is a member now: `as_user`, who is signed in, or a new account with the invitation's address.

        Raises: NotFound for a link that leads nowhere; ValidationFailed when somebody else has to take it.
        """
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            invitation = await invitations.use_invitation(session, token=token, now=now)
            if invitation is None:
                raise NotFound(LINK_LEADS_NOWHERE)
            user_id = await _taker(session, invitation, as_user, now)
            project_id = invitation.project_id
            has = (await members.read_access(session, user_id)).roles.get(project_id)
            if has is None or not has.allows(invitation.role):
                await members.grant(session, project_id=project_id, user_id=user_id, role=invitation.role, now=now)
        return user_id

    async def list_sessions(self, user_id: UserId, *, token: str = "") -> Json:
        """Where the person is signed in; `token` is that of the session that asks."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            found = await sessions.list_sessions(session, user_id, now=now, token=token)
        return {"data": [_session(one) for one in found]}

    async def list_sessions_of(self, email_or_id: str) -> Json:
        """The same for somebody that is named. Raises: NotFound."""
        async with self._database.reading() as session:
            user = await _find(session, email_or_id)
        return await self.list_sessions(user.user_id)

    async def end_session(self, user_id: UserId, session_id: str) -> None:
        """One of the person's sessions is over. Raises: NotFound."""
        async with self._database.transaction() as session:
            if not await sessions.end_session(session, user_id, session_id=known_id(session_id)):
                raise NotFound("There is no such session: it may have ended by itself.")

    async def end_sessions(self, user_id: UserId, *, but_for: str) -> int:
        """All of the person's sessions are over but that of this token; how many there were."""
        async with self._database.transaction() as session:
            return await sessions.end_sessions(session, user_id, but_for=but_for)

    async def end_sessions_of(self, email_or_id: str) -> Json:
        """All sessions of somebody are over, and his waiting links lead nowhere. Raises: NotFound."""
        async with self._database.transaction() as session:
            user = await _find(session, email_or_id)
            await users.spend_links(session, user.user_id, now=await self._database.now(session))
            ended = await sessions.end_sessions(session, user.user_id)
        return {**_user(user), "ended": ended}


def _invitation(invitation: Invitation) -> Json:
    return {
        "id": invitation.id,
        "project_name": invitation.project_name,
        "email": invitation.email,
        "role": invitation.role.value,
        "expires_at": wire(invitation.expires_at),
    }


async def _taker(session: AsyncSession, invitation: Invitation, as_user: UserId | None, now: datetime) -> UserId:
    """Who takes the invitation. Its address is who was meant: nobody takes it by mistake under another one."""
    try:
        known = await users.find_user(session, invitation.email)
    except NotFound:
        known = None
    if as_user is None and known is None:
        return (await users.create_user(session, email=invitation.email, now=now)).user_id
    if known is None or as_user != known.user_id:
        message = f"This invitation is for {invitation.email}: sign out, or sign in as them, and open the link again."
        raise ValidationFailed(errors=(FieldError("/email", "other_account", message),))
    return known.user_id


async def _find(session: AsyncSession, email_or_id: str) -> User:
    return await users.find_user(session, kept(email_or_id))


def _role(text: str) -> Role:
    if text not in set(Role):
        message = f"A role is one of {', '.join(role.value for role in Role)}."
        raise ValidationFailed(errors=(FieldError("/role", "unknown", message),))
    return Role(text)


def _user(user: User) -> Json:
    return {"user_id": user.user_id, "email": user.email, "has_password": user.has_password}


def _session(one: OpenSession) -> Json:
    times: dict[str, datetime] = {"created_at": one.created_at, "seen_at": one.seen_at}
    return {
        "id": one.id,
        **{name: wire(at) for name, at in times.items()},
        "address": one.address,
        "user_agent": one.user_agent,
        "is_this": one.is_this,
    }
