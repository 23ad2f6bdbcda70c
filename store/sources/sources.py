"""The sources of projects: added, read, changed, removed, and found by the hooks of providers.

A source's secret is sealed with the data key of its project. It leaves this file as text only where
a signature is verified or the provider is called.

Each change of a source counts its `version` up. The worker makes Temporal's Schedule follow it. A
webhook has no Schedule, so its `scheduled_version` is always its `version`. A removed source loses
its secret at once; `store.sources.removal` erases its rows later.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import ProjectId, SourceId
from domain.projects import UNSET
from domain.sources.changes import NewSource, SourceChanges
from domain.sources.source import (
    API_KINDS,
    MAXIMUM_SOURCES,
    Expects,
    ShopifyIdentity,
    Source,
    SourceKind,
)
from domain.values.text import sanitize
from store.crypto.encryption import Sealer
from store.crypto.tokens import new_source_id
from store.projects.data_keys import NOT_DELETED, project_row, read_data_key
from store.schema.mappers import expects_from, expects_text, source_from
from store.schema.tables import PROJECTS, SOURCES

# What a newer version made, of a kind or an identity unknown here, is not read.
_IDENTITIES = tuple(identity.value for identity in ShopifyIdentity)
_KINDS = tuple(kind.value for kind in SourceKind)
IS_SOURCE = (
    SOURCES.c.deleted_at.is_(None),
    SOURCES.c.kind.in_(_KINDS),
    SOURCES.c.identity.in_(_IDENTITIES),
)


@dataclass(frozen=True, slots=True)
class Hook:
    """A source that a provider calls, with what its endpoint must know of the project.

    `sealed_secret` and `data_key` open with `open_secret`, without the store.
    """

    source: Source
    is_suspended: bool
    sealed_secret: bytes = field(repr=False)
    data_key: bytes = field(repr=False)


async def add_source(
    session: AsyncSession, sealer: Sealer, *, project_id: ProjectId, new: NewSource, now: datetime
) -> Source:
    """Add a source to the project. From `now` on its events are expected.

    Raises:
        NotFound: no such project.
        ValidationFailed: the project has `MAXIMUM_SOURCES` already.
        SealBroken: no known root secret opens the project's data key.
    """
    await _lock_project(session, project_id)
    await _refuse_too_many(session, project_id)
    source_id = new_source_id()
    values = {
        "id": source_id,
        "project_id": project_id,
        "kind": new.kind.value,
        "name": sanitize(new.name),
        "expects": expects_text(new.expects),
        "sealed_secret": await _seal(session, sealer, project_id, source_id, new.secret),
        "every_minutes": new.every_minutes,
        "silent_after_minutes": new.silent_after_minutes,
        "shop_domain": new.shop_domain,
        "account": new.account,
        "identity": new.identity.value,
        "created_at": now,
        "version": 1,
        "scheduled_version": 1 if new.kind.is_webhook else 0,
    }
    row = (await session.execute(insert(SOURCES).values(values).returning(SOURCES))).one()
    return source_from(row)


async def read_source(session: AsyncSession, project_id: ProjectId, source_id: SourceId) -> Source:
    """The project's source. Raises: NotFound."""
    return source_from(await _row(session, _of_project(project_id, source_id)))


async def list_sources(session: AsyncSession, project_id: ProjectId) -> list[Source]:
    """The project's sources, oldest first: at most `MAXIMUM_SOURCES`."""
    listed = select(SOURCES).where(SOURCES.c.project_id == project_id, *IS_SOURCE)
    rows = await session.execute(listed.order_by(SOURCES.c.id).limit(MAXIMUM_SOURCES))
    return [source_from(row) for row in rows]


async def change_source(
    session: AsyncSession,
    sealer: Sealer,
    *,
    project_id: ProjectId,
    source_id: SourceId,
    changes: SourceChanges,
    now: datetime,
) -> Source:
    """Change a source. One that is paused already keeps the time since when it is.

    What it did not expect before is expected from `now` on: its listing reads an hour again.

    Raises:
        NotFound: no such source.
        SealBroken: no known root secret opens the project's data key.
    """
    before = await _row(session, _of_project(project_id, source_id).with_for_update())
    values = _changed_values(before, changes, now) | _paused_values(before, changes, now)
    if changes.secret is not UNSET:
        values["sealed_secret"] = await _seal(
            session, sealer, project_id, source_id, changes.secret
        )
    return await _write(session, before, values)


async def request_check(
    session: AsyncSession, project_id: ProjectId, source_id: SourceId, now: datetime
) -> Source:
    """Request a listing outside the Schedule. The worker starts it. Raises: NotFound."""
    before = await _row(session, _of_project(project_id, source_id).with_for_update())
    return await _write(session, before, {"check_requested_at": now})


async def remove_source(
    session: AsyncSession, project_id: ProjectId, source_id: SourceId, now: datetime
) -> Source:
    """Remove a source: its secret is gone, and it expects nothing more. Raises: NotFound.

    What it expected before stays: each is a receipt of the project. The lock waits for sightings
    that are being stored, so no row comes later.
    """
    before = await _row(session, _of_project(project_id, source_id).with_for_update())
    return await _write(session, before, {"deleted_at": now, "sealed_secret": b""})


async def find_hook(session: AsyncSession, source_id: str) -> Hook | None:
    """The webhook source that a provider calls; None when it is unknown, removed, or an API's."""
    project = (PROJECTS.c.suspended_at, PROJECTS.c.data_key)
    called = (
        select(SOURCES, *project)
        .join(PROJECTS, PROJECTS.c.id == SOURCES.c.project_id)
        .where(SOURCES.c.id == source_id, NOT_DELETED, *IS_SOURCE)
        .where(SOURCES.c.kind.not_in(API_KINDS))
    )
    row = (await session.execute(called)).first()
    if row is None:
        return None
    return Hook(
        source=source_from(row),
        is_suspended=row.suspended_at is not None,
        sealed_secret=row.sealed_secret,
        data_key=row.data_key,
    )


def open_secret(sealer: Sealer, hook: Hook) -> str:
    """The signing secret of a hook. Raises: SealBroken."""
    return _opened(sealer, hook.data_key, hook.source, hook.sealed_secret)


async def read_secret(session: AsyncSession, sealer: Sealer, source: Source) -> str:
    """The secret of a source. Raises: NotFound when it was removed; SealBroken."""
    row = await _row(session, _of_project(source.project_id, source.id))
    data_key = await read_data_key(session, source.project_id)
    return _opened(sealer, data_key, source, row.sealed_secret)


async def _lock_project(session: AsyncSession, project_id: ProjectId) -> None:
    """Lock the project: its deletion leaves no source behind. Raises: NotFound."""
    is_it = (PROJECTS.c.id == project_id, NOT_DELETED)
    await project_row(session, select(PROJECTS.c.id).where(*is_it).with_for_update())


async def _refuse_too_many(session: AsyncSession, project_id: ProjectId) -> None:
    is_theirs = (SOURCES.c.project_id == project_id, SOURCES.c.deleted_at.is_(None))
    count = await session.scalar(select(func.count()).select_from(SOURCES).where(*is_theirs))
    if (count or 0) >= MAXIMUM_SOURCES:
        message = f"A project has at most {MAXIMUM_SOURCES} sources. Remove one first."
        raise ValidationFailed(errors=(FieldError("/kind", "too_many", message),))


def _of_project(project_id: ProjectId, source_id: SourceId) -> Select[Any]:
    is_it = (SOURCES.c.id == source_id, SOURCES.c.project_id == project_id)
    return select(SOURCES).where(*is_it, *IS_SOURCE)


async def _row(session: AsyncSession, query: Select[Any]) -> Row[Any]:
    row: Row[Any] | None = (await session.execute(query)).first()
    if row is None:
        raise NotFound("There is no such source.")
    return row


async def _write(session: AsyncSession, before: Row[Any], values: dict[str, Any]) -> Source:
    """Write the values as the source's next version."""
    version = before.version + 1
    scheduled = before.scheduled_version if before.kind in API_KINDS else version
    schedule = {"version": version, "scheduled_version": scheduled, "schedule_retry_at": None}
    written = update(SOURCES).where(SOURCES.c.id == before.id).values(values | schedule)
    return source_from((await session.execute(written.returning(SOURCES))).one())


def _changed_values(before: Row[Any], changes: SourceChanges, now: datetime) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if changes.name is not UNSET:
        values["name"] = sanitize(changes.name)
    if changes.expects is not UNSET:
        expects = _with_since(changes.expects, expects_from(before.expects), now)
        values["expects"] = expects_text(expects)
    if changes.every_minutes is not UNSET:
        values["every_minutes"] = changes.every_minutes
    if changes.silent_after_minutes is not UNSET:
        values["silent_after_minutes"] = changes.silent_after_minutes
    if changes.identity is not UNSET:
        values["identity"] = changes.identity.value
    return values


def _paused_values(before: Row[Any], changes: SourceChanges, now: datetime) -> dict[str, Any]:
    """A source that goes on is not silent yet: it received nothing because it was paused."""
    match changes.is_paused:
        case True if before.paused_at is None:
            return {"paused_at": now}
        case False if before.paused_at is not None:
            return {"paused_at": None, "resumed_at": now, "silent_since": None}
        case _:
            return {}


def _with_since(
    expects: tuple[Expects, ...], before: tuple[Expects, ...], now: datetime
) -> tuple[Expects, ...]:
    """The new expectations: a pair of types that was not there before is expected from now on."""
    since = {(one.event_type, one.effect_type): one.since for one in before}
    return tuple(
        replace(one, since=since.get((one.event_type, one.effect_type), now)) for one in expects
    )


async def _seal(
    session: AsyncSession, sealer: Sealer, project_id: ProjectId, source_id: SourceId, secret: str
) -> bytes:
    return sealer.seal(
        await read_data_key(session, project_id),
        project_id=project_id,
        table="sources",
        column="sealed_secret",
        row=source_id,
        plaintext=secret.encode(),
    )


def _opened(sealer: Sealer, data_key: bytes, source: Source, sealed: bytes) -> str:
    return sealer.open(
        data_key,
        project_id=source.project_id,
        table="sources",
        column="sealed_secret",
        row=source.id,
        sealed=sealed,
    ).decode()
