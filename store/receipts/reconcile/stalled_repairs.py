"""Finds calling repairs whose next attempt is overdue: Temporal lost the progress of their runs.

Workers store their callback schedule as a fact, so that every process applies the same one. Used by
`store.receipts.reconcile.queries` and `store.receipts.reconcile.stuck_runs`.
"""

import json
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, case, exists, func, literal, or_
from sqlalchemy.ext.asyncio import AsyncSession

from domain.incidents import AttemptState, RepairState
from domain.retries import LONGEST_RETRY_AFTER_SECONDS, RETRY_AFTER_STATUSES
from store.receipts.attempts import LONGEST_ATTEMPT_HOLD
from store.schema.tables import ATTEMPTS, REPAIRS
from store.status.heartbeats import read_fact, write_fact

# A JSON list: the longest delay in seconds after attempt 1, 2, …; the last holds for all further.
DELAYS_FACT = "callback_delays"
ATTEMPTS_FACT = "callback_attempts"


async def store_callback_delays(
    session: AsyncSession, delays: tuple[float, ...], *, attempts: int
) -> None:
    """Store the longest delay after each attempt: see `domain.retries.longest_delays`.

    `attempts` is the number of attempts of a series.
    """
    for name, stored in ((DELAYS_FACT, json.dumps(delays)), (ATTEMPTS_FACT, str(attempts))):
        if await read_fact(session, name) != stored:
            await write_fact(session, name, stored)


async def read_attempts_of_series(session: AsyncSession) -> int | None:
    """The number of attempts of a series; None until a worker has begun one."""
    stored = await read_fact(session, ATTEMPTS_FACT)
    return int(stored) if stored is not None and stored.isdecimal() else None


async def is_stalled(
    session: AsyncSession, now: datetime, *, grace_seconds: float
) -> ColumnElement[bool]:
    """A condition on `repairs`: the repair is calling, and its next attempt is overdue by more than
    the grace period.

    1. It has no attempt, and was requested, or released from its hold, longer ago.
    2. The last attempt ended, and the longest delay after it has passed.
    3. The last attempt is `started`, and is too old to be held by any process.
    """
    until = now - timedelta(seconds=grace_seconds)
    is_called = exists().where(ATTEMPTS.c.replay_id == REPAIRS.c.replay_id)
    later = ATTEMPTS.alias("later")
    has_later = exists().where(
        later.c.replay_id == ATTEMPTS.c.replay_id, later.c.number > ATTEMPTS.c.number
    )
    is_overdue = exists().where(
        ATTEMPTS.c.replay_id == REPAIRS.c.replay_id,
        ~has_later,
        ATTEMPTS.c.at <= await _due(session, until),
    )
    begun_at = func.coalesce(REPAIRS.c.released_at, REPAIRS.c.requested_at)
    is_uncalled = and_(begun_at <= until, ~is_called)
    return and_(REPAIRS.c.state == RepairState.CALLING.value, or_(is_uncalled, is_overdue))


async def _due(session: AsyncSession, until: datetime) -> ColumnElement[datetime]:
    """The latest start of an attempt whose follower is overdue at `until`.

    Without a stored schedule, each delay is the longest `Retry-After`.
    """
    stored = await read_fact(session, DELAYS_FACT)
    delays: list[float] = [LONGEST_RETRY_AFTER_SECONDS] if stored is None else json.loads(stored)
    at = ATTEMPTS.c.at.type

    def after(seconds: list[float]) -> ColumnElement[datetime]:
        *others, last = [literal(until - timedelta(seconds=delay), at) for delay in seconds]
        return (
            case(dict(enumerate(others, start=1)), value=ATTEMPTS.c.number, else_=last)
            if others
            else last
        )

    return case(
        (ATTEMPTS.c.state == AttemptState.STARTED.value, literal(until - LONGEST_ATTEMPT_HOLD, at)),
        (
            ATTEMPTS.c.status.in_(RETRY_AFTER_STATUSES),
            after([max(delay, LONGEST_RETRY_AFTER_SECONDS) for delay in delays]),
        ),
        else_=after(delays),
    )
