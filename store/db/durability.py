"""Finds settings of a PostgreSQL cluster, database or role that keep commits from reaching the
disk.

Readiness and doctor report them. On SQLite there is nothing to check: each connection sets
`synchronous = FULL` itself (`store.db.pools`).
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_SETTINGS = text(
    "SELECT name, source FROM pg_settings WHERE setting = 'off' "
    "AND name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name"
)
_MEANINGS = {
    "fsync": "a crash of the machine loses what was acknowledged, and may corrupt the rest",
    "full_page_writes": "a crash of the machine may leave pages that are half written",
    "synchronous_commit": (
        "what other programs commit may be lost in a crash; our own commits turn it on"
    ),
}


@dataclass(frozen=True, slots=True)
class Flaw:
    """A setting that is off.

    `is_ours`: acknowledged receipts are at risk, because no session can turn it on for itself.
    """

    setting: str
    source: str
    meaning: str
    is_ours: bool

    def __str__(self) -> str:
        return f"{self.setting} is off (set by: {self.source}): {self.meaning}"


async def find_flaws(session: AsyncSession) -> tuple[Flaw, ...]:
    """The settings that are off.

    `session` must not set any of them itself, so it is one of `Database.watching()`.
    """
    if session.get_bind().dialect.name == "sqlite":
        return ()
    rows = await session.execute(_SETTINGS)
    return tuple(
        Flaw(row.name, row.source, _MEANINGS[row.name], row.name != "synchronous_commit")
        for row in rows
    )
