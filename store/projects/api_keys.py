"""API keys: created, listed, found by digest, revoked. The text of a key is returned once, by
`create_key`, and never stored.

Called by the API's authentication, and by the operations that the command line shares.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import bindparam, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from domain.ids import KeyId, ProjectId
from domain.projects import AuthenticatedKey, Key, Scope
from domain.security.api_keys import hint_of
from domain.values.text import sanitize
from store.crypto.encryption import Sealer
from store.crypto.root_secret import root_that_writes
from store.crypto.tokens import new_api_key, new_key_id
from store.db.paging import LISTED_AT_MOST
from store.projects.data_keys import projects_of
from store.schema.mappers import key_from
from store.schema.tables import API_KEYS, PROJECTS


async def create_key(
    session: AsyncSession,
    sealer: Sealer,
    *,
    project_id: ProjectId,
    label: str,
    scopes: frozenset[Scope],
    expires_at: datetime | None = None,
    now: datetime,
) -> tuple[Key, str]:
    """Create a key; returns it and its text, which is shown only once. `expires_at` None: it does
    not expire.

    Raises:
        NotFound: no such project.
        SecretUnknown: the store was sealed with another root secret.
    """
    root = await root_that_writes(session, sealer)
    is_meant = (PROJECTS.c.id == project_id, PROJECTS.c.deleted_at.is_(None))
    mode = await session.scalar(select(PROJECTS.c.mode).where(*is_meant).with_for_update())
    if mode is None:
        raise NotFound("There is no such project.")
    api_key = new_api_key(livemode=mode == "live")
    values = {
        "id": new_key_id(),
        "project_id": project_id,
        "label": sanitize(label),
        "digest": root.key_digest(api_key),
        "digested_with": root.fingerprint,
        "hint": hint_of(api_key),
        "scopes": " ".join(sorted(scopes)),
        "created_at": now,
        "expires_at": expires_at,
    }
    row = (await session.execute(insert(API_KEYS).values(values).returning(API_KEYS))).one()
    return key_from(row), api_key


async def list_keys(session: AsyncSession, project_id: ProjectId) -> list[Key]:
    """The project's keys, the newest 1,000, revoked ones too, oldest first."""
    newest = (
        select(API_KEYS)
        .where(API_KEYS.c.project_id == project_id)
        .order_by(API_KEYS.c.id.desc())
        .limit(LISTED_AT_MOST)
    )
    return [key_from(row) for row in reversed((await session.execute(newest)).all())]


async def revoke_key(
    session: AsyncSession, project_id: ProjectId, key_id: KeyId, now: datetime
) -> Key:
    """Revoke the key, now or before. Raises: NotFound."""
    is_meant = (API_KEYS.c.project_id == project_id, API_KEYS.c.id == key_id)
    await session.execute(
        update(API_KEYS).where(*is_meant, API_KEYS.c.revoked_at.is_(None)).values(revoked_at=now)
    )
    row = (await session.execute(select(API_KEYS).where(*is_meant))).first()
    if row is None:
        raise NotFound("There is no such key.")
    return key_from(row)


async def find_key(session: AsyncSession, *digests: str) -> AuthenticatedKey | None:
    """The key with one of these digests, and its project; None when unknown or revoked. The caller
    checks expiry.
    """
    row = (
        await session.execute(
            select(API_KEYS).where(API_KEYS.c.digest.in_(digests), API_KEYS.c.revoked_at.is_(None))
        )
    ).first()
    if row is None:
        return None
    of_key = await session.execute(select(PROJECTS).where(PROJECTS.c.id == row.project_id))
    (project,) = await projects_of(session, of_key.all())
    return AuthenticatedKey(
        key=key_from(row), project=project, is_outdated=row.digest != digests[0]
    )


async def touch_keys(session: AsyncSession, used: Mapping[KeyId, datetime]) -> None:
    """Record when keys were last used; an older instant does not replace a newer one."""
    if not used:
        return
    is_older = or_(
        API_KEYS.c.last_used_at.is_(None), API_KEYS.c.last_used_at < bindparam("used_at")
    )
    touch = (
        update(API_KEYS)
        .where(API_KEYS.c.id == bindparam("key_id"), is_older)
        .values(last_used_at=bindparam("used_at"))
    )
    await (await session.connection()).execute(
        touch, [{"key_id": key_id, "used_at": at} for key_id, at in sorted(used.items())]
    )
