"""The names of people and keys whose ids incidents and timelines hold.

An id that is not found has no name: the account is deleted. Reads only.
"""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import CLI, MAKEGOOD, TEMPORAL
from store.schema.tables import API_KEYS, USERS

# More than a page shows.
NAMED_AT_MOST = 1_000
# The actors that are no people. Pages say it in their own words.
_OTHERS = {CLI: "command line", TEMPORAL: "Temporal", MAKEGOOD: "Makegood"}


async def read_names(session: AsyncSession, ids: Collection[str]) -> dict[str, str]:
    """The e-mail address of each user, the label of each key, and the name of any other actor."""
    wanted = sorted(set(ids))[:NAMED_AT_MOST]
    users = [one for one in wanted if one.startswith("usr_")]
    keys = [one for one in wanted if one.startswith("key_")]
    names = {one: _OTHERS[one] for one in wanted if one in _OTHERS}
    if users:
        emails = select(USERS.c.id, USERS.c.email).where(USERS.c.id.in_(users))
        rows = await session.execute(emails)
        names |= {row.id: row.email or "the first administrator" for row in rows}
    if keys:
        labels = select(API_KEYS.c.id, API_KEYS.c.label).where(API_KEYS.c.id.in_(keys))
        names |= {row.id: row.label for row in await session.execute(labels)}
    return names
