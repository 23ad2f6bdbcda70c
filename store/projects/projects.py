"""Projects and their signing secrets: made, read, changed. Their API keys are in `store.projects.api_keys`.

A signing secret leaves this file as text when it is made and when a callback is to be signed, and is stored sealed alone.
Called by the API's operations, which the command line shares, and the callback activity.
"""

import json
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import ProjectId
from domain.projects import UNSET, CreatedProject, Project, ProjectChanges, Scope
from domain.receipts import DEFAULT_TIMEOUT_MINUTES
from domain.results import LateResult
from domain.security.signing import SigningSecrets
from domain.values.text import sanitize
from store.crypto.encryption import Sealer
from store.crypto.root_secret import root_of_new_data_key
from store.crypto.tokens import new_project_id, new_secret_id, new_signing_secret
from store.db.paging import LISTED_AT_MOST
from store.projects.api_keys import create_key
from store.schema import tables
from store.schema.mappers import project_from

PROJECTS = tables.Project.metadata.tables["projects"]
SECRETS = tables.SigningSecret.metadata.tables["signing_secrets"]
FIRST_KEY_LABEL = "first key"
OVERLAP = timedelta(hours=24)
# A deleted project is found by nobody: see `store.projects.deletion`.
IS_KEPT = PROJECTS.c.deleted_at.is_(None)


async def create_project(
    session: AsyncSession,
    sealer: Sealer,
    *,
    name: str,
    livemode: bool,
    repair_url: str | None = None,
    alert_emails: tuple[str, ...] = (),
    timeout_minutes: float = DEFAULT_TIMEOUT_MINUTES,
    scopes: frozenset[Scope] = frozenset({Scope.INGEST}),
    now: datetime,
) -> CreatedProject:
    """A new project with its data key, signing secret and first key.

    Raises:
        ValidationFailed: the name is taken.
        SecretUnknown: the store was sealed with another root secret.
    """
    project_id, name = new_project_id(), sanitize(name)
    await _refuse_taken_name(session, name)
    values = {
        "id": project_id,
        "name": name,
        "mode": "live" if livemode else "test",
        "repair_url": repair_url,
        "repair_url_gone": False,
        "timeout_minutes": timeout_minutes,
        "late_result": LateResult.RESOLVE.value,
        "snapshots": False,
        "alert_emails": json.dumps(alert_emails),
        "data_key": (await root_of_new_data_key(session, sealer)).new_data_key(project_id),
        "created_at": now,
    }
    try:
        await session.execute(insert(PROJECTS).values(values))
    except IntegrityError as error:  # another process took the name just now
        raise _name_taken() from error
    signing_secret = await _add_secret(session, sealer, project_id, role="current", now=now)
    key, api_key = await create_key(session, sealer, project_id=project_id, label=FIRST_KEY_LABEL, scopes=scopes, now=now)
    project = await read_project(session, project_id)
    return CreatedProject(project=project, key=key, api_key=api_key, signing_secret=signing_secret)


async def read_project(session: AsyncSession, project_id: ProjectId) -> Project:
    """Raises: NotFound."""
    return project_from(await _row(session, select(PROJECTS).where(PROJECTS.c.id == project_id, IS_KEPT)))


async def find_project(session: AsyncSession, name_or_id: str) -> Project:
    """The project that a person means. Raises: NotFound."""
    is_meant = or_(PROJECTS.c.id == name_or_id, PROJECTS.c.name == name_or_id)
    # An id before a name, should someone name a project after another's id.
    return project_from(
        await _row(session, select(PROJECTS).where(is_meant, IS_KEPT).order_by(PROJECTS.c.id != name_or_id).limit(1))
    )


async def list_projects(
    session: AsyncSession, *, among: Collection[ProjectId] | None = None, is_working: bool = False
) -> list[Project]:
    """The newest 1,000 projects, oldest first; `among` None: of all; `is_working`: of those that are not suspended."""
    newest = select(PROJECTS).where(IS_KEPT).order_by(PROJECTS.c.id.desc()).limit(LISTED_AT_MOST)
    if among is not None:
        newest = newest.where(PROJECTS.c.id.in_(sorted(among, reverse=True)[:LISTED_AT_MOST]))
    if is_working:
        newest = newest.where(PROJECTS.c.suspended_at.is_(None))
    return [project_from(row) for row in reversed((await session.execute(newest)).all())]


async def change_project(session: AsyncSession, project_id: ProjectId, *, changes: ProjectChanges) -> Project:
    """The project after the changes; a repair URL given, even the same again, is no longer gone.

    Raises:
        NotFound: no such project.
        ValidationFailed: the new name is taken.
    """
    if changes.name is not UNSET:
        await _refuse_taken_name(session, sanitize(changes.name), but_for=project_id)
    values = _changed_values(changes)
    if values:
        try:
            await session.execute(update(PROJECTS).where(PROJECTS.c.id == project_id, IS_KEPT).values(values))
        except IntegrityError as error:
            raise _name_taken() from error
    return await read_project(session, project_id)


async def set_suspended(session: AsyncSession, project_id: ProjectId, *, suspended: bool, now: datetime) -> Project:
    """The project, suspended since now or before, or not at all. Raises: NotFound."""
    suspension = update(PROJECTS).where(PROJECTS.c.id == project_id, IS_KEPT)
    if suspended:
        suspension = suspension.where(PROJECTS.c.suspended_at.is_(None)).values(suspended_at=now)
    else:
        suspension = suspension.values(suspended_at=None)
    await session.execute(suspension)
    return await read_project(session, project_id)


async def read_data_key(session: AsyncSession, project_id: ProjectId) -> bytes:
    """The project's data key, sealed, as `Sealer` takes it. Raises: NotFound."""
    sealed: bytes = (await _row(session, select(PROJECTS.c.data_key).where(PROJECTS.c.id == project_id, IS_KEPT))).data_key
    return sealed


async def signing_secrets(session: AsyncSession, sealer: Sealer, project_id: ProjectId, now: datetime) -> SigningSecrets:
    """What the project's callbacks are signed with; the next secret alone once the rotation's overlap is over.

    Raises: NotFound; SealBroken with another root secret.
    """
    data_key = await read_data_key(session, project_id)
    used = select(SECRETS).where(SECRETS.c.project_id == project_id, SECRETS.c.role.in_(("current", "next")))
    rows = {row.role: row for row in await session.execute(used)}
    by_role = {
        role: sealer.open(
            data_key, project_id=project_id, table="signing_secrets", column="sealed", row=row.id, sealed=row.sealed
        ).decode()
        for role, row in rows.items()
    }
    if "next" in rows and rows["next"].created_at <= now - OVERLAP:
        return SigningSecrets(current=by_role["next"], next=None)
    return SigningSecrets(current=by_role["current"], next=by_role.get("next"))


async def overlap_ends_at(session: AsyncSession, project_id: ProjectId, now: datetime) -> datetime | None:
    """Until when callbacks carry both signatures; None when no rotation is under way."""
    is_next = (SECRETS.c.project_id == project_id, SECRETS.c.role == "next", SECRETS.c.created_at > now - OVERLAP)
    begun_at: datetime | None = await session.scalar(select(SECRETS.c.created_at).where(*is_next))
    return None if begun_at is None else begun_at + OVERLAP


async def rotate_signing_secret(session: AsyncSession, sealer: Sealer, *, project_id: ProjectId, now: datetime) -> str:
    """Begin a rotation: a next secret, shown this once, signs beside the current one for 24 hours, and alone from then on.

    A next one already there is replaced; one whose overlap is over is the current one first. Raises: NotFound.
    """
    await _hold(session, project_id)
    if await overlap_ends_at(session, project_id, now) is None:
        await _promote_next(session, project_id)
    await _give_role(session, project_id, "next", "retired")
    return await _add_secret(session, sealer, project_id, role="next", now=now)


async def finish_rotation(session: AsyncSession, *, project_id: ProjectId) -> None:
    """End a rotation: the next secret is the current one from here on, and the old one is erased.

    Raises: NotFound when there is no such project, or no rotation under way.
    """
    await _hold(session, project_id)
    if not await _promote_next(session, project_id):
        raise NotFound("No rotation of the signing secret is under way.")


async def overdue_rotations(session: AsyncSession, now: datetime) -> list[ProjectId]:
    """The projects whose overlap of two signing secrets is over."""
    over = select(SECRETS.c.project_id).where(SECRETS.c.role == "next", SECRETS.c.created_at <= now - OVERLAP)
    return sorted({ProjectId(row.project_id) for row in await session.execute(over)})


async def finish_overdue_rotation(session: AsyncSession, project_id: ProjectId, now: datetime) -> None:
    """Erase the secret that signs nothing any more, if the overlap is over; nothing for a project deleted meanwhile."""
    with suppress(NotFound):
        await _hold(session, project_id)
        # Once more: it may have been finished, and another begun, while this waited.
        if await overlap_ends_at(session, project_id, now) is None:
            await _promote_next(session, project_id)


def _changed_values(changes: ProjectChanges) -> dict[str, object]:
    values: dict[str, object] = {}
    if changes.name is not UNSET:
        values["name"] = sanitize(changes.name)
    if changes.repair_url is not UNSET:
        values |= {"repair_url": changes.repair_url, "repair_url_gone": False}
    if changes.timeout_minutes is not UNSET:
        values["timeout_minutes"] = changes.timeout_minutes
    if changes.alert_emails is not UNSET:
        values["alert_emails"] = json.dumps(changes.alert_emails)
    if changes.late_result is not UNSET:
        values["late_result"] = changes.late_result.value
    if changes.snapshots is not UNSET:
        values["snapshots"] = changes.snapshots
    return values


async def _row(session: AsyncSession, query: Select[Any]) -> Row[Any]:
    row: Row[Any] | None = (await session.execute(query)).first()
    if row is None:
        raise NotFound("There is no such project.")
    return row


async def _hold(session: AsyncSession, project_id: ProjectId) -> None:
    """Let no other rotation of this project run beside this transaction (SQLite has one writer anyway)."""
    await _row(session, select(PROJECTS.c.id).where(PROJECTS.c.id == project_id, IS_KEPT).with_for_update())


async def _refuse_taken_name(session: AsyncSession, name: str, *, but_for: ProjectId | None = None) -> None:
    taken = select(PROJECTS.c.id).where(PROJECTS.c.name == name, PROJECTS.c.id != (but_for or ""))
    if (await session.execute(taken)).first() is not None:
        raise _name_taken()


def _name_taken() -> ValidationFailed:
    return ValidationFailed(errors=(FieldError("/name", "taken", "Another project has this name."),))


async def _promote_next(session: AsyncSession, project_id: ProjectId) -> bool:
    """The next secret, if there is one, becomes the current one."""
    is_next = (SECRETS.c.project_id == project_id, SECRETS.c.role == "next")
    if (await session.execute(select(SECRETS.c.id).where(*is_next))).first() is None:
        return False
    await _give_role(session, project_id, "current", "retired")
    await _give_role(session, project_id, "next", "current")
    return True


async def _add_secret(session: AsyncSession, sealer: Sealer, project_id: ProjectId, *, role: str, now: datetime) -> str:
    secret_id, secret = new_secret_id(), new_signing_secret()
    sealed = sealer.seal(
        await read_data_key(session, project_id),
        project_id=project_id,
        table="signing_secrets",
        column="sealed",
        row=secret_id,
        plaintext=secret.encode(),
    )
    row = {"id": secret_id, "project_id": project_id, "role": role, "sealed": sealed, "created_at": now}
    await session.execute(insert(SECRETS).values(row))
    return secret


async def _give_role(session: AsyncSession, project_id: ProjectId, old: str, new: str) -> None:
    values: dict[str, object] = {"role": new} | ({"sealed": b""} if new == "retired" else {})
    await session.execute(update(SECRETS).where(SECRETS.c.project_id == project_id, SECRETS.c.role == old).values(values))
