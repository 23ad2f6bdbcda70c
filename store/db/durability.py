"""What a PostgreSQL cluster, database or role sets against commits being on disk; readiness and doctor name it.

SQLite is set by each connection itself (`synchronous = FULL`, `store.db.pools`), so that there is nothing to look at.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_SETTINGS = text(
    "SELECT name, source FROM pg_settings WHERE setting = 'off' AND name IN ('fsync', 'full_page_writes', 'synchronous_commit') "
    "ORDER BY name"
)
_MEANINGS = {
    "fsync": "a crash of the machine loses what was acknowledged, and may corrupt the rest",
    "full_page_writes": "a crash of the machine may leave pages that are half written",
    "synchronous_commit": "what other programs commit may be lost in a crash; our own commits turn it on",
}


@dataclass(frozen=True, slots=True)
class Flaw:
    """A setting that is off. `is_ours`: acknowledged receipts are at risk, since no session can turn it on for itself."""

    setting: str
    source: str
    meaning: str
    is_ours: bool

    def __str__(self) -> str:
        return f"{self.setting} is off (set by: {self.source}): {self.meaning}"


async def find_flaws(session: AsyncSession) -> tuple[Flaw, ...]:
    """What is off, in a session that sets nothing of it itself: `Database.watching()`."""
    if session.get_bind().dialect.name == "sqlite":
        return ()
    rows = await session.execute(_SETTINGS)
    return tuple(Flaw(row.name, row.source, _MEANINGS[row.name], row.name != "synchronous_commit") for row in rows)
