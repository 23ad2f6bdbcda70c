"""The members of a bulk repair, and the estimate of what it would do.

Reads only, in parts of a thousand ids, so that no statement grows with the selection.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, GroupId, IncidentId, ProjectId
from domain.incidents import IncidentState
from domain.repairing.bulk import Estimate
from domain.values.timestamps import to_unix_ms
from store.db.sql import Row, SessionStatements, Statements
from store.receipts.lists.filters import ListFilters
from store.receipts.lists.order import INCIDENT_LIST
from store.receipts.lists.pages import page_of_ids
from store.receipts.triage.superseded import superseding_events

READ_AT_ONCE = 1_000
_GIVEN = {
    "sqlite": "(SELECT value AS id FROM json_each($1))",
    "postgresql": "(SELECT json_array_elements_text(CAST($1 AS json)) AS id)",
}
_MEMBERS = """
SELECT i.id, i.event_id, i.opened_at FROM {given} AS given JOIN incidents i ON i.id = given.id
WHERE i.project_id = $2"""
_OF_GROUP = """
SELECT id, event_id, opened_at FROM incidents
WHERE group_id = $1 AND state = $2 AND project_id = $3 ORDER BY id LIMIT $4"""
_FACTS = """
SELECT i.event_id, i.state, i.amount, i.currency,
  EXISTS (SELECT 1 FROM holds h WHERE h.project_id = i.project_id AND h.ended_at IS NULL
    AND (h.until_at IS NULL OR h.until_at > $3)
    AND (h.effect_type IS NULL OR h.effect_type = r.effect_type)
    AND (h.internal_reference IS NULL OR h.internal_reference = r.internal_reference))
FROM {given} AS given JOIN incidents i ON i.id = given.id
JOIN receipts r ON r.event_id = i.event_id WHERE i.project_id = $2"""
_HAS_URL = "SELECT 1 FROM projects WHERE id = $1 AND repair_url IS NOT NULL AND NOT repair_url_gone"


async def members_in_search(
    session: AsyncSession, filters: ListFilters, *, limit: int
) -> list[tuple[IncidentId, EventId]]:
    """The incidents of a list, the oldest first; at most `limit`, of the newest."""
    ids: list[str] = []
    cursor: str | None = None
    while len(ids) < limit:
        page, cursor = await page_of_ids(
            session,
            INCIDENT_LIST,
            filters,
            limit=min(READ_AT_ONCE, limit - len(ids)),
            cursor=cursor,
        )
        ids += page
        if cursor is None:
            break
    st, found = SessionStatements(session), list[Row]()
    for part in _parts(ids):
        sql = _MEMBERS.format(given=_GIVEN[st.dialect])
        found += await st.fetch(sql, json.dumps(part), filters.project_id)
    return _oldest_first(found)


async def members_of_group(
    st: Statements, project_id: ProjectId, group_id: GroupId, *, limit: int
) -> list[tuple[IncidentId, EventId]]:
    """The unresolved incidents of a group, the oldest first; at most `limit`."""
    found = list[Row]()
    for state in (IncidentState.OPEN, IncidentState.REPAIRING):
        found += await st.fetch(_OF_GROUP, group_id, state.value, project_id, limit - len(found))
    return _oldest_first(found)


async def members_of_ids(
    st: Statements, project_id: ProjectId, incident_ids: Sequence[IncidentId]
) -> dict[str, EventId]:
    """The receipts of those incidents that the project has, by incident."""
    found: dict[str, EventId] = {}
    for part in _parts(incident_ids):
        sql = _MEMBERS.format(given=_GIVEN[st.dialect])
        rows = await st.fetch(sql, json.dumps(part), project_id)
        found |= {incident_id: EventId(event_id) for incident_id, event_id, _ in rows}
    return found


async def has_repair_url(st: Statements, project_id: ProjectId) -> bool:
    """Whether the project's repairs have a URL to call."""
    return bool(await st.fetch(_HAS_URL, project_id))


async def estimate(
    st: Statements,
    project_id: ProjectId,
    members: Sequence[tuple[IncidentId, EventId]],
    now: datetime,
    *,
    include_superseded: bool,
) -> Estimate:
    """What a bulk repair of these incidents would do at `now`."""
    has_url = await has_repair_url(st, project_id)
    repairable = superseded = held = without_url = 0
    amounts: Counter[str] = Counter()
    for start in range(0, len(members), READ_AT_ONCE):
        part = members[start : start + READ_AT_ONCE]
        doubtful = await superseding_events(st, [event_id for _, event_id in part])
        sql = _FACTS.format(given=_GIVEN[st.dialect])
        ids = json.dumps([incident_id for incident_id, _ in part])
        for row in await st.fetch(sql, ids, project_id, to_unix_ms(now)):
            event_id, state, amount, currency, is_held = row
            if state != IncidentState.OPEN:
                continue
            superseded += event_id in doubtful
            without_url += not has_url
            held += bool(is_held)
            if not has_url or (event_id in doubtful and not include_superseded):
                continue
            repairable += 1
            if amount is not None and currency is not None:
                amounts[currency] += amount
    return Estimate(
        matched=len(members),
        repairable=repairable,
        superseded=superseded,
        held=held,
        without_repair_url=without_url,
        amounts=dict(sorted(amounts.items())),
    )


def _oldest_first(rows: Iterable[Row]) -> list[tuple[IncidentId, EventId]]:
    in_order = sorted(rows, key=lambda row: (row[2], row[0]))
    return [(IncidentId(row[0]), EventId(row[1])) for row in in_order]


def _parts(ids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), READ_AT_ONCE):
        yield list(ids[start : start + READ_AT_ONCE])
