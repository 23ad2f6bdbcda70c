"""Replaces the root secret while all processes run.

1. While two root secrets are known, a fact names the one in force. New data keys are wrapped and
   new API keys digested with it only. So a process that does not know the other one yet can read
   everything.
2. `rotate` puts the current root secret in force and rewraps every data key, of projects, of
   authenticator apps and of the evidence key.
3. The text of an API key is not stored, so its digest is replaced when the key is next used
   (`store.crypto.process_secrets`).
4. `secret_status` reports what the previous root secret is still needed for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import ProjectId, UserId
from domain.projects import Key
from store.crypto.encryption import RootSecret, SealBroken, Sealer
from store.schema.mappers import key_from
from store.schema.tables import API_KEYS, EVIDENCE_KEYS, PROJECTS, TOTP_FACTORS, USERS
from store.status.heartbeats import (
    ENDED,
    INGEST,
    SECRETS,
    lock_fact,
    read_fact,
    read_heartbeats,
    write_fact,
    write_fact_once,
)

SECRET_FACT = "root_secret"  # noqa: S105 - the name of a fact
# A process without a heartbeat for longer has stopped: it writes one every 2 s.
ALIVE_SECONDS = 10.0
# The one that signs; a retired key has no private key.
_EVIDENCE_KEY = select(EVIDENCE_KEYS.c.id, EVIDENCE_KEYS.c.data_key).where(
    EVIDENCE_KEYS.c.data_key.is_not(None)
)


class SecretUnknown(Exception):
    """The store was sealed with a root secret that is not known here."""

    def __init__(self) -> None:
        super().__init__(
            "the store was sealed with another secret key: set MAKEGOOD_SECRET_KEY to it, "
            "or MAKEGOOD_SECRET_KEY_PREVIOUS while it is being replaced"
        )


class NotEverywhere(Exception):
    """A running process does not know both root secrets, so it could not use the new one's data."""

    def __init__(self, processes: tuple[str, ...]) -> None:
        super().__init__(
            f"{len(processes)} running processes do not know the new secret key yet "
            f"({', '.join(processes)}): start each again with MAKEGOOD_SECRET_KEY and "
            "MAKEGOOD_SECRET_KEY_PREVIOUS, then try again (10 s after one was stopped)"
        )


@dataclass(frozen=True, slots=True)
class Unopened:
    """A user whose authenticator app no known secret opens. `email` is None if they have none."""

    user_id: UserId
    email: str | None


@dataclass(frozen=True, slots=True)
class SecretStatus:
    """What the root secrets are needed for.

    - `in_force`: the fingerprint of the root secret that writes.
    - `unopened`, `unopened_factors`: projects and users whose data key no known secret opens.
    - `lost_evidence_key`: the id of the evidence key, if no known secret opens it.
    - `old_projects`, `old_factors` (a count of authenticator apps), `has_old_evidence_key`,
      `old_keys`: those that still need the secret that is not in force. Revoked and expired keys
      are not included.
    """

    in_force: str
    is_rotated: bool
    has_previous: bool
    unopened: tuple[ProjectId, ...]
    unopened_factors: tuple[Unopened, ...]
    lost_evidence_key: str | None
    old_projects: tuple[ProjectId, ...]
    old_factors: int
    has_old_evidence_key: bool
    old_keys: tuple[Key, ...]

    @property
    def has_unopened(self) -> bool:
        """Whether there are values that no known secret opens."""
        return bool(self.unopened or self.unopened_factors or self.lost_evidence_key)

    @property
    def has_old_data_keys(self) -> bool:
        """Whether a data key still needs the secret that is not in force."""
        return bool(self.old_projects or self.old_factors or self.has_old_evidence_key)

    @property
    def can_drop_previous(self) -> bool:
        """Whether the previous secret can be removed without any failing call."""
        is_needed = self.has_old_data_keys or bool(self.old_keys)
        return self.has_previous and self.is_rotated and not is_needed


async def root_in_force(session: AsyncSession, sealer: Sealer) -> RootSecret:
    """The root secret that writes. If none was ever put in force, it is the previous one.

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
    """The root secret that wraps a new data key, of a project or an authenticator app.

    It stays in force until the transaction ends. In a store without projects its fingerprint is
    recorded, so that a wrong secret is noticed from then on.

    Raises: SecretUnknown.
    """
    if (await session.execute(select(PROJECTS.c.id).limit(1))).first() is None:
        await write_fact_once(
            session, SECRET_FACT, (await root_in_force(session, sealer)).fingerprint
        )
    return await root_that_writes(session, sealer)


async def root_that_writes(session: AsyncSession, sealer: Sealer) -> RootSecret:
    """The root secret in force. It stays in force until the transaction ends.

    Call this before locking any project, in the same order as `rotate`.

    Raises: SecretUnknown.
    """
    # The lock makes a rotation wait for this transaction, or this transaction for the rotation.
    await lock_fact(session, SECRET_FACT)
    return await root_in_force(session, sealer)


async def rotate(session: AsyncSession, sealer: Sealer, now: datetime) -> int:
    """Put the current root secret in force and rewrap every data key with it.

    Return how many were rewrapped. Idempotent.

    Raises:
        NotEverywhere: a running process knows only one of the two.
        SealBroken: neither opens a data key.
        SecretUnknown: the one in force is not known here.
    """
    before = await root_in_force(session, sealer)
    await _refuse_unless_known_everywhere(session, sealer, now)
    if before is not sealer.current:
        is_unnamed = API_KEYS.c.digested_with.is_(None)
        await session.execute(
            update(API_KEYS).where(is_unnamed).values(digested_with=before.fingerprint)
        )
    await write_fact(session, SECRET_FACT, sealer.current.fingerprint)
    # The rows are locked. Otherwise a project deleted meanwhile would get its data key back, and a
    # new authenticator app would get the data key of the old one.
    projects = select(PROJECTS.c.id, PROJECTS.c.data_key).where(_has_data_key())
    factors = select(TOTP_FACTORS.c.user_id.label("id"), TOTP_FACTORS.c.data_key)
    owners = (projects, PROJECTS.c.id), (factors, TOTP_FACTORS.c.user_id)
    rewrapped = [await _rewrap(session, sealer, *one) for one in owners]
    return sum(rewrapped) + await _rewrap(session, sealer, _EVIDENCE_KEY, EVIDENCE_KEYS.c.id)


async def _rewrap(
    session: AsyncSession, sealer: Sealer, selected: Select[Any], owner: Column[Any]
) -> int:
    """Wrap the selected data keys with the current root secret. Return how many were rewrapped.

    `selected` has the columns `id` and `data_key`.
    """
    wrapped = 0
    for row in (await session.execute(selected.with_for_update())).all():
        if not _opens(sealer.current, row.data_key, row.id):
            data_key = sealer.current.wrap(sealer.unwrapped(row.data_key, row.id), row.id)
            changed = update(owner.table).where(owner == row.id).values(data_key=data_key)
            await session.execute(changed)
            wrapped += 1
    return wrapped


async def secret_status(session: AsyncSession, sealer: Sealer, now: datetime) -> SecretStatus:
    """What the root secrets are needed for, now. Raises: SecretUnknown."""
    in_force = await root_in_force(session, sealer)
    rows = (
        await session.execute(select(PROJECTS.c.id, PROJECTS.c.data_key).where(_has_data_key()))
    ).all()
    unopened = tuple(
        row.id
        for row in rows
        if not any(_opens(root, row.data_key, row.id) for root in sealer.roots)
    )
    old = (
        row.id
        for row in rows
        if row.id not in unopened and not _opens(in_force, row.data_key, row.id)
    )
    of_people = select(TOTP_FACTORS.c.user_id, TOTP_FACTORS.c.data_key, USERS.c.email).order_by(
        TOTP_FACTORS.c.user_id
    )
    factors = (
        await session.execute(of_people.outerjoin(USERS, USERS.c.id == TOTP_FACTORS.c.user_id))
    ).all()
    broken = {
        row.user_id
        for row in factors
        if not any(_opens(root, row.data_key, row.user_id) for root in sealer.roots)
    }
    is_valid = and_(
        API_KEYS.c.revoked_at.is_(None),
        or_(API_KEYS.c.expires_at.is_(None), API_KEYS.c.expires_at > now),
    )
    evidence_key = (await session.execute(_EVIDENCE_KEY)).first()
    is_lost = evidence_key is not None and not any(
        _opens(root, evidence_key.data_key, evidence_key.id) for root in sealer.roots
    )
    old_keys = await session.execute(
        select(API_KEYS)
        .where(is_valid, API_KEYS.c.digested_with != in_force.fingerprint)
        .order_by(API_KEYS.c.id)
    )
    return SecretStatus(
        in_force=in_force.fingerprint,
        is_rotated=in_force is sealer.current,
        has_previous=sealer.previous is not None,
        unopened=unopened,
        unopened_factors=tuple(
            Unopened(row.user_id, row.email) for row in factors if row.user_id in broken
        ),
        lost_evidence_key=evidence_key.id if evidence_key is not None and is_lost else None,
        old_projects=tuple(old),
        old_factors=sum(
            row.user_id not in broken and not _opens(in_force, row.data_key, row.user_id)
            for row in factors
        ),
        has_old_evidence_key=evidence_key is not None
        and not is_lost
        and not _opens(in_force, evidence_key.data_key, evidence_key.id),
        old_keys=tuple(key_from(row) for row in old_keys),
    )


async def _refuse_unless_known_everywhere(
    session: AsyncSession, sealer: Sealer, now: datetime
) -> None:
    needed = {root.fingerprint for root in sealer.roots}
    heartbeats = [
        heartbeat for heartbeat in await read_heartbeats(session, now) if heartbeat.role != INGEST
    ]
    alive = [
        heartbeat
        for heartbeat in heartbeats
        if heartbeat.age_seconds < ALIVE_SECONDS and not heartbeat.report.get(ENDED)
    ]
    without = tuple(
        heartbeat.process for heartbeat in alive if not needed <= set(_known_to(heartbeat.report))
    )
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
