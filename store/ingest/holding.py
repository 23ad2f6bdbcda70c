"""Early results in a batch: locks the events of projects that may hold some, and claims them.

See `store.receipts.early_results.hold`. Runs inside the committer's transaction and never commits.
"""

from collections.abc import Sequence
from datetime import datetime

from domain.ids import EventId, ProjectId
from domain.receipts import NewReceipt
from domain.results import NewResult
from store.db.sql import Statements
from store.ingest.requests import IngestRequest
from store.receipts.early_results.hold import (
    Identity,
    apply_held,
    holding_projects,
    lock_events,
    named_event,
)
from store.receipts.groups.changes import GroupChanges

HELD_BODY = b'{"accepted":true,"event_id":null,"state":"held"}'


async def lock_holding(st: Statements, requests: Sequence[IngestRequest]) -> frozenset[ProjectId]:
    """The projects of the requests whose receipts may find held results.

    Their events are locked.
    """
    named = [(request.project_id, name) for request in requests if (name := _event_of(request))]
    if not named:
        return frozenset()
    holding = await holding_projects(st, {project_id for project_id, _ in named})
    await lock_events(st, [name for name in named if name[0] in holding])
    return holding


async def claim_held(
    st: Statements, event_id: EventId, receipt: NewReceipt, now: datetime, groups: GroupChanges
) -> None:
    """Apply the held results of a receipt that this transaction stored.

    `groups` as in `apply_transition`.
    """
    identity = Identity(
        receipt.project_id,
        str(receipt.provider),
        receipt.provider_event_id,
        str(receipt.effect_type),
    )
    await apply_held(st, event_id, identity, now, groups)


def _event_of(request: IngestRequest) -> str | None:
    match request.value:
        case NewReceipt(provider_event_id=named):
            return named
        case NewResult() as result:
            return named_event(result)
        case _:
            return None
