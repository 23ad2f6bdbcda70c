"""Finds the rows of a list whose texts contain a search text, newest first.

1. The newest rows of the ranges are checked. A text that many rows contain fills a page from them.
2. Otherwise the trigram index is asked (`store.receipts.lists.search_index`), together with the
   receipts that it does not hold yet.
3. A text of fewer than three characters has no trigram, and PostgreSQL without `pg_trgm` has no
   such index. Then the ranges are scanned, until the session's time limit at most.

A text matches part of the internal reference or of the provider's id, or a whole id of ours. The
case of ASCII letters does not matter.
"""

import json
from dataclasses import dataclass

from domain.ids import ProjectId
from store.db.sql import Dialect, Statements
from store.receipts.lists.ranges import (
    EVENT_LIST,
    Bounds,
    Condition,
    Key,
    ListedTable,
    Ranges,
    bind,
    newest,
    newest_among,
)
from store.receipts.lists.search_index import (
    SHORTEST_INDEXED,
    has_trigrams,
    search_limits,
    trigram_query,
)

# Checked before the index is asked. What the first part holds tells how many rows fill a page.
CHECKED_FIRST, CHECKED_AT_MOST = 500, 5_000
_CONTAINS = """
  ({like_reference} OR {like_provider_id} OR {r}.event_id = CAST(:q AS TEXT)
  OR {r}.event_id IN (SELECT event_id FROM incidents WHERE id = CAST(:q AS TEXT)))"""
_LIKE = {
    "sqlite": "lower({0}) LIKE lower(CAST(:pattern AS TEXT)) ESCAPE '/'",
    "postgresql": "{0} ILIKE CAST(:pattern AS TEXT) ESCAPE '/'",
}
_TEXTS = {
    "sqlite": """
SELECT t.{id}, r.internal_reference, r.provider_event_id, {contains}
FROM json_each(:ids) AS given CROSS JOIN {table} AS t CROSS JOIN receipts AS r
WHERE t.{id} = given.value AND r.event_id = t.event_id""",
    "postgresql": """
SELECT t.{id}, r.internal_reference, r.provider_event_id, {contains}
FROM json_array_elements_text(CAST(:ids AS json)) AS given(value)
CROSS JOIN LATERAL (SELECT * FROM {table} AS u WHERE u.{id} = given.value OFFSET 0) AS t
CROSS JOIN LATERAL (SELECT * FROM receipts AS u WHERE u.event_id = t.event_id OFFSET 0) AS r""",
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
    "sqlite": """
SELECT r.event_id FROM json_each(:limits) AS given CROSS JOIN receipts AS r
WHERE r.project_id = json_extract(given.value, '$[0]')
  AND r.accepted_at >= json_extract(given.value, '$[1]') AND {contains}""",
    "postgresql": """
SELECT r.event_id FROM json_array_elements(CAST(:limits AS json)) AS given(value)
CROSS JOIN LATERAL (SELECT * FROM receipts AS u WHERE u.project_id = (given.value ->> 0)
  AND u.accepted_at >= CAST(given.value ->> 1 AS BIGINT) OFFSET 0) AS r
WHERE {contains}""",
}


@dataclass(frozen=True, slots=True)
class Search:
    """A search for the text `q` in a list, within ranges and bounds."""

    of: ListedTable
    ranges: Ranges
    bounds: Bounds
    q: str


@dataclass(frozen=True, slots=True)
class Checked:
    """The newest rows that were checked: the keys that match, and the texts of all of them.

    `is_all`: there are no further rows.
    """

    keys: tuple[Key, ...]
    texts: tuple[str, ...]
    is_all: bool


def row_contains(dialect: Dialect, of: ListedTable, q: str) -> Condition:
    """The condition that the texts of a row's receipt contain `q`."""
    # The escape character of the pattern is a slash.
    escaped = q.replace("/", "//").replace("%", "/%").replace("_", "/_")
    sql = _contains(dialect, "t")
    if of is not EVENT_LIST:
        receipts = f"receipts AS r WHERE r.event_id = t.event_id AND {_contains(dialect, 'r')}"
        sql = f"EXISTS (SELECT 1 FROM {receipts})"  # noqa: S608 - constants only
    return Condition(sql, {"q": q, "pattern": f"%{escaped}%"})


async def search(st: Statements, of: Search, *, count: int) -> tuple[Key, ...]:
    """The newest `count` keys of rows whose texts contain the text."""
    if not of.ranges.values:
        return ()
    rows = CHECKED_FIRST
    while rows <= CHECKED_AT_MOST:
        checked = await _check(st, of, of_each=max(count, rows // len(of.ranges.values)))
        if checked.is_all or len(checked.keys) >= count:
            return checked.keys[:count]
        # Half as many more than fill the page if the others are alike; at least twice as many.
        needed = 3 * count * len(checked.texts) // (2 * max(1, len(checked.keys)))
        rows = max(2 * rows, needed if checked.keys else CHECKED_AT_MOST + 1)
    if len(of.q) < SHORTEST_INDEXED or not await has_trigrams(st):
        contains = row_contains(st.dialect, of.of, of.q)
        scanned = await newest(st, of.of, of.ranges, of.bounds, of_each=count, condition=contains)
        return scanned.keys[:count]
    candidates = await _candidates(st, of, checked.texts)
    return await newest_among(st, of.of, of.ranges, of.bounds, candidates, count=count)


async def _check(st: Statements, of: Search, *, of_each: int) -> Checked:
    """Check the newest rows of each range, as far down as all ranges were read."""
    window = await newest(st, of.of, of.ranges, of.bounds, of_each=of_each)
    keys = [key for key in window.keys if key >= (window.complete_from or key)]
    contains = row_contains(st.dialect, of.of, of.q)
    sql, values = bind(
        _TEXTS[st.dialect].format(table=of.of.name, id=of.of.id, contains=contains.sql),
        {"ids": json.dumps([key.id for key in keys]), **contains.values},
    )
    rows = await st.fetch(sql, *values)
    matching = {row[0] for row in rows if row[3]}
    texts = tuple(f"{row[1]}\n{row[2]}" for row in rows)
    found = tuple(key for key in keys if key.id in matching)
    return Checked(found, texts, window.complete_from is None)


async def _candidates(st: Statements, of: Search, texts: tuple[str, ...]) -> Condition:
    """The receipts that the index finds, those that it does not hold yet, and the one of that
    id.
    """
    scope = sorted({ProjectId(values[0]) for values in of.ranges.values})
    unindexed = _UNINDEXED[st.dialect].format(contains=_contains(st.dialect, "r"))
    return Condition(
        f"{_WHOLE_IDS} UNION {_INDEXED[st.dialect]} UNION {unindexed}",
        {
            **row_contains(st.dialect, of.of, of.q).values,
            "limits": json.dumps(await search_limits(st, scope)),
            "trigrams": trigram_query(of.q, texts[:CHECKED_FIRST]),
        },
    )


def _contains(dialect: Dialect, receipt: str) -> str:
    like_reference, like_provider_id = (
        _LIKE[dialect].format(f"{receipt}.{name}")
        for name in ("internal_reference", "provider_event_id")
    )
    return _CONTAINS.format(
        r=receipt, like_reference=like_reference, like_provider_id=like_provider_id
    )
