"""Finds the rows of a list whose texts contain a search text, in the order of the list.

1. The first rows of the ranges are checked. A text that many rows contain fills a page from them,
   and ranges with few rows are read whole.
2. Otherwise the trigram index is read (`store.receipts.lists.search_index`), together with the
   receipts that it does not hold yet. Their rows are sorted.
3. A frequent text has too many of them, and a text of fewer than three characters has no trigram.
   Then the ranges are checked further, until the session's time limit at most.

What a text matches is in `store.receipts.lists.texts`. One search has one answer on every store.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from domain.ids import ProjectId
from store.db.sql import Dialect, Statements, Value
from store.receipts.lists.merge import MergedRanges
from store.receipts.lists.order import Bounds, Key, ListedTable
from store.receipts.lists.ranges import (
    ANY_ROW,
    Condition,
    Ranges,
    bind,
    first_keys,
    first_of_candidates,
)
from store.receipts.lists.search_index import (
    SHORTEST_INDEXED,
    has_trigrams,
    search_limits,
    trigram_query,
)
from store.receipts.lists.texts import both, contains, error_contains, of_receipt, texts_of

_TEXTS = """
SELECT given.value, {r}.internal_reference, {r}.provider_event_id,
  COALESCE({r}.customer_reference, ''), ({contains}) AND ({condition})
FROM {rows}"""
# OFFSET 0: PostgreSQL reads each row by its id, whatever number of rows it expects.
_ROWS_OF_IDS = {
    ("sqlite", "receipts"): """
json_each(:ids) AS given CROSS JOIN receipts AS t WHERE t.event_id = given.value""",
    ("sqlite", "incidents"): """
json_each(:ids) AS given CROSS JOIN incidents AS t CROSS JOIN receipts AS r
WHERE t.id = given.value AND r.event_id = t.event_id""",
    ("postgresql", "receipts"): """
json_array_elements_text(CAST(:ids AS json)) AS given(value)
CROSS JOIN LATERAL (SELECT * FROM receipts AS u WHERE u.event_id = given.value OFFSET 0) AS t""",
    ("postgresql", "incidents"): """
json_array_elements_text(CAST(:ids AS json)) AS given(value)
CROSS JOIN LATERAL (SELECT * FROM incidents AS u WHERE u.id = given.value OFFSET 0) AS t
CROSS JOIN LATERAL (SELECT * FROM receipts AS u WHERE u.event_id = t.event_id OFFSET 0) AS r""",
}
_WHOLE_IDS = """
SELECT event_id FROM receipts WHERE event_id = CAST(:q AS TEXT)
UNION SELECT event_id FROM incidents WHERE id = CAST(:q AS TEXT)
UNION SELECT event_id FROM repairs WHERE replay_id = CAST(:q AS TEXT)"""
# In all projects: FTS5 knows no project, and a join with the texts would read them. On PostgreSQL
# the right side has the collation of the index.
_COUNT_CANDIDATES = {
    "sqlite": """
SELECT count(*) FROM
  (SELECT 1 FROM search_trigrams WHERE search_trigrams MATCH :trigrams LIMIT :most)""",
    "postgresql": """
SELECT count(*) FROM (SELECT 1 FROM search_texts AS s WHERE search_trigrams(s.text)
  @> ARRAY(SELECT lower(value COLLATE pg_catalog."C") COLLATE pg_catalog."C"
    FROM json_array_elements_text(CAST(:trigrams AS json)) AS given(value))
  LIMIT :most) AS found""",
}
_INDEXED = {
    "sqlite": """
SELECT s.event_id FROM search_trigrams CROSS JOIN search_texts AS s
WHERE search_trigrams MATCH :trigrams AND s.id = search_trigrams.rowid
  AND s.project_id IN (SELECT value FROM json_each(:scope))
  AND lower(s.text) LIKE lower(:pattern) ESCAPE '/'""",
    "postgresql": """
SELECT s.event_id FROM search_texts AS s WHERE search_trigrams(s.text)
  @> ARRAY(SELECT lower(value COLLATE pg_catalog."C") COLLATE pg_catalog."C"
    FROM json_array_elements_text(CAST(:trigrams AS json)) AS given(value))
  AND lower(s.text COLLATE pg_catalog."C")
    LIKE lower(CAST(:pattern AS TEXT) COLLATE pg_catalog."C") ESCAPE '/'
  AND s.project_id = ANY(ARRAY(SELECT json_array_elements_text(CAST(:scope AS json))))""",
}
# Receipts that came, and incidents that opened, after what the index holds.
_UNINDEXED = {
    "sqlite": """
SELECT r.event_id FROM json_each(:limits) AS given CROSS JOIN receipts AS r
WHERE r.project_id = json_extract(given.value, '$[0]')
  AND r.accepted_at >= json_extract(given.value, '$[1]') AND {contains}
UNION SELECT s.event_id FROM json_each(:limits) AS given CROSS JOIN incidents AS s
WHERE s.project_id = json_extract(given.value, '$[0]')
  AND s.opened_at >= json_extract(given.value, '$[2]') AND {error_contains}""",
    "postgresql": """
SELECT r.event_id FROM json_array_elements(CAST(:limits AS json)) AS given(value)
CROSS JOIN LATERAL (SELECT * FROM receipts AS u WHERE u.project_id = (given.value ->> 0)
  AND u.accepted_at >= CAST(given.value ->> 1 AS BIGINT) OFFSET 0) AS r
WHERE {contains}
UNION SELECT s.event_id FROM json_array_elements(CAST(:limits AS json)) AS given(value)
CROSS JOIN LATERAL (SELECT * FROM incidents AS u WHERE u.project_id = (given.value ->> 0)
  AND u.opened_at >= CAST(given.value ->> 2 AS BIGINT) OFFSET 0) AS s
WHERE {error_contains}""",
}


@dataclass(frozen=True, slots=True)
class SearchSteps:
    """When a search goes on to its next step, in rows.

    `first` are checked in the first part, and each part is twice as long as the one before. The
    index is read after `before_index`, and one statement scans the rest after `before_scan`. A
    text with more than `candidates` in the index is frequent: sorting them would take longer.
    """

    first: int
    before_index: int
    before_scan: int
    candidates: int


STEPS = SearchSteps(first=500, before_index=5_000, before_scan=40_000, candidates=20_000)
# Texts that are kept, to find the rarest trigrams of the search text.
SAMPLED_TEXTS = 500
FAR_MORE = 2**31


@dataclass(frozen=True, slots=True)
class Search:
    """A search for the text `q` in a list, within ranges and bounds, and under a condition."""

    table: ListedTable
    ranges: Ranges
    bounds: Bounds
    q: str
    steps: SearchSteps = STEPS
    condition: Condition = ANY_ROW


@dataclass(slots=True)
class Checked:
    """The rows checked so far: how many, the keys that match, and some texts."""

    rows: int = 0
    found: list[Key] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def rows_to_fill(self, count: int) -> int:
        """Half as many more rows than find `count` keys if they are like those so far."""
        missing, found = count - len(self.found), len(self.found)
        return 3 * missing * self.rows // (2 * found) if found else FAR_MORE


async def search(st: Statements, query: Search, *, count: int) -> tuple[Key, ...]:
    """The first `count` keys of rows whose texts contain the text."""
    merged = MergedRanges(query.table, query.ranges, query.bounds)
    checked, batch = Checked(), query.steps.first
    is_index_read = len(query.q) < SHORTEST_INDEXED or not await has_trigrams(st)
    while not merged.is_done and len(checked.found) < count:
        # So many rows without a match: the text is probably rare.
        is_rare = checked.rows >= query.steps.first and not checked.found
        if not is_index_read and (is_rare or checked.rows >= query.steps.before_index):
            is_index_read = True
            if (candidates := await _candidates(st, query, checked.texts)) is not None:
                return await first_of_candidates(
                    st,
                    query.table,
                    query.ranges,
                    query.bounds,
                    candidates,
                    count=count,
                    condition=_matching(st.dialect, query),
                )
        if checked.rows >= query.steps.before_scan:
            checked.found += await _scan(st, query, merged.beyond, count)
            break
        await _check(st, query, await merged.read(st, batch), checked)
        batch = min(2 * batch, max(query.steps.first, checked.rows_to_fill(count)))
    return tuple(checked.found[:count])


async def _check(st: Statements, query: Search, keys: Sequence[Key], checked: Checked) -> None:
    """Compare the texts of these rows, the next ones, with the text."""
    r = "t" if query.table.is_of_events else "r"
    matching = contains(st.dialect, query.q)
    sql, values = bind(
        _TEXTS.format(
            r=r,
            contains=matching.sql.format(r=r),
            condition=query.condition.sql,
            rows=_ROWS_OF_IDS[st.dialect, query.table.name],
        ),
        {
            "ids": json.dumps([key.id for key in keys]),
            **matching.values,
            **query.condition.values,
        },
    )
    rows = await st.fetch(sql, *values)
    found = {row[0] for row in rows if row[4]}
    checked.found += [key for key in keys if key.id in found]
    checked.rows += len(keys)
    sampled = rows[: SAMPLED_TEXTS - len(checked.texts)]
    checked.texts += ["\n".join(row[1:4]) for row in sampled]


async def _scan(st: Statements, query: Search, beyond: Key, count: int) -> tuple[Key, ...]:
    """The first matches beyond a key, by one statement, which the time limit can end."""
    bounds = Bounds(query.bounds.end, beyond)
    matching = _matching(st.dialect, query)
    return await first_keys(st, query.table, query.ranges, bounds, count=count, condition=matching)


async def _candidates(st: Statements, query: Search, texts: Sequence[str]) -> Condition | None:
    """The receipts that the index finds, those that it does not hold yet, and the one of that id.
    None if the index finds too many, in whichever projects: a text that is frequent in another
    project is compared with the rows of the ranges.
    """
    scope = sorted({ProjectId(values[0]) for values in query.ranges.values})
    trigrams = trigram_query(st.dialect, query.q, texts)
    values_by_name: dict[str, Value] = {"trigrams": trigrams, "most": query.steps.candidates + 1}
    sql, values = bind(_COUNT_CANDIDATES[st.dialect], values_by_name)
    ((candidates,),) = await st.fetch(sql, *values)
    if candidates > query.steps.candidates:
        return None
    unindexed = _UNINDEXED[st.dialect].format(
        contains=contains(st.dialect, query.q).sql.format(r="r"),
        error_contains=error_contains(st.dialect, "s"),
    )
    return Condition(
        f"{_WHOLE_IDS} UNION {_INDEXED[st.dialect]} UNION {unindexed}",
        {
            **texts_of(query.q),
            "limits": json.dumps(await search_limits(st, scope)),
            "trigrams": trigrams,
        },
    )


def _matching(dialect: Dialect, query: Search) -> Condition:
    """The condition on the row `t` that its texts contain the text, and that of the query."""
    return both(of_receipt(query.table, contains(dialect, query.q)), query.condition)
