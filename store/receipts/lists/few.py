"""Filters that leave few rows: a reference, a flag, a customer, a group of incidents, and what
people did with incidents (acknowledged, snoozed, assigned, muted).

All rows of such a filter are read by its own index, then sorted.
"""

from collections.abc import Mapping

from domain.search.tokens import ACKNOWLEDGED, ASSIGNED, FLAGGED, MUTED, NOBODY, SNOOZED
from store.db.sql import Dialect, Value
from store.receipts.lists.filters import Wanted
from store.receipts.lists.order import ListedTable
from store.receipts.lists.ranges import Condition
from store.receipts.lists.tokens import ASSIGNEE_ID, value_of_mark
from store.schema.tables import (
    GROUP_HAS_MUTE,
    INCIDENT_HAS_ASSIGNEE,
    INCIDENT_IS_ACKNOWLEDGED,
    RECEIPT_IS_FLAGGED,
    SNOOZE_ENDS,
)

_OF_PROJECTS = {
    "sqlite": "{t}.project_id IN (SELECT value FROM json_each(:scope))",
    "postgresql": (
        "{t}.project_id = ANY(ARRAY(SELECT json_array_elements_text(CAST(:scope AS json))))"
    ),
}
_OF_REFERENCE = (
    "SELECT r.event_id FROM receipts AS r WHERE {of_projects} AND r.internal_reference = :few"
)
_OF_CUSTOMER = (
    "SELECT s.event_id FROM incidents AS s WHERE {of_projects} AND s.customer_reference = :few"
)
_OF_GROUP = "SELECT s.event_id FROM incidents AS s WHERE {of_projects} AND s.group_id = :few"
_FLAGGED = f"SELECT r.event_id FROM receipts AS r WHERE {{of_projects}} AND r.{RECEIPT_IS_FLAGGED}"  # noqa: S608 - constants only
_OF_MARK = {
    mark: f"SELECT s.event_id FROM incidents AS s WHERE {{of_projects}} AND {condition}"  # noqa: S608 - constants only
    for mark, condition in {
        ACKNOWLEDGED: INCIDENT_IS_ACKNOWLEDGED,
        SNOOZED: SNOOZE_ENDS,
        ASSIGNED: INCIDENT_HAS_ASSIGNEE,
    }.items()
}
_OF_MUTED = f"""
SELECT s.event_id FROM incident_groups AS g CROSS JOIN incidents AS s
WHERE {{of_projects}} AND g.{GROUP_HAS_MUTE} AND g.muted_until > CAST(:few AS BIGINT)
  AND s.group_id = g.id AND s.state IN ('open', 'repairing')"""  # noqa: S608 - constants only
_OF_ASSIGNEE = (
    "SELECT s.event_id FROM incidents AS s WHERE {of_projects} AND s.assignee = "  # noqa: S608 - constants only
    + ASSIGNEE_ID.replace(":value", ":few")
)


def few_receipts(dialect: Dialect, table: ListedTable, wanted: Wanted) -> Condition | None:
    """The receipts of a filter that leaves few, as event ids of the projects `:scope`.

    None without such a filter.
    """
    is_of_events = table.is_of_events
    if wanted.reference is not None and not (is_of_events and table.is_by_time):
        return _events(dialect, _OF_REFERENCE, "r", {"few": wanted.reference})
    if wanted.reference is not None:
        return None
    values, marks = wanted.search.values, wanted.search.marks
    if FLAGGED in marks:
        return _events(dialect, _FLAGGED, "r", {})
    if "customer" in values and not is_of_events:
        return _events(dialect, _OF_CUSTOMER, "s", {"few": values["customer"]})
    if "group" in values:
        return _events(dialect, _OF_GROUP, "s", {"few": values["group"]})
    if values.get("assignee", NOBODY) != NOBODY:
        return _events(dialect, _OF_ASSIGNEE, "s", {"few": values["assignee"]})
    # Without words: a mark that bulk actions set is on many rows, the index of words finds few.
    if wanted.search.words:
        return None
    if MUTED in marks:
        return _events(dialect, _OF_MUTED, "g", {"few": value_of_mark(MUTED, wanted)})
    few = [_OF_MARK[mark] for mark in marks if mark in _OF_MARK]
    return _events(dialect, few[0], "s", {}) if few else None


def _events(dialect: Dialect, sql: str, t: str, values: Mapping[str, Value]) -> Condition:
    of_projects = _OF_PROJECTS[dialect].format(t=t)
    return Condition(sql.format(of_projects=of_projects), dict(values))
