"""Reads the newest ids of a list from ranges of an index. A page reads about as many rows as it
shows.

1. A range is one combination of values that an index begins with: a project; a project, state,
   event type and effect type; or a project and a reference.
2. Each range is read newest first, from the bounds on, up to a limit, in one statement.
3. The keys of the ranges are merged. A filter that names no value of a column has a range for each
   value of that column, because neither database skips within an index.

Decision 0040 has the reasons and the measurements.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from domain.ids import ProjectId
from domain.values.timestamps import ceil_unix_ms, to_unix_ms
from store.db.paging import read_cursor, write_cursor
from store.db.sql import Dialect, Row, Statements, Value

OLDEST_MS, NEWEST_MS = -1, 2**62
_NAMES = re.compile(r":([a-z_]+)")


class Key(NamedTuple):
    """The position of a row in its list: its instant in Unix milliseconds, and its id."""

    at_ms: int
    id: str


@dataclass(frozen=True, slots=True)
class ListedTable:
    """A table with a list, newest first. `id_form` is the form of its ids."""

    name: str
    at: str
    id: str
    id_form: str


EVENT_LIST = ListedTable("receipts", "accepted_at", "event_id", "evt_[0-9a-f]{32}")
INCIDENT_LIST = ListedTable("incidents", "opened_at", "id", "inc_[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The rows with an instant after `after_ms` and a key below `below`."""

    after_ms: int
    below: Key

    @property
    def values(self) -> dict[str, int | str]:
        return {"after": self.after_ms, "below_at": self.below.at_ms, "below_id": self.below.id}


@dataclass(frozen=True, slots=True)
class Ranges:
    """The ranges to read: values of `columns`, in the order of the index.

    The values are a Cartesian product, and the project is the first column.
    """

    columns: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """The filters of a list by kind: the states, and a provider, event type and effect type, None
    for all.
    """

    states: tuple[str, ...]
    provider: str | None
    event_type: str | None
    effect_type: str | None


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the row `t` of a list, and its values by the names `:name` in it."""

    sql: str
    values: Mapping[str, str]


ANY_ROW = Condition("true", {})


# PostgreSQL compares whole keys of the index. With equal columns, a planner without statistics may
# choose another index of the project, and filter.
_RANGE = {
    "sqlite": """
SELECT {at} AS at, {id} AS id FROM {table} AS t
WHERE ({columns}) = ({values}) AND ({at}, {id}) < ({below}) AND {at} > CAST(:after AS BIGINT)
  AND ({condition})
ORDER BY {at} DESC, {id} DESC LIMIT :of_each""",
    "postgresql": """
SELECT {at} AS at, {id} AS id FROM {table} AS t
WHERE ({columns}, {at}, {id}) < ({values}, {below})
  AND ({columns}, {at}) > ({values}, CAST(:after AS BIGINT)) AND ({condition})
ORDER BY {descending}, {at} DESC, {id} DESC LIMIT :of_each""",
}
_EACH_RANGE = {
    "sqlite": (
        "SELECT given.key, (SELECT json_group_array(json_array(at, id)) FROM ({range}))"
        " FROM json_each(:ranges) AS given"
    ),
    "postgresql": (
        "SELECT given.number - 1, json_agg(json_build_array(at, id))"
        " FROM json_array_elements(CAST(:ranges AS json)) WITH ORDINALITY AS given(value, number)"
        " CROSS JOIN LATERAL ({range}) AS newest GROUP BY given.number"
    ),
}
_VALUE = {
    "sqlite": "json_extract(given.value, '$[{position}]')",
    "postgresql": "(given.value ->> {position})",
}

# OFFSET 0: PostgreSQL reads each row by its id, whatever number of rows it expects.
_ROWS_OF = {
    "sqlite": "found CROSS JOIN {table} AS t WHERE t.event_id = found.event_id",
    "postgresql": (
        "found CROSS JOIN LATERAL"
        " (SELECT * FROM {table} AS u WHERE u.event_id = found.event_id OFFSET 0) AS t WHERE true"
    ),
}
_OF_CANDIDATES = """
WITH found AS MATERIALIZED ({candidates})
SELECT t.{at}, t.{id} FROM {rows}
  AND (t.{at}, t.{id}) < (CAST(:below_at AS BIGINT), CAST(:below_id AS TEXT))
  AND t.{at} > CAST(:after AS BIGINT) AND {in_ranges} AND ({condition})
ORDER BY t.{at} DESC, t.{id} DESC LIMIT :count"""
_IN = {
    "sqlite": "t.{name} IN (SELECT value FROM json_each(:in_{name}))",
    "postgresql": "t.{name} IN (SELECT json_array_elements_text(CAST(:in_{name} AS json)))",
}


def project_ranges(scope: Sequence[ProjectId]) -> Ranges:
    """A range for each project."""
    return Ranges(("project_id",), tuple((project_id,) for project_id in scope))


def reference_ranges(scope: Sequence[ProjectId], reference: str) -> Ranges:
    """A range for each project: its receipts of one reference."""
    values = tuple((project_id, reference) for project_id in scope)
    return Ranges(("project_id", "internal_reference"), values)


async def newest(
    st: Statements,
    table: ListedTable,
    ranges: Ranges,
    bounds: Bounds,
    *,
    count: int,
    condition: Condition = ANY_ROW,
) -> tuple[Key, ...]:
    """The newest `count` keys of all ranges that are within the bounds and meet the condition."""
    below = [bounds.below] * len(ranges.values)
    lists = await newest_of_each(
        st, table, ranges, below, after_ms=bounds.after_ms, of_each=count, condition=condition
    )
    return tuple(sorted((key for keys in lists for key in keys), reverse=True)[:count])


async def newest_of_each(
    st: Statements,
    table: ListedTable,
    ranges: Ranges,
    below: Sequence[Key],
    *,
    after_ms: int,
    of_each: int,
    condition: Condition = ANY_ROW,
) -> list[list[Key]]:
    """The newest `of_each` keys of each range that are below its key in `below`."""
    one_range = _range_sql(st.dialect, table, ranges.columns, condition)
    given = [(*values, *key) for values, key in zip(ranges.values, below, strict=True)]
    sql, values = bind(
        _EACH_RANGE[st.dialect].format(range=one_range),
        {"ranges": json.dumps(given), "after": after_ms, "of_each": of_each, **condition.values},
    )
    return _by_range(await st.fetch(sql, *values), len(given))


def bind(sql: str, values: Mapping[str, Value]) -> tuple[str, list[Value]]:
    """The statement with `$1 $2 …` for its names, and the values of those that it names."""
    names = list(dict.fromkeys(_NAMES.findall(sql)))
    numbered = _NAMES.sub(lambda found: f"${names.index(found[1]) + 1}", sql)
    return numbered, [values[name] for name in names]


async def newest_of_candidates(
    st: Statements,
    table: ListedTable,
    ranges: Ranges,
    bounds: Bounds,
    candidates: Condition,
    *,
    count: int,
    condition: Condition = ANY_ROW,
) -> tuple[Key, ...]:
    """The newest `count` keys among the candidates.

    `candidates` selects event ids. It may use `:scope`, the projects of the ranges as JSON. All its
    rows are read, then those within the ranges and bounds that meet the condition are sorted.
    """
    allowed = {
        name: sorted({values[position] for values in ranges.values})
        for position, name in enumerate(ranges.columns)
    }
    sql, values = bind(
        _candidates_sql(st.dialect, table, ranges.columns, candidates, condition),
        {
            **bounds.values,
            **candidates.values,
            **condition.values,
            **{f"in_{name}": json.dumps(these) for name, these in allowed.items()},
            "scope": json.dumps(allowed["project_id"]),
            "count": count,
        },
    )
    return tuple(Key(*row) for row in await st.fetch(sql, *values))


def read_bounds(
    table: ListedTable, cursor: str | None, *, after: datetime | None, before: datetime | None
) -> Bounds:
    """The bounds of a page. Rows have whole milliseconds: `before` is rounded up, `after` down.

    Raises: ValidationFailed for a cursor of another list.
    """
    below = Key(NEWEST_MS if before is None else ceil_unix_ms(before), "")
    if cursor is not None:
        found = read_cursor(cursor, re.compile(rf"(\d{{1,18}}):({table.id_form})"))
        below = min(below, Key(int(found[1]), found[2]))
    return Bounds(OLDEST_MS if after is None else to_unix_ms(after), below)


def next_page_cursor(keys: Sequence[Key], limit: int) -> str | None:
    """The cursor after the first `limit` keys; None if there are no more."""
    return (
        write_cursor(f"{keys[limit - 1].at_ms}:{keys[limit - 1].id}") if len(keys) > limit else None
    )


def _range_sql(
    dialect: Dialect, table: ListedTable, columns: Sequence[str], condition: Condition
) -> str:
    """The statement of one range. Its values are at the positions of a JSON array."""
    places = [_VALUE[dialect].format(position=place) for place in range(len(columns) + 2)]
    *values, below_at, below_id = places
    return _RANGE[dialect].format(
        table=table.name,
        at=table.at,
        id=table.id,
        columns=", ".join(f"t.{name}" for name in columns),
        values=", ".join(values),
        below=f"CAST({below_at} AS BIGINT), CAST({below_id} AS TEXT)",
        descending=", ".join(f"t.{name} DESC" for name in columns),
        condition=condition.sql,
    )


def _candidates_sql(
    dialect: Dialect,
    table: ListedTable,
    columns: Sequence[str],
    candidates: Condition,
    condition: Condition,
) -> str:
    return _OF_CANDIDATES.format(
        at=table.at,
        id=table.id,
        candidates=candidates.sql,
        rows=_ROWS_OF[dialect].format(table=table.name),
        in_ranges=" AND ".join(_IN[dialect].format(name=name) for name in columns),
        condition=condition.sql,
    )


def _by_range(rows: Sequence[Row], ranges: int) -> list[list[Key]]:
    found: list[list[Key]] = [[] for _ in range(ranges)]
    for position, listed in rows:
        pairs = json.loads(listed) if isinstance(listed, str) else listed
        found[position] = [Key(*pair) for pair in pairs]
    return found
