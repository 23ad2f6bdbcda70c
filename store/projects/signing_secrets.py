"""The signing secrets of projects: created, read for signing, rotated.

A secret leaves this file as text only when it is created and when a callback is signed. The store
has it sealed. Called by the API's operations, which the command line shares, and by the callback
activity.
"""

from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from domain.ids import ProjectId
from domain.security.signing import SigningSecrets
from store.crypto.encryption import Sealer
from store.crypto.tokens import new_secret_id, new_signing_secret
from store.projects.data_keys import NOT_DELETED, project_row, read_data_key
from store.schema.tables import PROJECTS, SIGNING_SECRETS

OVERLAP = timedelta(hours=24)


async def signing_secrets(
    session: AsyncSession, sealer: Sealer, project_id: ProjectId, now: datetime
) -> SigningSecrets:
    """The secrets that sign the project's callbacks; only the next one after the rotation's
    overlap.

    Raises: NotFound; SealBroken with another root secret.
    """
    data_key = await read_data_key(session, project_id)
    used = select(SIGNING_SECRETS).where(
        SIGNING_SECRETS.c.project_id == project_id, SIGNING_SECRETS.c.role.in_(("current", "next"))
    )
    rows = {row.role: row for row in await session.execute(used)}
    by_role = {
        role: sealer.open(
            data_key,
            project_id=project_id,
            table="signing_secrets",
            column="sealed",
            row=row.id,
            sealed=row.sealed,
        ).decode()
        for role, row in rows.items()
    }
    if "next" in rows and rows["next"].created_at <= now - OVERLAP:
        return SigningSecrets(current=by_role["next"], next=None)
    return SigningSecrets(current=by_role["current"], next=by_role.get("next"))


async def overlap_ends_at(
    session: AsyncSession, project_id: ProjectId, now: datetime
) -> datetime | None:
    """The end of the time in which callbacks carry both signatures; None without a rotation."""
    is_next = (
        SIGNING_SECRETS.c.project_id == project_id,
        SIGNING_SECRETS.c.role == "next",
        SIGNING_SECRETS.c.created_at > now - OVERLAP,
    )
    begun_at: datetime | None = await session.scalar(
        select(SIGNING_SECRETS.c.created_at).where(*is_next)
    )
    return None if begun_at is None else begun_at + OVERLAP


async def rotate_signing_secret(
    session: AsyncSession, sealer: Sealer, *, project_id: ProjectId, now: datetime
) -> str:
    """Begin a rotation; returns the next secret, which is shown only once.

    It signs beside the current secret for 24 hours, and alone from then on. An existing next secret
    is replaced; if its overlap is over, it becomes the current one first. Raises: NotFound.
    """
    await _lock_project(session, project_id)
    if await overlap_ends_at(session, project_id, now) is None:
        await _promote_next(session, project_id)
    await _give_role(session, project_id, "next", "retired")
    return await add_secret(session, sealer, project_id, role="next", now=now)


async def finish_rotation(session: AsyncSession, *, project_id: ProjectId) -> None:
    """End a rotation: the next secret becomes the current one, and the old one is erased.

    Raises: NotFound when there is no such project, or no rotation under way.
    """
    await _lock_project(session, project_id)
    if not await _promote_next(session, project_id):
        raise NotFound("No rotation of the signing secret is under way.")


async def overdue_rotations(session: AsyncSession, now: datetime) -> list[ProjectId]:
    """The projects whose rotation overlap is over."""
    over = select(SIGNING_SECRETS.c.project_id).where(
        SIGNING_SECRETS.c.role == "next", SIGNING_SECRETS.c.created_at <= now - OVERLAP
    )
    return sorted({ProjectId(row.project_id) for row in await session.execute(over)})


async def finish_overdue_rotation(
    session: AsyncSession, project_id: ProjectId, now: datetime
) -> None:
    """End a rotation whose overlap is over. A project that was deleted meanwhile is ignored."""
    with suppress(NotFound):
        await _lock_project(session, project_id)
        # Checked again under the lock: another rotation may have begun meanwhile.
        if await overlap_ends_at(session, project_id, now) is None:
            await _promote_next(session, project_id)


async def add_secret(
    session: AsyncSession, sealer: Sealer, project_id: ProjectId, *, role: str, now: datetime
) -> str:
    secret_id, secret = new_secret_id(), new_signing_secret()
    sealed = sealer.seal(
        await read_data_key(session, project_id),
        project_id=project_id,
        table="signing_secrets",
        column="sealed",
        row=secret_id,
        plaintext=secret.encode(),
    )
    row = {
        "id": secret_id,
        "project_id": project_id,
        "role": role,
        "sealed": sealed,
        "created_at": now,
    }
    await session.execute(insert(SIGNING_SECRETS).values(row))
    return secret


async def _lock_project(session: AsyncSession, project_id: ProjectId) -> None:
    """Lock the project against concurrent rotations.

    On SQLite the transaction is the only writer.
    """
    await project_row(
        session,
        select(PROJECTS.c.id).where(PROJECTS.c.id == project_id, NOT_DELETED).with_for_update(),
    )


async def _promote_next(session: AsyncSession, project_id: ProjectId) -> bool:
    """The next secret, if there is one, becomes the current one."""
    is_next = (SIGNING_SECRETS.c.project_id == project_id, SIGNING_SECRETS.c.role == "next")
    if (await session.execute(select(SIGNING_SECRETS.c.id).where(*is_next))).first() is None:
        return False
    await _give_role(session, project_id, "current", "retired")
    await _give_role(session, project_id, "next", "current")
    return True


async def _give_role(session: AsyncSession, project_id: ProjectId, old: str, new: str) -> None:
    values: dict[str, object] = {"role": new} | ({"sealed": b""} if new == "retired" else {})
    await session.execute(
        update(SIGNING_SECRETS)
        .where(SIGNING_SECRETS.c.project_id == project_id, SIGNING_SECRETS.c.role == old)
        .values(values)
    )
