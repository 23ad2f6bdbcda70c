"""Lets the rules of a project judge its open incidents, and counts the failures of their repairs.

1. `projects_with_turns` and `due_turns` find what is due, by `rule_turns_by_due`.
2. `take_turn` judges one incident. It removes the turn in the transaction that requests the repair,
   so a process that dies leaves both or neither, and another one repairs nothing twice.
3. `settle_rule` counts the outcomes of a rule's repairs, and disarms it after too many failures.

Locks are taken in the order receipt, turn, rule. Called by `worker.repairing.rules`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound, Refusal
from domain.ids import EventId, IncidentId, ProjectId, RuleId
from domain.incidents import AlertKind, RepairState
from domain.lifecycle import LifecycleState
from domain.repairing.rules import FAILURES, Rule, RuleSubject, first_match
from domain.values.timestamps import from_unix_ms, to_unix_ms
from store.db.sql import SessionStatements, Statements, limit_lock_wait
from store.receipts.repairs import request_repair
from store.receipts.rows.alerts import insert_alert, read_recipients
from store.receipts.state import lock_receipt
from store.receipts.timeline import note
from store.repairing.exclusions import exclusion_of
from store.repairing.rules import read_rules
from store.schema.repairing_mappers import rule_from
from store.schema.tables import REPAIR_RULES

# An incident that is held is judged again so much later.
LOOKED_AGAIN_AFTER = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SETTLED_AT_ONCE = 500
_NEXT_PROJECT = "SELECT min(project_id) FROM rule_turns WHERE project_id > $1"
_DUE = """
SELECT incident_id, event_id FROM rule_turns
WHERE project_id = $1 AND due_at <= $2 ORDER BY due_at, incident_id LIMIT $3"""
_SUBJECT = """
SELECT t.since_at, t.due_at, i.effect_type, i.event_type, i.reason, i.error_code
FROM rule_turns t JOIN incidents i ON i.id = t.incident_id WHERE t.incident_id = $1"""
_REMOVE = "DELETE FROM rule_turns WHERE incident_id = $1 AND due_at = $2 RETURNING 1"
_POSTPONE = "UPDATE rule_turns SET due_at = $1 WHERE incident_id = $2"
_REPAIRS_OF_INCIDENT = """
SELECT count(*) FROM repairs WHERE incident_id = $1 AND requested_by = $2"""
_LATEST_OF_RULE = """
SELECT at FROM rule_repairs WHERE rule_id = $1 AND at > $2 ORDER BY at DESC LIMIT $3"""
_RULES_WITH_OPEN = """
SELECT min(rule_id) FROM rule_repairs WHERE outcome IS NULL AND rule_id > $1"""
_DECIDED = """
SELECT o.replay_id, r.state, r.cause
FROM rule_repairs o LEFT JOIN repairs r ON r.replay_id = o.replay_id
WHERE o.outcome IS NULL AND o.rule_id = $1
  AND (r.state IS NULL OR r.state IN ('succeeded', 'failed'))
ORDER BY o.replay_id LIMIT $2"""


@dataclass(frozen=True, slots=True)
class DueTurn:
    """An open incident to judge now."""

    incident_id: IncidentId
    event_id: EventId


@dataclass(frozen=True, slots=True)
class _Turn:
    """A turn whose receipt is locked."""

    incident_id: IncidentId
    event_id: EventId
    since_at: datetime
    due_ms: int
    subject: RuleSubject


async def projects_with_turns(
    session: AsyncSession, *, after: ProjectId | None, limit: int
) -> list[ProjectId]:
    """Projects with incidents to judge, now or later, by id, from the one after `after`."""
    st, found = SessionStatements(session), list[ProjectId]()
    while len(found) < limit:
        ((project_id,),) = await st.fetch(_NEXT_PROJECT, found[-1] if found else after or "")
        if project_id is None:
            break
        found.append(ProjectId(project_id))
    return found


async def due_turns(
    session: AsyncSession, project_id: ProjectId, now: datetime, *, limit: int
) -> list[DueTurn]:
    """The project's incidents that are due, longest first."""
    st = SessionStatements(session)
    rows = await st.fetch(_DUE, project_id, to_unix_ms(now), limit)
    return [DueTurn(IncidentId(incident_id), EventId(event_id)) for incident_id, event_id in rows]


async def take_turn(session: AsyncSession, due: DueTurn, now: datetime) -> bool:
    """Judge one incident: repair it, judge it later, or leave it to people. Returns whether a
    repair was requested.
    """
    st = SessionStatements(session)
    await limit_lock_wait(st)
    try:
        snapshot = await lock_receipt(st, due.event_id)
    except NotFound:  # erased with its project
        await st.fetch("DELETE FROM rule_turns WHERE incident_id = $1", due.incident_id)
        return False
    turn = await _read_turn(st, due)
    if turn is None or turn.due_ms > to_unix_ms(now):
        return False  # another process judged it
    rules = await read_rules(session, snapshot.project_id)
    rule = first_match(rules, turn.subject)
    if rule is None or rule.disarmed_at is not None or snapshot.state is not LifecycleState.OPEN:
        await _remove(st, turn)
        return False
    due_at = turn.since_at + timedelta(seconds=rule.spec.delay_seconds)
    if due_at > now:
        await _postpone(st, turn, due_at)
        return False
    return await _act(session, st, turn, rule.id, now)


async def rules_with_open_repairs(
    session: AsyncSession, *, after: RuleId | None, limit: int
) -> list[RuleId]:
    """Rules with repairs whose outcome is not counted, by id, from the one after `after`."""
    st, found = SessionStatements(session), list[RuleId]()
    while len(found) < limit:
        ((rule_id,),) = await st.fetch(_RULES_WITH_OPEN, found[-1] if found else after or "")
        if rule_id is None:
            break
        found.append(RuleId(rule_id))
    return found


async def settle_rule(session: AsyncSession, rule_id: RuleId, now: datetime) -> Rule | None:
    """Count the outcomes of the rule's repairs, in the order of their requests.

    After too many failures in a row it is disarmed, with an alert. Returns the rule; None if it was
    removed.
    """
    st = SessionStatements(session)
    locked = select(REPAIR_RULES).where(REPAIR_RULES.c.id == rule_id).with_for_update()
    row = (await session.execute(locked)).first()
    before = None if row is None else rule_from(row)
    failures = 0 if before is None else before.failures
    most = 0
    for replay_id, state, cause in await st.fetch(_DECIDED, rule_id, SETTLED_AT_ONCE):
        outcome = _outcome(state, cause)
        settled = "UPDATE rule_repairs SET outcome = $1 WHERE replay_id = $2"
        await st.fetch(settled, outcome, replay_id)
        if outcome != "other":
            failures = failures + 1 if outcome == "failed" else 0
        most = max(most, failures)
    if before is None:
        return None
    is_disarmed = before.disarmed_at is None and most >= before.spec.disarm_after_failures
    if failures == before.failures and not is_disarmed:
        return before
    disarmed_at = now if is_disarmed else before.disarmed_at
    changed = update(REPAIR_RULES).where(REPAIR_RULES.c.id == rule_id)
    counted = most if is_disarmed else failures
    changed = changed.values(failures=counted, disarmed_at=disarmed_at)
    after = rule_from((await session.execute(changed.returning(REPAIR_RULES))).one())
    if is_disarmed:
        await _alert_disarmed(st, after, now)
    return after


async def _read_turn(st: Statements, due: DueTurn) -> _Turn | None:
    for since_ms, due_ms, *facts in await st.fetch(_SUBJECT, due.incident_id):
        subject = RuleSubject(*facts)
        return _Turn(due.incident_id, due.event_id, from_unix_ms(since_ms), due_ms, subject)
    return None


async def _act(
    session: AsyncSession, st: Statements, turn: _Turn, rule_id: RuleId, now: datetime
) -> bool:
    """Request the repair, within the limits of the rule, whose row is locked from here on."""
    rule = await settle_rule(session, rule_id, now)
    if rule is None:  # replaced meanwhile: judged again in the next turn
        return False
    requested = await st.fetch(_REPAIRS_OF_INCIDENT, turn.incident_id, rule.requested_by)
    if rule.disarmed_at is not None or requested[0][0] >= rule.spec.max_repairs_per_incident:
        await _remove(st, turn)
        return False
    excluded = await exclusion_of(st, turn.incident_id, turn.event_id, now)
    if excluded is not None and excluded.passes:
        await _postpone(st, turn, now + LOOKED_AGAIN_AFTER)
        return False
    if (free_at := await _free_at(st, rule, now)) > now:
        await _postpone(st, turn, free_at)
        return False
    await _remove(st, turn)
    if excluded is not None:
        await _note_left(st, turn, rule, excluded.value, now)
        return False
    try:
        begun = await request_repair(st, turn.event_id, now, requested_by=rule.requested_by)
    except Refusal as refusal:
        await _note_left(st, turn, rule, refusal.code.value, now)
        return False
    inserted = "INSERT INTO rule_repairs (replay_id, rule_id, event_id, at) VALUES ($1, $2, $3, $4)"
    await st.fetch(inserted, begun.replay_id, rule.id, turn.event_id, to_unix_ms(now))
    return True


async def _free_at(st: Statements, rule: Rule, now: datetime) -> datetime:
    """When the rule may act again, by its limit of repairs in an hour."""
    most = rule.spec.max_per_hour
    rows = await st.fetch(_LATEST_OF_RULE, rule.id, to_unix_ms(now - HOUR), most)
    if len(rows) < most:
        return now
    ((oldest_ms,),) = rows[-1:]
    return from_unix_ms(oldest_ms) + HOUR + timedelta(milliseconds=1)


async def _remove(st: Statements, turn: _Turn) -> None:
    await st.fetch(_REMOVE, turn.incident_id, turn.due_ms)


async def _postpone(st: Statements, turn: _Turn, due_at: datetime) -> None:
    await st.fetch(_POSTPONE, to_unix_ms(due_at), turn.incident_id)


async def _note_left(st: Statements, turn: _Turn, rule: Rule, why: str, now: datetime) -> None:
    text = f"The rule {rule.spec.name} did not repair it: {why}."
    await note(st, turn.event_id, now, text=text)


async def _alert_disarmed(st: Statements, rule: Rule, now: datetime) -> None:
    kind = AlertKind.RULE_DISARMED
    for recipient in await read_recipients(st, rule.project_id, kind):
        await insert_alert(
            st,
            project_id=rule.project_id,
            incident_id=IncidentId(rule.id),
            event_id=EventId(rule.id),
            kind=kind,
            about=str(to_unix_ms(now)),
            recipient=recipient,
            now=now,
        )


def _outcome(state: str | None, cause: str | None) -> str:
    """How a repair of a rule counts: `succeeded`, `failed` or `other`."""
    if state == RepairState.SUCCEEDED:
        return "succeeded"
    return "failed" if state == RepairState.FAILED and cause in FAILURES else "other"
