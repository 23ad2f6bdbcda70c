"""Projects: created, read, changed, suspended. Their signing secrets and API keys are in files of
their own.

Called by the operations that REST, console and command line share, and by the callback activity.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Select, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, ValidationFailed
from domain.ids import ProjectId
from domain.projects import UNSET, CreatedProject, Project, ProjectChanges, Scope
from domain.receipts import DEFAULT_TIMEOUT_MINUTES
from domain.results import LateResult
from domain.values.text import sanitize
from store.alerts.destinations import replace_email_destinations
from store.crypto.encryption import Sealer
from store.crypto.root_secret import root_of_new_data_key
from store.crypto.tokens import new_project_id
from store.db.paging import LISTED_AT_MOST
from store.projects.api_keys import create_key
from store.projects.data_keys import NOT_DELETED, project_row, projects_of
from store.projects.signing_secrets import add_secret
from store.schema.mappers import own_names_from, own_names_text, project_from, silent_types_text
from store.schema.tables import PROJECTS, SOURCES

FIRST_KEY_LABEL = "first key"
SETS = ("providers", "event_types", "effect_types")


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
    """Create a project with its data key, signing secret and first API key.

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
        "data_key": (await root_of_new_data_key(session, sealer)).new_data_key(project_id),
        "created_at": now,
    }
    try:
        await session.execute(insert(PROJECTS).values(values))
    except IntegrityError as error:  # another process took the name just now
        raise _name_taken() from error
    await replace_email_destinations(session, project_id, alert_emails)
    signing_secret = await add_secret(session, sealer, project_id, role="current", now=now)
    key, api_key = await create_key(
        session, sealer, project_id=project_id, label=FIRST_KEY_LABEL, scopes=scopes, now=now
    )
    project = await read_project(session, project_id)
    return CreatedProject(project=project, key=key, api_key=api_key, signing_secret=signing_secret)


async def read_project(session: AsyncSession, project_id: ProjectId) -> Project:
    """Raises: NotFound."""
    is_meant = (PROJECTS.c.id == project_id, NOT_DELETED)
    return await _project(session, select(PROJECTS).where(*is_meant))


async def find_project(session: AsyncSession, name_or_id: str) -> Project:
    """The project with this name or id. Raises: NotFound."""
    is_meant = or_(PROJECTS.c.id == name_or_id, PROJECTS.c.name == name_or_id)
    # The id comes first, in case a project is named after another's id.
    found = select(PROJECTS).where(is_meant, NOT_DELETED).order_by(PROJECTS.c.id != name_or_id)
    return await _project(session, found.limit(1))


async def list_projects(
    session: AsyncSession,
    *,
    among: Collection[ProjectId] | None = None,
    is_working: bool = False,
    with_destinations: bool = True,
) -> list[Project]:
    """The newest 1,000 projects, oldest first.

    `among` limits them to these ids, None to none. `is_working` excludes suspended projects.
    Without `with_destinations` they have none.
    """
    newest = (
        select(PROJECTS).where(NOT_DELETED).order_by(PROJECTS.c.id.desc()).limit(LISTED_AT_MOST)
    )
    if among is not None:
        newest = newest.where(PROJECTS.c.id.in_(sorted(among, reverse=True)[:LISTED_AT_MOST]))
    if is_working:
        newest = newest.where(PROJECTS.c.suspended_at.is_(None))
    rows = (await session.execute(newest)).all()[::-1]
    if not with_destinations:
        return [project_from(row, ()) for row in rows]
    return await projects_of(session, rows)


async def change_project(
    session: AsyncSession, project_id: ProjectId, *, changes: ProjectChanges
) -> Project:
    """Change the project. Any given repair URL, even the same one, clears `repair_url_gone`.

    Raises:
        NotFound: no such project.
        ValidationFailed: the new name is taken.
    """
    if changes.name is not UNSET:
        await _refuse_taken_name(session, sanitize(changes.name), but_for=project_id)
    values = {**_changed_values(changes), **await _changed_names(session, project_id, changes)}
    if values:
        try:
            await session.execute(
                update(PROJECTS).where(PROJECTS.c.id == project_id, NOT_DELETED).values(values)
            )
        except IntegrityError as error:
            raise _name_taken() from error
    if changes.alert_emails is not UNSET:
        await replace_email_destinations(session, project_id, changes.alert_emails)
    return await read_project(session, project_id)


async def set_suspended(
    session: AsyncSession, project_id: ProjectId, *, suspended: bool, now: datetime
) -> Project:
    """Suspend or resume the project; a project that is already suspended keeps its time.

    Its silence, and that of its sources, counts from when it is resumed. Raises: NotFound.
    """
    suspension = update(PROJECTS).where(PROJECTS.c.id == project_id, NOT_DELETED)
    if suspended:
        suspension = suspension.where(PROJECTS.c.suspended_at.is_(None)).values(suspended_at=now)
    else:
        suspension = suspension.where(PROJECTS.c.suspended_at.is_not(None))
        suspension = suspension.values(suspended_at=None, resumed_at=now)
    changed = await session.execute(suspension.returning(PROJECTS.c.id))
    if changed.first() is not None and not suspended:
        await _resume_sources(session, project_id, now)
    return await read_project(session, project_id)


async def _resume_sources(session: AsyncSession, project_id: ProjectId, now: datetime) -> None:
    """Record that the sources of a resumed project go on. They received nothing meanwhile."""
    kept = select(SOURCES.c.id).where(
        SOURCES.c.project_id == project_id, SOURCES.c.deleted_at.is_(None)
    )
    # In the order in which deliveries write several of them.
    ids = list(await session.scalars(kept.order_by(SOURCES.c.id).with_for_update(key_share=True)))
    await session.execute(update(SOURCES).where(SOURCES.c.id.in_(ids)).values(resumed_at=now))


async def _project(session: AsyncSession, query: Select[Any]) -> Project:
    (project,) = await projects_of(session, [await project_row(session, query)])
    return project


def _changed_values(changes: ProjectChanges) -> dict[str, object]:
    values: dict[str, object] = {}
    if changes.name is not UNSET:
        values["name"] = sanitize(changes.name)
    if changes.repair_url is not UNSET:
        values |= {"repair_url": changes.repair_url, "repair_url_gone": False}
    if changes.timeout_minutes is not UNSET:
        values["timeout_minutes"] = changes.timeout_minutes
    if changes.group_window_minutes is not UNSET:
        values["group_window_minutes"] = changes.group_window_minutes
    if changes.alert_window_minutes is not UNSET:
        values["alert_window_minutes"] = changes.alert_window_minutes
    if changes.late_result is not UNSET:
        values["late_result"] = changes.late_result.value
    if changes.early_results is not UNSET:
        values["early_results"] = changes.early_results.value
    if changes.snapshots is not UNSET:
        values["snapshots"] = changes.snapshots
    if changes.acknowledge_minutes is not UNSET:
        values["acknowledge_minutes"] = changes.acknowledge_minutes
    if changes.silent_after_minutes is not UNSET:
        values["silent_after_minutes"] = changes.silent_after_minutes
    if changes.silent_event_types is not UNSET:
        values["silent_event_types"] = silent_types_text(changes.silent_event_types)
    return values


async def _changed_names(
    session: AsyncSession, project_id: ProjectId, changes: ProjectChanges
) -> dict[str, object]:
    """The columns of the sets that change. A removed name is kept as retired."""
    given = {name: names for name in SETS if (names := getattr(changes, name)) is not UNSET}
    if not given:
        return {}
    columns = (PROJECTS.c[name] for name in given)
    stored = select(*columns).where(PROJECTS.c.id == project_id, NOT_DELETED)
    # Locked: of two changes at once, each must keep what the other retires.
    row = (await session.execute(stored.with_for_update())).one_or_none()
    if row is None:
        return {}
    return {
        name: own_names_text(own_names_from(getattr(row, name)).replaced_by(names))
        for name, names in given.items()
    }


async def _refuse_taken_name(
    session: AsyncSession, name: str, *, but_for: ProjectId | None = None
) -> None:
    taken = select(PROJECTS.c.id).where(PROJECTS.c.name == name, PROJECTS.c.id != (but_for or ""))
    if (await session.execute(taken)).first() is not None:
        raise _name_taken()


def _name_taken() -> ValidationFailed:
    return ValidationFailed(
        errors=(FieldError("/name", "taken", "Another project has this name."),)
    )
