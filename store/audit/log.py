"""Writes and reads the audit log. `store.audit.verify` checks it.

An entry is written in the transaction of its action. On PostgreSQL `record` takes an advisory lock
until the transaction ends, so it must be the last statement of the transaction. SQLite has one
writer. Receipts and results have no entries. An entry contains only ids, field names and values of
our own finite sets: no secret, and nothing that a user typed.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    func,
    insert,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import (
    CLI,
    GENESIS,
    MAKEGOOD,
    Actor,
    AuditAction,
    AuditEntry,
    Stored,
    Subject,
    chain_hash,
    details_text,
    sealed_text,
)
from domain.errors import FieldError, ValidationFailed
from domain.ids import ProjectId
from domain.values.text import sanitize
from domain.values.timestamps import ceil_unix_ms, from_unix_ms, to_unix_ms
from store.crypto.encryption import RootSecret, Sealer
from store.crypto.root_secret import SecretUnknown, root_in_force
from store.db.database import Database
from store.db.paging import Page
from store.schema.mappers import audit_entry_from
from store.schema.tables import AUDIT_HEAD, AUDIT_LOG

AUDIT_LOCK = 72_338_001  # an arbitrary number that only Makegood uses
ENTRIES_AT_ONCE = 500
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """The filters of a list; None means no filter. `created_after` and `created_before` exclude the
    instant itself.

    `project_id` is always given, because None means the whole log. `actor` is an actor's id. `cli`
    matches every user of the command line.
    """

    project_id: ProjectId | None
    actor: str | None = None
    action: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class _End:
    """The end of the log. `is_sound`: the last entry exists and is the one that was sealed."""

    sequence: int
    hash: str
    is_sound: bool
    has_head: bool


async def record(
    session: AsyncSession,
    sealer: Sealer,
    actor: Actor,
    action: AuditAction,
    *,
    now: datetime,
    subject: Subject | None = None,
    project_id: ProjectId | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Add an entry, which is committed with its action or not at all. Call it last in the
    transaction.

    If the end of the log does not match its seal, an entry that reports the damage is added first.
    The action is not refused, and later entries do not hide the damage.
    """
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(select(func.pg_advisory_xact_lock(AUDIT_LOCK)))
    end = await _end(session, sealer)
    rows = (
        []
        if end.is_sound
        else [_row(Actor(MAKEGOOD), AuditAction.AUDIT_DAMAGE_FOUND, now, None, None, {})]
    )
    rows.append(_row(actor, action, now, subject, project_id, details or {}))
    sequence, last_hash = end.sequence, end.hash
    for row in rows:
        sequence += 1
        row |= {"sequence": sequence, "previous_hash": last_hash}
        last_hash = chain_hash(row)
        at = from_unix_ms(to_unix_ms(now))
        await session.execute(insert(AUDIT_LOG).values({**row, "at": at, "hash": last_hash}))
    seal = (await _root_that_seals(session, sealer)).audit_seal(sealed_text(sequence, last_hash))
    head = {"sequence": sequence, "hash": last_hash, "seal": seal}
    await session.execute((update(AUDIT_HEAD) if end.has_head else insert(AUDIT_HEAD)).values(head))


async def list_audit(
    session: AsyncSession, filters: AuditFilters, *, limit: int, cursor: str | None
) -> Page[AuditEntry]:
    """A page of entries, newest first. The cursor is the hash of the last entry.

    Raises: ValidationFailed for any other cursor.
    """
    query = _filtered(filters).order_by(AUDIT_LOG.c.sequence.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(
            AUDIT_LOG.c.sequence < await _sequence_of(session, cursor, filters.project_id)
        )
    entries = [audit_entry_from(row) for row in await session.execute(query)]
    return Page(tuple(entries[:limit]), entries[limit - 1].hash if len(entries) > limit else None)


async def read_audit(database: Database, filters: AuditFilters) -> AsyncIterator[list[AuditEntry]]:
    """All entries that exist now, oldest first, in chunks. A slow reader keeps no session open.

    Each statement covers `ENTRIES_AT_ONCE` sequence numbers, however few entries match the filters.
    """
    name = filters.project_id or ""
    async with database.reading(name) as session:
        last = await session.scalar(select(func.max(AUDIT_LOG.c.sequence))) or 0
    for before in range(0, last, ENTRIES_AT_ONCE):
        chunk = AUDIT_LOG.c.sequence.between(before + 1, min(before + ENTRIES_AT_ONCE, last))
        async with database.reading(name) as session:
            rows = await session.execute(
                _filtered(filters).where(chunk).order_by(AUDIT_LOG.c.sequence)
            )
            entries = [audit_entry_from(row) for row in rows]
        if entries:
            yield entries


async def _root_that_seals(session: AsyncSession, sealer: Sealer) -> RootSecret:
    """The root secret in force, which every process knows.

    Read it under the advisory lock, so that a rotation comes either before or after.
    """
    try:
        return await root_in_force(session, sealer)
    except SecretUnknown:
        return sealer.current


async def _end(session: AsyncSession, sealer: Sealer) -> _End:
    head = (
        await session.execute(select(AUDIT_HEAD).order_by(AUDIT_HEAD.c.sequence.desc()).limit(1))
    ).first()
    last = (
        await session.execute(
            select(AUDIT_LOG.c.sequence, AUDIT_LOG.c.hash)
            .order_by(AUDIT_LOG.c.sequence.desc())
            .limit(1)
        )
    ).first()
    if head is None or last is None:
        is_sound = head is None and last is None
    else:
        is_sealed = sealer.is_audit_seal(head.seal, sealed_text(head.sequence, head.hash))
        is_sound = (head.sequence, head.hash) == (last.sequence, last.hash) and is_sealed
    # The next number is above both, because the head only moves forward.
    sequence = max(0 if head is None else head.sequence, 0 if last is None else last.sequence)
    return _End(
        sequence, GENESIS if last is None else last.hash, is_sound, has_head=head is not None
    )


def _row(
    actor: Actor,
    action: AuditAction,
    now: datetime,
    subject: Subject | None,
    project_id: ProjectId | None,
    details: Mapping[str, object],
) -> dict[str, Stored]:
    return {
        "at": to_unix_ms(now),
        "actor": sanitize(actor.id),
        "address": None if actor.address is None else sanitize(actor.address),
        "request_id": actor.request_id,
        "action": action.value,
        "subject_type": None if subject is None else subject.type.value,
        "subject_id": None if subject is None else subject.id,
        "project_id": project_id,
        "details": details_text(details),
    }


def _filtered(filters: AuditFilters) -> Select[tuple[object, ...]]:
    conditions: list[ColumnElement[bool]] = []
    if filters.project_id is not None:
        conditions.append(AUDIT_LOG.c.project_id == filters.project_id)
    if filters.actor is not None:
        is_actor = AUDIT_LOG.c.actor == filters.actor
        conditions.append(
            or_(is_actor, AUDIT_LOG.c.actor.startswith(f"{CLI}:"))
            if filters.actor == CLI
            else is_actor
        )
    if filters.action is not None:
        conditions.append(AUDIT_LOG.c.action == filters.action)
    if filters.created_after is not None:
        conditions.append(AUDIT_LOG.c.at > filters.created_after)
    if filters.created_before is not None:
        at_ms = type_coerce(AUDIT_LOG.c.at, BigInteger)
        conditions.append(at_ms < ceil_unix_ms(filters.created_before))
    return select(AUDIT_LOG).where(*conditions)


async def _sequence_of(session: AsyncSession, cursor: str, project_id: ProjectId | None) -> int:
    query = select(AUDIT_LOG.c.sequence).where(AUDIT_LOG.c.hash == cursor)
    if project_id is not None:
        query = query.where(AUDIT_LOG.c.project_id == project_id)
    sequence: int | None = await session.scalar(query) if _HASH.fullmatch(cursor) else None
    if sequence is None:
        raise ValidationFailed(
            errors=(FieldError("/cursor", "invalid", "This cursor did not come from this list."),)
        )
    return sequence
