"""Members of projects and administrators of the installation. A change of a user's rights ends
their sessions.

Two rules always hold: a project that has an owner keeps at least one, and the installation keeps an
administrator. Called by `operations.people`, which console and command line share, and by the
console for every request.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import BulkId, EventId, GroupId, IncidentId, ProjectId, UserId
from domain.users import Access, Member, Role
from domain.values.enums import member_or_text
from store.db.paging import LISTED_AT_MOST
from store.people.sessions import end_sessions
from store.schema.tables import (
    ADMINISTRATORS,
    BULK_REPAIRS,
    IDENTITIES,
    INCIDENT_GROUPS,
    INCIDENTS,
    INVITATIONS,
    LOGIN_LINKS,
    MEMBERS,
    PASSKEY_CHALLENGES,
    PASSKEYS,
    PROJECTS,
    RECEIPTS,
    RECOVERY_CODES,
    SAVED_VIEWS,
    TOTP_FACTORS,
    USERS,
)

# The tables of an account's credentials, apart from its password.
FACTORS = (
    *(LOGIN_LINKS, TOTP_FACTORS, RECOVERY_CODES, PASSKEYS, PASSKEY_CHALLENGES),
    IDENTITIES,
)


async def read_access(session: AsyncSession, user_id: UserId) -> Access:
    """The user's current roles; none for an unknown user."""
    rows = await session.execute(
        select(MEMBERS.c.project_id, MEMBERS.c.role).where(MEMBERS.c.user_id == user_id)
    )
    roles = {ProjectId(row.project_id): member_or_text(Role, row.role) for row in rows}
    of_user = select(ADMINISTRATORS.c.user_id).where(ADMINISTRATORS.c.user_id == user_id)
    return Access(is_administrator=await session.scalar(of_user) is not None, roles=roles)


async def read_roles(
    session: AsyncSession, user_ids: Collection[UserId]
) -> Mapping[UserId, Mapping[ProjectId, Role | str]]:
    """The roles of each of these users; empty for one without memberships."""
    rows = await session.execute(
        select(MEMBERS).where(MEMBERS.c.user_id.in_(user_ids)).order_by(MEMBERS.c.project_id)
    )
    found: dict[UserId, dict[ProjectId, Role | str]] = {user_id: {} for user_id in user_ids}
    for row in rows:
        found[UserId(row.user_id)][ProjectId(row.project_id)] = member_or_text(Role, row.role)
    return found


async def project_of_event(session: AsyncSession, event_id: EventId) -> ProjectId | None:
    """The project of the event; None when there is no such event."""
    found = await session.scalar(
        select(RECEIPTS.c.project_id).where(RECEIPTS.c.event_id == event_id)
    )
    return None if found is None else ProjectId(found)


async def project_of_incident(session: AsyncSession, incident_id: IncidentId) -> ProjectId | None:
    """The project of the incident; None when there is no such incident."""
    found = await session.scalar(
        select(INCIDENTS.c.project_id).where(INCIDENTS.c.id == incident_id)
    )
    return None if found is None else ProjectId(found)


async def project_of_group(session: AsyncSession, group_id: GroupId) -> ProjectId | None:
    """The project of the group of incidents; None when there is no such group."""
    found = await session.scalar(
        select(INCIDENT_GROUPS.c.project_id).where(INCIDENT_GROUPS.c.id == group_id)
    )
    return None if found is None else ProjectId(found)


async def project_of_bulk_repair(session: AsyncSession, bulk_id: BulkId) -> ProjectId | None:
    """The project of the bulk repair; None when there is no such bulk repair."""
    found = await session.scalar(
        select(BULK_REPAIRS.c.project_id).where(BULK_REPAIRS.c.id == bulk_id)
    )
    return None if found is None else ProjectId(found)


async def list_members(session: AsyncSession, project_id: ProjectId) -> list[Member]:
    """The first 1,000 members, oldest membership first; administrators only if they are members
    too.
    """
    query = select(MEMBERS, USERS.c.email).join(USERS, USERS.c.id == MEMBERS.c.user_id)
    query = query.where(MEMBERS.c.project_id == project_id).order_by(
        MEMBERS.c.since, MEMBERS.c.user_id
    )
    rows = await session.execute(query.limit(LISTED_AT_MOST))
    return [
        Member(UserId(row.user_id), row.email, member_or_text(Role, row.role), row.since)
        for row in rows
    ]


async def grant(
    session: AsyncSession, *, project_id: ProjectId, user_id: UserId, role: Role, now: datetime
) -> Role | str | None:
    """Give the user a role in the project; returns the previous one. After a change they must sign
    in again.

    Raises:
        NotFound: no such project or user.
        ValidationFailed: the project would lose its last owner.
    """
    await lock_project(session, project_id)
    if await session.scalar(select(USERS.c.id).where(USERS.c.id == user_id)) is None:
        raise NotFound("There is no such user.")
    has = await _role(session, project_id, user_id)
    if has is role:
        return has
    if has is Role.OWNER:
        await _refuse_last_owner(session, project_id)
    if has is None:
        row = {"project_id": project_id, "user_id": user_id, "role": role.value, "since": now}
        await session.execute(insert(MEMBERS).values(row))
    else:
        await session.execute(
            update(MEMBERS).where(*_is(project_id, user_id)).values(role=role.value)
        )
        await _withdraw_invitations(session, user_id, INVITATIONS.c.project_id == project_id)
    await end_sessions(session, user_id)
    return has


async def revoke(session: AsyncSession, *, project_id: ProjectId, user_id: UserId) -> Role | str:
    """Remove the user from the project; returns their role. They must sign in again.

    Raises:
        NotFound: no such project, or no member of it.
        ValidationFailed: this is the project's last owner.
    """
    await lock_project(session, project_id)
    has = await _role(session, project_id, user_id)
    if has is None:
        raise NotFound("There is no such member in this project.")
    if has is Role.OWNER:
        await _refuse_last_owner(session, project_id)
    await session.execute(delete(MEMBERS).where(*_is(project_id, user_id)))
    await _withdraw_invitations(session, user_id, INVITATIONS.c.project_id == project_id)
    await end_sessions(session, user_id)
    return has


async def lock_project(session: AsyncSession, project_id: ProjectId) -> None:
    """Lock the project against concurrent changes of its members and its deletion. SQLite has one
    writer anyway.

    Raises: NotFound: there is no such project, or it is deleted.
    """
    held = (
        select(PROJECTS.c.id)
        .where(PROJECTS.c.id == project_id, PROJECTS.c.deleted_at.is_(None))
        .with_for_update()
    )
    if await session.scalar(held) is None:
        raise NotFound("There is no such project.")


async def list_administrators(session: AsyncSession) -> frozenset[UserId]:
    return frozenset(
        UserId(found) for found in await session.scalars(select(ADMINISTRATORS.c.user_id))
    )


async def has_administrator(session: AsyncSession) -> bool:
    """Whether the installation has an administrator; false before the first sign-in."""
    return await session.scalar(select(ADMINISTRATORS.c.user_id).limit(1)) is not None


async def promote(session: AsyncSession, user_id: UserId, *, now: datetime) -> bool:
    """Make the user an administrator; returns whether that is a change. After a change they must
    sign in again.
    """
    if user_id in await _lock_administrators(session):
        return False
    await session.execute(insert(ADMINISTRATORS).values(user_id=user_id, since=now))
    await end_sessions(session, user_id)
    return True


async def demote(session: AsyncSession, user_id: UserId) -> bool:
    """Revoke the user's administration; returns whether that is a change. Memberships stay.

    After a change they must sign in again. Raises: ValidationFailed: they are the last
    administrator.
    """
    administrators = await _lock_administrators(session)
    if user_id not in administrators:
        return False
    if len(administrators) == 1:
        raise _refused(
            "last_administrator", "This is the last administrator: make another one first."
        )
    await session.execute(delete(ADMINISTRATORS).where(ADMINISTRATORS.c.user_id == user_id))
    await _withdraw_invitations(session, user_id)
    await end_sessions(session, user_id)
    return True


async def delete_user(session: AsyncSession, user_id: UserId) -> Mapping[ProjectId, Role | str]:
    """Delete the account with its credentials and sessions; returns its memberships. Its audit
    entries stay.

    Raises: ValidationFailed: they are the last administrator, or the last owner of a project.
    """
    await demote(session, user_id)
    roles = {
        project_id: await revoke(session, project_id=project_id, user_id=user_id)
        for project_id in sorted((await read_access(session, user_id)).roles)
    }
    await _withdraw_invitations(session, user_id)
    await end_sessions(session, user_id)
    for table in FACTORS:
        await session.execute(delete(table).where(table.c.user_id == user_id))
    # Those that are shared stay with their project.
    private = (SAVED_VIEWS.c.user_id == user_id, SAVED_VIEWS.c.project_id.is_(None))
    await session.execute(delete(SAVED_VIEWS).where(*private))
    await session.execute(delete(USERS).where(USERS.c.id == user_id))
    return roles


async def _role(session: AsyncSession, project_id: ProjectId, user_id: UserId) -> Role | str | None:
    found = await session.scalar(select(MEMBERS.c.role).where(*_is(project_id, user_id)))
    return None if found is None else member_or_text(Role, found)


async def _refuse_last_owner(session: AsyncSession, project_id: ProjectId) -> None:
    owners = select(MEMBERS.c.user_id).where(
        MEMBERS.c.project_id == project_id, MEMBERS.c.role == Role.OWNER.value
    )
    if len((await session.execute(owners.limit(2))).all()) < 2:
        raise _refused(
            "last_owner", "This is the project's last owner: make another member owner first."
        )


async def _withdraw_invitations(
    session: AsyncSession, user_id: UserId, *narrowed: ColumnElement[bool]
) -> None:
    """Withdraw the invitations of a user who may not invite any more."""
    await session.execute(delete(INVITATIONS).where(INVITATIONS.c.invited_by == user_id, *narrowed))


async def _lock_administrators(session: AsyncSession) -> Sequence[str]:
    held = select(ADMINISTRATORS.c.user_id).order_by(ADMINISTRATORS.c.user_id).with_for_update()
    return (await session.scalars(held)).all()


def _is(project_id: ProjectId, user_id: UserId) -> tuple[ColumnElement[bool], ...]:
    return (MEMBERS.c.project_id == project_id, MEMBERS.c.user_id == user_id)


def _refused(code: str, message: str) -> ValidationFailed:
    return ValidationFailed(errors=(FieldError("/role", code, message),))
