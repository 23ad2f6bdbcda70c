"""Verifies the whole audit log and reports the first entry that was changed.

It finds a changed column, and a missing, added or exchanged entry. It also finds a log that was cut
off or rewritten by somebody without the secret key. A log that was reset to an earlier state,
including its seal, is found only with an expected hash.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    LargeBinary,
    RowMapping,
    cast,
    select,
    type_coerce,
)
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Chain, Stored, sealed_text
from store.audit.log import ENTRIES_AT_ONCE
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.schema.tables import AUDIT_HEAD, AUDIT_LOG

_NUMBERS = {"sequence", "at"}


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """The result of the check.

    - `entries`: how many entries are valid. `head`: the hash of the last valid one.
    - `problem`: None if the log is intact.
    - `sequence`: the first broken entry. None if the end of the log is broken.
    """

    entries: int
    head: str
    problem: str | None = None
    sequence: int | None = None


async def verify_audit(
    database: Database, sealer: Sealer, *, expect: str | None = None
) -> AuditVerdict:
    """Verify the log. `expect` is the hash of an entry that must exist, noted elsewhere earlier.

    Raises: Unavailable.
    """
    chain, is_met = Chain(), expect is None
    async with database.reading() as session:
        query = select(*(_raw(column, session) for column in AUDIT_LOG.columns)).order_by(
            AUDIT_LOG.c.sequence
        )
        found = await session.stream(query, execution_options={"yield_per": ENTRIES_AT_ONCE})
        async for stored in found.mappings():
            row = _readable(stored)
            problem = "it cannot be read" if row is None else chain.follow(row)
            if problem is not None:
                return AuditVerdict(chain.sequence, chain.hash, problem, chain.sequence + 1)
            is_met = is_met or chain.hash == expect
        problem = await _problem_of_end(session, sealer, chain)
    if problem is None and not is_met:
        problem = (
            "no entry has the expected hash: the log was cut off or rewritten since it was noted"
        )
    return AuditVerdict(chain.sequence, chain.hash, problem)


async def _problem_of_end(session: AsyncSession, sealer: Sealer, chain: Chain) -> str | None:
    """The problem of the end of the log, after a valid chain."""
    query = select(*(_raw(column, session) for column in AUDIT_HEAD.columns))
    heads = [_readable(stored) for stored in (await session.execute(query)).mappings()]
    if not heads and chain.sequence == 0:
        return None
    head = heads[0] if len(heads) == 1 else None
    if head is None or not isinstance(head["sequence"], int):
        return "the row that says where the log ends is missing or cannot be read"
    if head["sequence"] > chain.sequence:
        return f"it ends too early: entries {chain.sequence + 1} to {head['sequence']} are missing"
    if (head["sequence"], head["hash"]) != (chain.sequence, chain.hash):
        return "its last entry is not the one that was sealed: entries were added or rewritten"
    if not sealer.is_audit_seal(str(head["seal"]), sealed_text(chain.sequence, chain.hash)):
        return (
            "the seal at its end was not made with this secret key: the log was rewritten, or the"
            " key is another one"
        )
    return None


# Any: a column of any type.
def _raw(column: Column[Any], session: AsyncSession) -> ColumnElement[Any]:
    """The column as stored bytes on SQLite, where they may not be text, or as the driver returns
    it.
    """
    if session.get_bind().dialect.name == "sqlite":
        return cast(column, LargeBinary).label(column.key)
    return (type_coerce(column, BigInteger) if column.key in _NUMBERS else column).label(column.key)


def _readable(stored: RowMapping) -> dict[str, Stored] | None:
    """The row with bytes decoded as text and numbers as int. None if that fails."""
    row: dict[str, Stored] = {}
    for name, value in stored.items():
        try:
            text = value.decode() if isinstance(value, bytes) else value
            row[name] = int(text) if name in _NUMBERS and isinstance(text, str) else text
        except ValueError:
            return None
        # `int` also takes spaces, underscores, a sign
        if name in _NUMBERS and str(row[name]) != str(text):
            return None
    return row
