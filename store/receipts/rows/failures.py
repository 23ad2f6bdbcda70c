"""Reads what an operator needs to know about a failure: the latest one of an event, that of one
repair, and how many incidents have the same cause.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, ReplayId
from domain.incidents import Incident
from domain.results import ResultStatus
from store.schema.tables import ATTEMPTS, INCIDENT_IS_UNRESOLVED, INCIDENTS, RESULTS

# More are counted as "100 or more".
SAME_CAUSE_COUNTED = 100


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure that the app reported. `request_id` finds the request in the app's log."""

    error_code: str | None
    error_message: str | None
    reported_at: datetime
    request_id: str | None


@dataclass(frozen=True, slots=True)
class RepairFailure:
    """Why a repair failed: what the app reported of it, and the outcome of its last call."""

    reported: Failure | None
    attempts: int
    status: int | None
    error_class: str | None


async def read_latest_failure(session: AsyncSession, event_id: EventId) -> Failure | None:
    """The failure that was reported last; None if none was. By the index `results_by_event`."""
    return await _failure(session, event_id, None)


async def read_repair_failure(
    session: AsyncSession, event_id: EventId, replay_id: ReplayId
) -> RepairFailure:
    """Why this repair failed. By the indexes of results and attempts."""
    newest = select(ATTEMPTS.c.number, ATTEMPTS.c.status, ATTEMPTS.c.error_class)
    newest = newest.where(ATTEMPTS.c.replay_id == replay_id).order_by(ATTEMPTS.c.number.desc())
    last = (await session.execute(newest.limit(1))).first()
    reported = await _failure(session, event_id, replay_id)
    if last is None:
        return RepairFailure(reported, 0, None, None)
    return RepairFailure(reported, last.number, last.status, last.error_class)


async def count_same_cause(session: AsyncSession, incident: Incident, effect_type: str) -> int:
    """How many other unresolved incidents of the project have the same effect, reason and error
    code, at most `SAME_CAUSE_COUNTED`. By the index `incidents_by_cause`.
    """
    same = select(INCIDENTS.c.id).where(
        INCIDENTS.c.project_id == incident.project_id,
        INCIDENTS.c.effect_type == effect_type,
        INCIDENTS.c.reason == str(incident.reason),
        INCIDENTS.c.error_code.is_(None)
        if incident.error_code is None
        else INCIDENTS.c.error_code == incident.error_code,
        text(INCIDENT_IS_UNRESOLVED),
        INCIDENTS.c.id != incident.id,
    )
    bounded = same.limit(SAME_CAUSE_COUNTED).subquery()
    return await session.scalar(select(func.count()).select_from(bounded)) or 0


async def _failure(
    session: AsyncSession, event_id: EventId, replay_id: ReplayId | None
) -> Failure | None:
    failed = select(RESULTS).where(
        RESULTS.c.event_id == event_id, RESULTS.c.status == ResultStatus.FAILED.value
    )
    if replay_id is not None:
        failed = failed.where(RESULTS.c.replay_id == replay_id)
    row = (await session.execute(failed.order_by(RESULTS.c.id.desc()).limit(1))).first()
    if row is None:
        return None
    return Failure(row.error_code, row.error_message, row.received_at, row.request_id)
