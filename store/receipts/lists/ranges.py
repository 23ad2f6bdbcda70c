"""Reads the first ids of a list from ranges of an index. A page reads about as many rows as it
shows.

1. A range is one combination of values that an index begins with: a project; a project, state,
   event type and effect type; or a project and a reference.
2. Each range is read in the order of the list, from the bounds on, up to a limit, in one statement.
3. The keys of the ranges are merged. A filter that names no value of a column has a range for each
   value of that column, because neither database skips within an index.

Decision 0040 has the reasons and the measurements.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from domain.ids import ProjectId
from store.db.sql import Dialect, Row, Statements, Value
from store.receipts.lists.order import Bounds, Key, ListedTable

_NAMES = re.compile(r":([a-z_]+)")


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
    values: Mapping[str, Value]


ANY_ROW = Condition("true", {})


# PostgreSQL compares whole keys of the index. With equal columns, a planner without statistics may
# choose another index of the project, and filter.
_RANGE = {
    "sqlite": """
SELECT {at} AS at, {id} AS id FROM {table} AS t
WHERE ({columns}) = ({values}) AND ({at}, {id}) {beyond} ({start})
  AND {at} {before} CAST(:end AS BIGINT) AND ({condition})
ORDER BY {at} {direction}, {id} {direction} LIMIT :of_each""",
    "postgresql": """
SELECT {at} AS at, {id} AS id FROM {table} AS t
WHERE ({columns}, {at}, {id}) {beyond} ({values}, {start})
  AND ({columns}, {at}) {before} ({values}, CAST(:end AS BIGINT)) AND ({condition})
ORDER BY {ordered}, {at} {direction}, {id} {direction} LIMIT :of_each""",
}
_EACH_RANGE = {
    "sqlite": (
        "SELECT given.key, (SELECT json_group_array(json_array(at, id)) FROM ({range}))"
        " FROM json_each(:ranges) AS given"
    ),
    "postgresql": (
        "SELECT given.number - 1, json_agg(json_build_array(at, id))"
        " FROM json_array_elements(CAST(:ranges AS json)) WITH ORDINALITY AS given(value, number)"
        " CROSS JOIN LATERAL ({range}) AS listed GROUP BY given.number"
    ),
}
EACH_VALUE = {
    "sqlite": "json_each(:{name}) AS given",
    "postgresql": "json_array_elements(CAST(:{name} AS json)) AS given(value)",
}
VALUE = {
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
  AND (t.{at}, t.{id}) {beyond} (CAST(:start_at AS BIGINT), CAST(:start_id AS TEXT))
  AND t.{at} {before} CAST(:end AS BIGINT) AND {in_ranges} AND ({condition})
ORDER BY t.{at} {direction}, t.{id} {direction} LIMIT :count"""
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


async def first_keys(
    st: Statements,
    table: ListedTable,
    ranges: Ranges,
    bounds: Bounds,
    *,
    count: int,
    condition: Condition = ANY_ROW,
) -> tuple[Key, ...]:
    """The first `count` keys of all ranges that are within the bounds and meet the condition."""
    lists = await first_of_each(st, table, ranges, bounds, of_each=count, condition=condition)
    return tuple(table.in_order(key for keys in lists for key in keys)[:count])


async def first_of_each(
    st: Statements,
    table: ListedTable,
    ranges: Ranges,
    bounds: Bounds,
    *,
    of_each: int,
    condition: Condition = ANY_ROW,
) -> list[list[Key]]:
    """The first `of_each` keys of each range."""
    one_range = _range_sql(st.dialect, table, ranges.columns, condition)
    given = [(*values, *bounds.start) for values in ranges.values]
    sql, values = bind(
        _EACH_RANGE[st.dialect].format(range=one_range),
        {"ranges": json.dumps(given), "end": bounds.end, "of_each": of_each, **condition.values},
    )
    return _by_range(await st.fetch(sql, *values), len(given))


def bind(sql: str, values: Mapping[str, Value]) -> tuple[str, list[Value]]:
    """The statement with `$1 $2 …` for its names, and the values of those that it names."""
    names = list(dict.fromkeys(_NAMES.findall(sql)))
    numbered = _NAMES.sub(lambda found: f"${names.index(found[1]) + 1}", sql)
    return numbered, [values[name] for name in names]


async def first_of_candidates(
    st: Statements,
    table: ListedTable,
    ranges: Ranges,
    bounds: Bounds,
    candidates: Condition,
    *,
    count: int,
    condition: Condition = ANY_ROW,
) -> tuple[Key, ...]:
    """The first `count` keys among the candidates.

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


def _range_sql(
    dialect: Dialect, table: ListedTable, columns: Sequence[str], condition: Condition
) -> str:
    """The statement of one range. Its values are at the positions of a JSON array."""
    places = [VALUE[dialect].format(position=place) for place in range(len(columns) + 2)]
    *values, start_at, start_id = places
    return _RANGE[dialect].format(
        table=table.name,
        at=table.at,
        id=table.id,
        columns=", ".join(f"t.{name}" for name in columns),
        values=", ".join(values),
        start=f"CAST({start_at} AS BIGINT), CAST({start_id} AS TEXT)",
        beyond=table.beyond,
        before=table.before,
        direction=table.direction,
        ordered=", ".join(f"t.{name} {table.direction}" for name in columns),
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
        beyond=table.beyond,
        before=table.before,
        direction=table.direction,
        in_ranges=" AND ".join(_IN[dialect].format(name=name) for name in columns),
        condition=condition.sql,
    )


def _by_range(rows: Sequence[Row], ranges: int) -> list[list[Key]]:
    found: list[list[Key]] = [[] for _ in range(ranges)]
    for position, listed in rows:
        pairs = json.loads(listed) if isinstance(listed, str) else listed
        found[position] = [Key(*pair) for pair in pairs]
    return found
