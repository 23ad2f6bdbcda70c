"""Loads the snapshot of a receipt, and locks the receipt for a transition.

Runs inside the caller's transaction and never commits. The modules of this folder lock before they
change anything; activities and the worker also read snapshots.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.errors import NotFound
from domain.groups.group import Cause
from domain.ids import EventId, GroupId, IncidentId, ProjectId, ReplayId
from domain.incidents import Reason, RepairState
from domain.lifecycle import LifecycleState, state_of
from domain.receipts import Flag, ReceiptState
from domain.results import LateResult
from domain.values.enums import member_or_text
from domain.values.timestamps import from_unix_ms
from store.db.sql import Statements, lock_free_rows
from store.receipts.groups.changes import NO_WINDOWS, GroupWindows
from store.receipts.outage_credit import credit_locked

_SELECT_SNAPSHOT = """
SELECT r.event_id, r.project_id, r.livemode, r.state, r.deadline_at, r.flags, i.id, i.reason,
  i.resolving_replay_id,
       a.replay_id, a.state, a.result_deadline_at, p.late_result, p.timeout_minutes,
       CASE WHEN p.repair_url_gone THEN NULL ELSE p.repair_url END,
       (SELECT max(o.id) FROM outages o WHERE o.done_at IS NULL), r.credited_outage,
         a.credited_outage,
       p.group_window_minutes, p.alert_window_minutes, i.group_id, r.effect_type, i.error_code
FROM receipts r JOIN projects p ON p.id = r.project_id
LEFT JOIN incidents i ON i.event_id = r.event_id
LEFT JOIN repairs a ON a.incident_id = i.id AND a.state IN ('held', 'calling', 'awaiting_result')
WHERE r.event_id = $1"""

_IN_ORDER = "SELECT event_id FROM receipts WHERE event_id = ANY($1) ORDER BY event_id"


@dataclass(frozen=True, slots=True)
class ReceiptSnapshot:
    """A receipt, its incident and its active repair at one moment, with the project's settings for
    them.
    """

    event_id: EventId
    project_id: ProjectId
    livemode: bool
    receipt_state: ReceiptState
    state: LifecycleState
    deadline_at: datetime
    flags: tuple[Flag | str, ...]
    incident_id: IncidentId | None
    reason: Reason | str | None
    ended_by_replay_id: ReplayId | None
    active_replay_id: ReplayId | None
    result_deadline_at: datetime | None
    late_result: LateResult | str
    timeout_minutes: float
    repair_url: str | None
    # An outage moves its deadline, or its active repair's, and is not applied yet.
    has_pending_credit: bool = False
    windows: GroupWindows = NO_WINDOWS
    # Of the incident.
    group_id: GroupId | None = None
    cause: Cause | None = None

    @property
    def incident(self) -> IncidentId:
        """The incident's id; the caller knows from the state that there is one."""
        if self.incident_id is None:
            raise AssertionError(f"{self.event_id} is in state {self.state} without an incident")
        return self.incident_id


async def load_snapshot(st: Statements, event_id: EventId) -> ReceiptSnapshot:
    """The snapshot of the receipt, without a lock.

    Raises:
        NotFound: no such receipt.
    """
    rows = await st.fetch(_SELECT_SNAPSHOT, event_id)
    if not rows:
        raise NotFound
    (
        stored_event_id,
        project_id,
        livemode,
        receipt_state,
        deadline_ms,
        flags,
        incident_id,
        reason,
        ended_by_replay_id,
        active_replay_id,
        repair_state,
        result_deadline_ms,
        late_result,
        timeout_minutes,
        repair_url,
        newest_outage,
        receipt_credit,
        repair_credit,
        group_minutes,
        alert_minutes,
        group_id,
        effect_type,
        error_code,
    ) = rows[0]
    stored = ReceiptState(receipt_state)
    state = state_of(stored, None if repair_state is None else RepairState(repair_state))
    return ReceiptSnapshot(
        event_id=EventId(stored_event_id),
        project_id=ProjectId(project_id),
        livemode=bool(livemode),
        receipt_state=stored,
        state=state,
        deadline_at=from_unix_ms(deadline_ms),
        flags=tuple(member_or_text(Flag, flag) for flag in flags.split()),
        incident_id=incident_id,
        reason=None if reason is None else member_or_text(Reason, reason),
        ended_by_replay_id=ended_by_replay_id,
        active_replay_id=active_replay_id,
        result_deadline_at=None if result_deadline_ms is None else from_unix_ms(result_deadline_ms),
        late_result=member_or_text(LateResult, late_result),
        timeout_minutes=timeout_minutes,
        repair_url=repair_url,
        has_pending_credit=_has_pending_credit(
            state, newest=newest_outage, of_receipt=receipt_credit, of_repair=repair_credit
        ),
        windows=GroupWindows(timedelta(minutes=group_minutes), timedelta(minutes=alert_minutes)),
        group_id=group_id,
        cause=None
        if incident_id is None
        else Cause(ProjectId(project_id), effect_type, reason, error_code or ""),
    )


async def project_of(st: Statements, event_id: EventId) -> ProjectId | None:
    """The receipt's project, which never changes; None when there is no such receipt."""
    rows = await st.fetch("SELECT project_id FROM receipts WHERE event_id = $1", event_id)
    for (project_id,) in rows:
        return ProjectId(project_id)
    return None


async def lock_receipt(st: Statements, event_id: EventId) -> ReceiptSnapshot:
    """Lock the receipt until the transaction ends, and return its snapshot. Other transitions wait.

    On PostgreSQL a first statement locks the receipt's row and a second one reads, so that it sees
    everything committed before the lock was granted. A single statement could join the locked row
    to older versions of the other tables. On SQLite the transaction is the only writer. Pending
    outages are applied first, so that no deadline is judged without its credit.

    Raises:
        NotFound: no such receipt.
    """
    if st.dialect == "postgresql":
        await st.fetch("SELECT 1 FROM receipts WHERE event_id = $1 FOR UPDATE", event_id)
    snapshot = await load_snapshot(st, event_id)
    if not snapshot.has_pending_credit:
        return snapshot
    await credit_locked(st, event_id)
    return await load_snapshot(st, event_id)


async def lock_receipts(
    st: Statements, event_ids: list[EventId], *, skips_locked: bool
) -> set[str]:
    """Lock the receipts, in the same order in every process. Return those that were skipped.

    SQLite has only one writer, so there is nothing to lock.
    """
    if st.dialect == "postgresql" and skips_locked:
        locked = await st.fetch(_IN_ORDER + lock_free_rows(st.dialect), event_ids)
        return set[str](event_ids) - {event_id for (event_id,) in locked}
    if st.dialect == "postgresql" and len(event_ids) > 1:
        await st.fetch(f"{_IN_ORDER} FOR UPDATE", event_ids)
    return set()


def _has_pending_credit(
    state: LifecycleState, *, newest: int | None, of_receipt: int, of_repair: int | None
) -> bool:
    """`newest` is the newest pending outage, None without one. The others are the last outages that
    were applied.
    """
    match state:
        case LifecycleState.EXPECTED | LifecycleState.WAITING:
            has = of_receipt
        case LifecycleState.AWAITING_RESULT:
            has = of_repair or 0
        case _:
            return False
    return newest is not None and has < newest
