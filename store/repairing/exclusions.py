"""Why no rule repairs an incident now, beside its own state.

Asked in a transaction that has locked the receipt. What supersedes an incident is found by
`store.receipts.triage.superseded`.
"""

from datetime import datetime
from enum import StrEnum

from domain.ids import EventId, IncidentId
from domain.values.timestamps import to_unix_ms
from store.db.sql import Statements
from store.receipts.held.holds import matching_hold
from store.receipts.triage.superseded import superseding_events

_FLAGGED = "SELECT 1 FROM receipts WHERE event_id = $1 AND flags <> ''"
_SNOOZED = "SELECT 1 FROM incidents WHERE id = $1 AND snoozed_until > $2"


class Exclusion(StrEnum):
    """Why a rule does not repair an incident now."""

    SUPERSEDED = "superseded"
    FLAGGED = "flagged"
    HELD = "held"
    SNOOZED = "snoozed"

    @property
    def passes(self) -> bool:
        """Whether the incident may be repaired later."""
        return self in {Exclusion.HELD, Exclusion.SNOOZED}


async def exclusion_of(
    st: Statements, incident_id: IncidentId, event_id: EventId, now: datetime
) -> Exclusion | None:
    """Why no rule repairs the incident at `now`; None if one may."""
    if await superseding_events(st, (event_id,)):
        return Exclusion.SUPERSEDED
    if await st.fetch(_FLAGGED, event_id):
        return Exclusion.FLAGGED
    if await matching_hold(st, event_id, now) is not None:
        return Exclusion.HELD
    if await st.fetch(_SNOOZED, incident_id, to_unix_ms(now)):
        return Exclusion.SNOOZED
    return None
