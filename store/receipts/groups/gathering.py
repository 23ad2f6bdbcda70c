"""Gathers what happens to the incident of a locked receipt for its group.

`store.receipts.groups.apply` writes it. Called by `store.receipts.transitions` and by
`store.receipts.triage.quiet_times`.
"""

from domain.groups.group import Cause
from domain.ids import IncidentId
from domain.incidents import AlertKind, IncidentState
from store.receipts.groups.changes import Amount, GroupChanges, MovedIncident, OpenedIncident
from store.receipts.state import ReceiptSnapshot


def gather_opened(
    groups: GroupChanges,
    snapshot: ReceiptSnapshot,
    incident_id: IncidentId,
    cause: Cause,
    amount: Amount,
) -> None:
    """The incident opens."""
    groups.windows[snapshot.project_id] = snapshot.windows
    groups.opened.append(OpenedIncident(incident_id, snapshot.event_id, cause, amount))


def gather_moved(
    groups: GroupChanges,
    snapshot: ReceiptSnapshot,
    before: IncidentState,
    after: IncidentState,
    alert: AlertKind | None = None,
    about: str = "",
) -> None:
    """The incident changes its state, or is alerted again in the same one."""
    if snapshot.cause is None:
        raise AssertionError(f"{snapshot.event_id} has no incident that could move")
    groups.windows[snapshot.project_id] = snapshot.windows
    groups.moved.append(
        MovedIncident(
            snapshot.incident,
            snapshot.event_id,
            snapshot.cause,
            snapshot.group_id,
            before,
            after,
            alert,
            about,
        )
    )
