"""Replaces the root secret while everything runs: which of two writes, what the old one is still needed for, when it can go.

While both are known, the one that a fact names is in force: new data keys are wrapped and new API keys digested with it alone, so
that a process which does not know the other yet reads all that is written. `rotate` puts the current one in force and wraps every
data key anew, of projects and of authenticator apps. An API key's text is not stored, so that its digest is replaced when the key
is next used (`redigest_keys`).
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, and_, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Unavailable
from domain.ids import KeyId, ProjectId, UserId
from domain.projects import Key
from store.crypto.encryption import RootSecret, SealBroken, Sealer
from store.db.database import Database
from store.schema import tables
from store.schema.mappers import key_from
from store.status.heartbeats import ENDED, INGEST, SECRETS, lock_fact, name_fact, read_beats, read_fact, write_fact

KEYS = tables.ApiKey.metadata.tables["api_keys"]
PROJECTS = tables.Project.metadata.tables["projects"]
FACTORS = tables.TotpFactor.metadata.tables["totp_factors"]
USERS = tables.User.metadata.tables["users"]
SECRET_FACT = "root_secret"  # noqa: S105 - the name of a fact
# A process that was silent for longer is gone: it beats every 2 s.
ALIVE_SECONDS = 10.0


class SecretUnknown(Exception):
    """The store was sealed with a root secret that is not known here."""

    def __init__(self) -> None:
        super().__init__(
            "the store was sealed with another secret key: set MAKEGOOD_SECRET_KEY to it, or MAKEGOOD_SECRET_KEY_PREVIOUS while "
            "it is being replaced"
        )


class NotEverywhere(Exception):
    """A living process does not know both root secrets, and would refuse what is written with the new one."""

    def __init__(self, processes: tuple[str, ...]) -> None:
        super().__init__(
            f"{len(processes)} running processes do not know the new secret key yet ({', '.join(processes)}): start each again "
            "with MAKEGOOD_SECRET_KEY and MAKEGOOD_SECRET_KEY_PREVIOUS, then try again (10 s after one was stopped)"
        )


@dataclass(frozen=True, slots=True)
class Unopened:
    """A person whose authenticator app no known secret opens; `email` None: he has no address yet."""

    user_id: UserId
    email: str | None


@dataclass(frozen=True, slots=True)
class SecretStatus:
    """What the root secrets are needed for. `in_force` is the fingerprint of the one that writes.

    `unopened`, `unopened_factors`: projects whose data key, and people whose authenticator app no known secret opens.
    `old_projects`, `old_factors` (how many authenticator apps), `old_keys`: those that still need the one that is not in force;
    keys that are revoked or have expired need nothing.
    """

    in_force: str
    is_rotated: bool
    has_previous: bool
    unopened: tuple[ProjectId, ...]
    unopened_factors: tuple[Unopened, ...]
    old_projects: tuple[ProjectId, ...]
    old_factors: int
    old_keys: tuple[Key, ...]

    @property
    def can_drop_previous(self) -> bool:
        """Whether the previous secret can be taken away, and no call fails for it."""
        return self.has_previous and self.is_rotated and not (self.old_projects or self.old_factors or self.old_keys)


async def root_in_force(session: AsyncSession, sealer: Sealer) -> RootSecret:
    """The root secret that writes. Where none was ever put in force, it is the one from before.

    Raises: SecretUnknown.
    """
    named = await read_fact(session, SECRET_FACT)
    if named is None:
        return sealer.previous or sealer.current
    for root in sealer.roots:
        if root.fingerprint == named:
            return root
    raise SecretUnknown


async def root_of_new_data_key(session: AsyncSession, sealer: Sealer) -> RootSecret:
    """The root secret that wraps a new data key, of a project or an authenticator app; in force until the transaction ends.

    In a store without projects it is named, so that a wrong one is noticed from then on.

    Raises: SecretUnknown.
    """
    if (await session.execute(select(PROJECTS.c.id).limit(1))).first() is None:
        await name_fact(session, SECRET_FACT, (await root_in_force(session, sealer)).fingerprint)
    return await root_that_writes(session, sealer)


async def root_that_writes(session: AsyncSession, sealer: Sealer) -> RootSecret:
    """The root secret in force, until the transaction ends; to be asked before any project is held, as `rotate` does.

    Raises: SecretUnknown.
    """
    # Held, so that a rotation waits for what is written and sees it, or this waits for the rotation.
    await lock_fact(session, SECRET_FACT)
    return await root_in_force(session, sealer)


async def refuse_unknown_secret(database: Database, sealer: Sealer) -> None:
    """Return when the secret that writes is known here, or the store cannot say now: a process without it would refuse good keys.

    Raises: SecretUnknown.
    """
    # Away, or without its tables: both are told elsewhere.
    with suppress(Unavailable, SQLAlchemyError):
        async with database.reading() as session:
            await root_in_force(session, sealer)


async def rotate(session: AsyncSession, sealer: Sealer, now: datetime) -> int:
    """Put the current root secret in force and wrap every data key with it; how many were wrapped anew. Twice changes nothing.

    Raises:
        NotEverywhere: a living process knows only one of the two.
        SealBroken: a data key is opened by neither.
        SecretUnknown: the one in force is not known here.
    """
    before = await root_in_force(session, sealer)
    await _refuse_unless_known_everywhere(session, sealer, now)
    if before is not sealer.current:
        is_unnamed = KEYS.c.digested_with.is_(None)
        await session.execute(update(KEYS).where(is_unnamed).values(digested_with=before.fingerprint))
    await write_fact(session, SECRET_FACT, sealer.current.fingerprint)
    # Held, so that no project is deleted meanwhile and gets its data key back, and no app set up anew gets that of the old one.
    projects = await _wrap_again(
        session, sealer, select(PROJECTS.c.id, PROJECTS.c.data_key).where(_has_data_key()), PROJECTS.c.id
    )
    factors = select(FACTORS.c.user_id.label("id"), FACTORS.c.data_key)
    return projects + await _wrap_again(session, sealer, factors, FACTORS.c.user_id)


async def _wrap_again(session: AsyncSession, sealer: Sealer, held: Select[Any], owner: Column[Any]) -> int:
    """Wrap these data keys with the current root secret, where they are not yet; how many. `held` selects `id` and `data_key`."""
    wrapped = 0
    for row in (await session.execute(held.with_for_update())).all():
        if not _opens(sealer.current, row.data_key, row.id):
            anew = sealer.current.wrap(sealer.unwrapped(row.data_key, row.id), row.id)
            await session.execute(update(owner.table).where(owner == row.id).values(data_key=anew))
            wrapped += 1
    return wrapped


async def secret_status(session: AsyncSession, sealer: Sealer, now: datetime) -> SecretStatus:
    """What the root secrets are needed for, now. Raises: SecretUnknown."""
    in_force = await root_in_force(session, sealer)
    rows = (await session.execute(select(PROJECTS.c.id, PROJECTS.c.data_key).where(_has_data_key()))).all()
    unopened = tuple(row.id for row in rows if not any(_opens(root, row.data_key, row.id) for root in sealer.roots))
    old = (row.id for row in rows if row.id not in unopened and not _opens(in_force, row.data_key, row.id))
    of_people = select(FACTORS.c.user_id, FACTORS.c.data_key, USERS.c.email).order_by(FACTORS.c.user_id)
    factors = (await session.execute(of_people.outerjoin(USERS, USERS.c.id == FACTORS.c.user_id))).all()
    broken = {row.user_id for row in factors if not any(_opens(root, row.data_key, row.user_id) for root in sealer.roots)}
    is_valid = and_(KEYS.c.revoked_at.is_(None), or_(KEYS.c.expires_at.is_(None), KEYS.c.expires_at > now))
    old_keys = await session.execute(
        select(KEYS).where(is_valid, KEYS.c.digested_with != in_force.fingerprint).order_by(KEYS.c.id)
    )
    return SecretStatus(
        in_force=in_force.fingerprint,
        is_rotated=in_force is sealer.current,
        has_previous=sealer.previous is not None,
        unopened=unopened,
        unopened_factors=tuple(Unopened(row.user_id, row.email) for row in factors if row.user_id in broken),
        old_projects=tuple(old),
        old_factors=sum(row.user_id not in broken and not _opens(in_force, row.data_key, row.user_id) for row in factors),
        old_keys=tuple(key_from(row) for row in old_keys),
    )


async def redigest_keys(session: AsyncSession, sealer: Sealer, used: Mapping[KeyId, str]) -> None:
    """Store keys that were used under their digest with the current root secret, once that is in force."""
    if not used or await read_fact(session, SECRET_FACT) != sealer.current.fingerprint:
        return
    for key_id, digest in sorted(used.items()):  # in one order, since other processes do the same
        values = {"digest": digest, "digested_with": sealer.current.fingerprint}
        await session.execute(update(KEYS).where(KEYS.c.id == key_id).values(values))


async def _refuse_unless_known_everywhere(session: AsyncSession, sealer: Sealer, now: datetime) -> None:
    needed = {root.fingerprint for root in sealer.roots}
    beats = [beat for beat in await read_beats(session, now) if beat.role != INGEST]
    alive = [beat for beat in beats if beat.age_seconds < ALIVE_SECONDS and not beat.report.get(ENDED)]
    without = tuple(beat.process for beat in alive if not needed <= set(_known_to(beat.report)))
    if without:
        raise NotEverywhere(without)


def _known_to(report: Mapping[str, object]) -> list[str]:
    known = report.get(SECRETS)
    return [str(fingerprint) for fingerprint in known] if isinstance(known, list) else []


def _has_data_key() -> ColumnElement[bool]:
    return PROJECTS.c.deleted_at.is_(None)


def _opens(root: RootSecret, data_key: bytes, owner_id: str) -> bool:
    try:
        root.unwrap(data_key, owner_id)
    except SealBroken:
        return False
    return True
