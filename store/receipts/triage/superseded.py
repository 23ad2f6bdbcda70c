"""Finds the later event that makes the repair of an incident doubtful.

It has the same project and reference, and takes back what a customer got: a refund, a dispute, a
cancellation or a revocation. An event that itself takes something back is never superseded, and
effects of one event at the provider never supersede each other. Reads only; used by queries of
incidents and by `store.receipts.repairs`.
"""

import json
from collections.abc import Sequence

from domain.ids import EventId
from domain.receipts import REVERSING_EFFECT_TYPES, REVERSING_EVENT_TYPES
from store.db.sql import Statements

# Of one reference, the newest events. Apps use a reference for one order or subscription.
LOOKED_AT = 1_000
_OF_EVENTS = {
    "sqlite": "r.event_id IN (SELECT value FROM json_each($1))",
    # An array that is built once: the planner uses the index, whatever it assumes about its length.
    "postgresql": "r.event_id = ANY(ARRAY(SELECT json_array_elements_text(CAST($1 AS json))))",
}


_EVENT_TYPES = ", ".join(f"'{name.value}'" for name in sorted(REVERSING_EVENT_TYPES))
_EFFECT_TYPES = ", ".join(f"'{name.value}'" for name in sorted(REVERSING_EFFECT_TYPES))
_IS_REVERSING = (
    f"({{table}}.event_type IN ({_EVENT_TYPES}) OR {{table}}.effect_type IN ({_EFFECT_TYPES}))"
)
# The index `receipts_by_reference` finds the newest events of the reference.
_QUERY = f"""
SELECT r.event_id, (
  SELECT later.event_id FROM (
    SELECT o.event_id, o.provider, o.provider_event_id, o.event_type, o.effect_type,
      o.occurred_at, o.accepted_at
    FROM receipts o
    WHERE o.project_id = r.project_id AND o.internal_reference = r.internal_reference
    ORDER BY o.accepted_at DESC, o.event_id DESC LIMIT {LOOKED_AT}
  ) AS later
  WHERE {_IS_REVERSING.format(table="later")}
    AND (later.occurred_at, later.accepted_at, later.event_id)
      > (r.occurred_at, r.accepted_at, r.event_id)
    AND NOT (later.provider = r.provider AND later.provider_event_id = r.provider_event_id)
  ORDER BY later.occurred_at, later.accepted_at, later.event_id LIMIT 1
)
FROM receipts r WHERE {{of_events}} AND NOT {_IS_REVERSING.format(table="r")}"""  # noqa: S608 - of constants alone


SUPERSEDING = {dialect: _QUERY.format(of_events=of) for dialect, of in _OF_EVENTS.items()}


async def superseding_events(
    st: Statements, event_ids: Sequence[EventId] | Sequence[str]
) -> dict[str, EventId]:
    """The first later event that makes a repair doubtful, for each event that has one."""
    if not event_ids:
        return {}
    rows = await st.fetch(SUPERSEDING[st.dialect], json.dumps(list(event_ids)))
    return {event_id: EventId(later) for event_id, later in rows if later is not None}
