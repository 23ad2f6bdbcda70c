"""The ranges of a list that filters by state, provider, event type or effect type.

1. The contract's sets are finite: a project without names of its own has a range for each
   combination of their values.
2. A project with names of its own may have any event type. Its combinations are read from the index
   itself, from one to the next, so that the number of reads is that of the combinations, not of
   rows (decision 0051).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from domain.ids import ProjectId
from domain.names import BUILT_IN_EFFECT_TYPES, BUILT_IN_EVENT_TYPES, BUILT_IN_PROVIDERS
from domain.receipts import EVENT_TYPES_OF
from store.db.sql import Row, Statements
from store.receipts.lists.order import ListedTable
from store.receipts.lists.ranges import Condition, Kind, Ranges
from store.schema.mappers import own_names_from
from store.schema.tables import OWN_PROVIDER

COLUMNS = ("project_id", "state", "event_type", "effect_type")
_WITH_OWN_NAMES = """
SELECT id, event_types FROM projects
WHERE id IN {ids} AND providers || event_types || effect_types <> ''"""
_IDS = {
    "sqlite": "(SELECT value FROM json_each($1))",
    "postgresql": "(SELECT json_array_elements_text(CAST($1 AS json)))",
}
# The event types of one provider in each project, by the index `receipts_by_own_provider`.
_TYPES_OF_PROVIDER = f"""
WITH RECURSIVE found (project_id, event_type) AS (
  SELECT id, '' FROM projects WHERE id IN {{ids}}
  UNION ALL
  SELECT found.project_id, (SELECT min(t.event_type) FROM receipts AS t
    WHERE t.project_id = found.project_id AND t.provider = $2 AND t.{OWN_PROVIDER}
      AND t.event_type > found.event_type)
  FROM found WHERE found.event_type IS NOT NULL
)
SELECT project_id, event_type FROM found WHERE event_type <> ''"""  # noqa: S608 - constants only
# Each step is one look-up in the index `…_by_state`.
_COMBINATIONS = {
    "sqlite": """
WITH RECURSIVE found (project_id, state, event_type, effect_type) AS (
  SELECT project.value, wanted.value, '', ''
  FROM json_each($1) AS project CROSS JOIN json_each($2) AS wanted
  UNION ALL
  SELECT u.project_id, u.state, u.event_type, u.effect_type FROM found CROSS JOIN {table} AS u
  WHERE u.rowid = (SELECT t.rowid FROM {table} AS t
    WHERE t.project_id = found.project_id AND t.state = found.state
      AND (t.event_type, t.effect_type) > (found.event_type, found.effect_type)
    ORDER BY t.event_type, t.effect_type LIMIT 1)
)
SELECT project_id, state, event_type, effect_type FROM found WHERE event_type <> ''""",
    "postgresql": """
WITH RECURSIVE found (project_id, state, event_type, effect_type) AS (
  SELECT project.value, wanted.value, '', ''
  FROM json_array_elements_text(CAST($1 AS json)) AS project(value)
  CROSS JOIN json_array_elements_text(CAST($2 AS json)) AS wanted(value)
  UNION ALL
  SELECT found.project_id, found.state, next.event_type, next.effect_type
  FROM found CROSS JOIN LATERAL (SELECT t.event_type, t.effect_type FROM {table} AS t
    WHERE t.project_id = found.project_id AND t.state = found.state
      AND (t.event_type, t.effect_type) > (found.event_type, found.effect_type)
    ORDER BY t.event_type, t.effect_type LIMIT 1) AS next
)
SELECT project_id, state, event_type, effect_type FROM found WHERE event_type <> ''""",
}


@dataclass(frozen=True, slots=True)
class KindRanges:
    """The ranges, and the condition on a receipt `{r}` that remains to be checked; None without."""

    ranges: Ranges
    of_receipt: Condition | None


async def kind_ranges(
    st: Statements, table: ListedTable, scope: Sequence[ProjectId], kind: Kind
) -> KindRanges:
    """A range for each project, state, event type and effect type that the filters leave."""
    own_types = await _own_event_types(st, scope)
    plain = [project_id for project_id in scope if project_id not in own_types]
    values = tuple(product(plain, kind.states, _types(kind), _effects(kind)))
    if not own_types:
        return KindRanges(Ranges(COLUMNS, values), None)
    types = await _types_of_provider(st, own_types, kind.provider)
    values += tuple(
        (project_id, state, event_type, effect_type)
        for project_id, state, event_type, effect_type in await _combinations(
            st, table, list(own_types), kind.states
        )
        if kind.event_type in {None, event_type}
        and kind.effect_type in {None, effect_type}
        and (types is None or event_type in types[project_id])
    )
    return KindRanges(Ranges(COLUMNS, values), _provider_condition(kind))


def _provider_condition(kind: Kind) -> Condition | None:
    """Two providers of a project with names of its own may have an event type in common."""
    if kind.provider is None:
        return None
    return Condition("{r}.provider = CAST(:provider AS TEXT)", {"provider": kind.provider})


async def _own_event_types(st: Statements, scope: Sequence[ProjectId]) -> dict[str, set[str]]:
    """The event types that each project added, also earlier, of those with names of their own."""
    sql = _WITH_OWN_NAMES.format(ids=_IDS[st.dialect])
    rows = await st.fetch(sql, json.dumps(scope))
    return {project_id: set(own_names_from(names).known) for project_id, names in rows}


async def _types_of_provider(
    st: Statements, own_types: Mapping[str, set[str]], provider: str | None
) -> Mapping[str, set[str]] | None:
    """The event types that receipts of the provider may have in each project. None: all."""
    if provider is None:
        return None
    if provider in BUILT_IN_PROVIDERS:
        return {project_id: _types_of(provider) | types for project_id, types in own_types.items()}
    found: dict[str, set[str]] = {project_id: set() for project_id in own_types}
    sql = _TYPES_OF_PROVIDER.format(ids=_IDS[st.dialect])
    for project_id, event_type in await st.fetch(sql, json.dumps(list(own_types)), provider):
        found[project_id].add(event_type)
    return found


async def _combinations(
    st: Statements, table: ListedTable, scope: Sequence[str], states: Sequence[str]
) -> Sequence[Row]:
    """Each state, event type and effect type that rows of these projects have."""
    sql = _COMBINATIONS[st.dialect].format(table=table.name)
    return await st.fetch(sql, json.dumps(scope), json.dumps(states))


def _types(kind: Kind) -> list[str]:
    """The contract's event types that the filters leave. Each belongs to one provider."""
    of_provider = set(BUILT_IN_EVENT_TYPES) if kind.provider is None else _types_of(kind.provider)
    return sorted(of_provider & {kind.event_type} if kind.event_type else of_provider)


def _types_of(provider: str) -> set[str]:
    """The contract's event types of a provider; none of another one."""
    return {one.value for name, of in EVENT_TYPES_OF.items() if name == provider for one in of}


def _effects(kind: Kind) -> list[str]:
    return [name for name in BUILT_IN_EFFECT_TYPES if kind.effect_type in {None, name}]
