"""Finds the rows of a list whose texts contain a search text, newest first.

1. The newest rows of the ranges are checked. A text that many rows contain fills a page from them.
2. Otherwise the trigram index is asked (`store.receipts.search_index`), together with the receipts
   that it does not hold yet.
3. A text of fewer than three characters has no trigram, and PostgreSQL without `pg_trgm` has no
   such index. Then the ranges are scanned, until the session's time limit at most.

A text matches part of the internal reference or of the provider's id, or a whole id of ours. The
case of ASCII letters does not matter.
"""

import json
from dataclasses import dataclass

from domain.ids import ProjectId
from store.db.sql import Statements
from store.receipts.list_ranges import (
    Bounds,
    Condition,
    Key,
    ListedTable,
    Ranges,
    Window,
    bind,
    newest,
    newest_among,
)
from store.receipts.search_index import SHORTEST_INDEXED, has_trigrams, search_limits, trigram_query

# Checked before the index is asked. A text in one of 200 rows fills a page of 20 from these.
CHECKED_FIRST = 5_000
_CONTAINS = (
    "lower(r.internal_reference) LIKE lower(CAST(:pattern AS TEXT)) ESCAPE '/'"
    " OR lower(r.provider_event_id) LIKE lower(CAST(:pattern AS TEXT)) ESCAPE '/'"
    " OR r.event_id = CAST(:q AS TEXT)"
    " OR r.event_id IN (SELECT event_id FROM incidents WHERE id = CAST(:q AS TEXT))"
)
_ROW_CONTAINS = f"""
EXISTS (SELECT 1 FROM receipts AS r WHERE r.event_id = t.event_id AND ({_CONTAINS}))"""  # noqa: S608 - constants only
_MATCHING = {
    "sqlite": """
SELECT t.{id} FROM json_each(:ids) AS given CROSS JOIN {table} AS t
WHERE t.{id} = given.value AND {contains}""",
    "postgresql": """
SELECT t.{id} FROM json_array_elements_text(CAST(:ids AS json)) AS given(value)
CROSS JOIN LATERAL (SELECT * FROM {table} AS u WHERE u.{id} = given.value OFFSET 0) AS t
WHERE {contains}""",
}
_WHOLE_IDS = """
SELECT event_id FROM receipts WHERE event_id = CAST(:q AS TEXT)
UNION SELECT event_id FROM incidents WHERE id = CAST(:q AS TEXT)"""
_INDEXED = {
    "sqlite": """
SELECT s.event_id FROM search_trigrams CROSS JOIN search_texts AS s
WHERE search_trigrams MATCH :trigrams AND s.id = search_trigrams.rowid
  AND s.project_id IN (SELECT value FROM json_each(:scope))
  AND lower(s.text) LIKE lower(:pattern) ESCAPE '/'""",
    "postgresql": """
SELECT s.event_id FROM search_texts AS s
WHERE s.text ILIKE :pattern ESCAPE '/'
  AND s.project_id = ANY(ARRAY(SELECT json_array_elements_text(CAST(:scope AS json))))""",
}
_UNINDEXED = {
    "sqlite": f"""
SELECT r.event_id FROM json_each(:limits) AS given CROSS JOIN receipts AS r
WHERE r.project_id = json_extract(given.value, '$[0]')
  AND r.accepted_at >= json_extract(given.value, '$[1]') AND ({_CONTAINS})""",  # noqa: S608 - constants only
    "postgresql": f"""
SELECT r.event_id FROM json_array_elements(CAST(:limits AS json)) AS given(value)
CROSS JOIN LATERAL (SELECT * FROM receipts AS u WHERE u.project_id = (given.value ->> 0)
  AND u.accepted_at >= CAST(given.value ->> 1 AS BIGINT) OFFSET 0) AS r WHERE {_CONTAINS}""",  # noqa: S608 - constants only
}


@dataclass(frozen=True, slots=True)
class Search:
    """A search for the text `q` in a list, within ranges and bounds."""

    of: ListedTable
    ranges: Ranges
    bounds: Bounds
    q: str


def row_contains(q: str) -> Condition:
    """The condition that the texts of a row's receipt contain `q`."""
    # The escape character of the pattern is a slash.
    escaped = q.replace("/", "//").replace("%", "/%").replace("_", "/_")
    return Condition(_ROW_CONTAINS, {"q": q, "pattern": f"%{escaped}%"})


async def search(st: Statements, of: Search, *, count: int) -> tuple[Key, ...]:
    """The newest `count` keys of rows whose texts contain the text."""
    if not of.ranges.values:
        return ()
    contains = row_contains(of.q)
    of_each = max(count, CHECKED_FIRST // len(of.ranges.values))
    window = await newest(st, of.of, of.ranges, of.bounds, of_each=of_each)
    found = await _matching(st, of, window)
    if window.complete_from is None or len(found) >= count:
        return found[:count]
    if len(of.q) < SHORTEST_INDEXED or not await has_trigrams(st):
        scanned = await newest(st, of.of, of.ranges, of.bounds, of_each=count, condition=contains)
        return scanned.keys[:count]
    if st.dialect == "postgresql":
        # Otherwise a text that PostgreSQL expects in many rows is searched without the index.
        await st.fetch("SET LOCAL enable_seqscan = off")
    candidates = await _candidates(st, of, contains)
    return await newest_among(st, of.of, of.ranges, of.bounds, candidates, count=count)


async def _matching(st: Statements, of: Search, window: Window) -> tuple[Key, ...]:
    """The keys of the window that match, as far down as the window is complete."""
    keys = [key for key in window.keys if key >= (window.complete_from or key)]
    sql, values = bind(
        _MATCHING[st.dialect].format(table=of.of.name, id=of.of.id, contains=_ROW_CONTAINS),
        {"ids": json.dumps([key.id for key in keys]), **row_contains(of.q).values},
    )
    matching = {row[0] for row in await st.fetch(sql, *values)}
    return tuple(key for key in keys if key.id in matching)


async def _candidates(st: Statements, of: Search, contains: Condition) -> Condition:
    """The receipts that the index finds, those that it does not hold yet, and the one of that
    id.
    """
    scope = sorted({ProjectId(values[0]) for values in of.ranges.values})
    return Condition(
        f"{_WHOLE_IDS} UNION {_INDEXED[st.dialect]} UNION {_UNINDEXED[st.dialect]}",
        {
            **contains.values,
            "limits": json.dumps(await search_limits(st, scope)),
            "trigrams": trigram_query(of.q),
        },
    )
