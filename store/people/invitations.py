"""Invitations into a project: a link that anyone who has it can accept, once, within 7 days.

An invitation alone makes no member, because nobody has verified the address. A user who already has
an account accepts it while signed in. The token is stored as a digest. Called by
`operations.people`.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import ProjectId
from domain.users import Invitation, Role
from store.crypto.tokens import new_invitation_id, new_token, token_digest
from store.db.paging import LISTED_AT_MOST
from store.people.email_addresses import sign_in_address
from store.people.members import lock_project
from store.people.users import address_problem
from store.schema.tables import INVITATIONS, PROJECTS

INVITATION_LIFETIME = timedelta(days=7)


async def invite(
    session: AsyncSession,
    *,
    project_id: ProjectId,
    email: str,
    role: Role,
    invited_by: str,
    now: datetime,
) -> tuple[str, str]:
    """Create an invitation; returns the token of its link and its id. An earlier link for the
    address becomes invalid.

    Raises:
        NotFound: no such project.
        ValidationFailed: the address is invalid.
    """
    if problem := address_problem(email):
        raise ValidationFailed(errors=(FieldError("/email", "invalid", problem),))
    await lock_project(session, project_id)
    token, invitation_id, email = new_token(), new_invitation_id(), sign_in_address(email)
    await session.execute(
        delete(INVITATIONS).where(
            INVITATIONS.c.project_id == project_id, INVITATIONS.c.email == email
        )
    )
    await session.execute(
        insert(INVITATIONS).values(
            digest=token_digest(token),
            id=invitation_id,
            project_id=project_id,
            email=email,
            role=role.value,
            invited_by=invited_by,
            expires_at=now + INVITATION_LIFETIME,
        )
    )
    return token, invitation_id


async def list_invitations(
    session: AsyncSession, project_id: ProjectId, *, now: datetime
) -> list[Invitation]:
    """The newest 1,000 open invitations, oldest first."""
    newest = (
        _open(now)
        .where(INVITATIONS.c.project_id == project_id)
        .order_by(INVITATIONS.c.id.desc())
        .limit(LISTED_AT_MOST)
    )
    return [_invitation(row) for row in reversed((await session.execute(newest)).all())]


async def find_invitation(session: AsyncSession, *, token: str, now: datetime) -> Invitation | None:
    """The invitation of a link; None when it is unknown, accepted, withdrawn or expired."""
    row = (
        await session.execute(_open(now).where(INVITATIONS.c.digest == token_digest(token)))
    ).first()
    return None if row is None else _invitation(row)


async def use_invitation(session: AsyncSession, *, token: str, now: datetime) -> Invitation | None:
    """Find the invitation and use up its link; of concurrent callers only one gets it."""
    found = await find_invitation(session, token=token, now=now)
    if found is None:
        return None
    # before the invitation's row, in the same order as its deletion
    await lock_project(session, found.project_id)
    unused = update(INVITATIONS).where(
        INVITATIONS.c.id == found.id, INVITATIONS.c.used_at.is_(None)
    )
    taken = await session.execute(unused.values(used_at=now).returning(INVITATIONS.c.id))
    return found if taken.first() is not None else None


async def withdraw(session: AsyncSession, *, project_id: ProjectId, invitation_id: str) -> None:
    """Withdraw an invitation. Raises: NotFound."""
    is_meant = (INVITATIONS.c.project_id == project_id, INVITATIONS.c.id == invitation_id)
    withdrawn = await session.execute(
        delete(INVITATIONS).where(*is_meant).returning(INVITATIONS.c.id)
    )
    if withdrawn.first() is None:
        raise NotFound("There is no such invitation.")


def _open(now: datetime) -> Select[Any]:
    query = select(INVITATIONS, PROJECTS.c.name.label("project_name")).join(
        PROJECTS, PROJECTS.c.id == INVITATIONS.c.project_id
    )
    return query.where(
        INVITATIONS.c.used_at.is_(None),
        INVITATIONS.c.expires_at > now,
        PROJECTS.c.deleted_at.is_(None),
    )


def _invitation(row: Row[Any]) -> Invitation:
    return Invitation(
        id=row.id,
        project_id=ProjectId(row.project_id),
        project_name=row.project_name,
        email=row.email,
        role=Role(row.role),
        expires_at=row.expires_at,
    )
