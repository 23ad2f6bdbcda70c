"""Why an incident is not repaired by a bulk repair or a rule, beside its own state.

Each function asks about one incident, in a transaction that has locked its receipt.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from domain.ids import EventId, IncidentId
from store.db.sql import Statements
from store.receipts.held.holds import matching_hold

_FLAGGED = "SELECT 1 FROM receipts WHERE event_id = $1 AND flags <> ''"


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


async def is_superseded(st: Statements, incident_id: IncidentId) -> bool:
    """Whether a later event of the same reference makes a repair of the incident doubtful."""
    return bool(await superseded_among(st, (incident_id,)))


async def superseded_among(
    st: Statements, incident_ids: Sequence[IncidentId]
) -> frozenset[IncidentId]:
    """Those of the incidents that a later event of the same reference supersedes.

    No event supersedes another in this version.
    """
    del st, incident_ids
    return frozenset()


async def exclusion_of(
    st: Statements, incident_id: IncidentId, event_id: EventId, now: datetime
) -> Exclusion | None:
    """Why no rule repairs the incident at `now`; None if one may."""
    if await is_superseded(st, incident_id):
        return Exclusion.SUPERSEDED
    if await st.fetch(_FLAGGED, event_id):
        return Exclusion.FLAGGED
    if await matching_hold(st, event_id, now) is not None:
        return Exclusion.HELD
    return None
