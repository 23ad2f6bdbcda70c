"""The attempts of a repair's callback. The process that begins an attempt is its holder and records
its outcome.

Each function runs inside the caller's transaction and locks the receipt. When a process dies, its
attempt stays `started`. The heartbeats decide here which process takes it over. Called by the
callback activity.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from domain.ids import EventId, ReplayId
from domain.incidents import RepairCause
from domain.lifecycle import LifecycleState, Trigger
from domain.values.text import well_formed
from domain.values.timestamps import from_unix_ms, to_unix_ms
from store.db.sql import Statements
from store.receipts.state import ReceiptSnapshot, lock_receipt
from store.receipts.transitions import TriggerFacts, apply_transition
from store.status.heartbeats import ENDED

# A live process sends for at most 35 s and records for at most 600 s
# (`activities.callback.send.RECORD_SECONDS`). After this time another process may take the attempt
# over.
LONGEST_ATTEMPT_HOLD = timedelta(seconds=660)

# A process, and the time of its last heartbeat.
ProcessHeartbeat = tuple[str, datetime]


@dataclass(frozen=True, slots=True)
class AttemptBegun:
    """Attempt `number` (from 1) may be sent. `is_again`: its previous holder died, so the same
    number is sent again.
    """

    number: int
    is_again: bool


@dataclass(frozen=True, slots=True)
class AttemptHeld:
    """Another process holds the attempt and may still be sending it. `last_sign_at` is its last
    heartbeat.
    """

    holder: str
    last_sign_at: datetime


@dataclass(frozen=True, slots=True)
class SeriesOver:
    """The repair is no longer calling, or ended now because it has no URL: no attempt begins."""

    state: LifecycleState


@dataclass(frozen=True, slots=True)
class _LastAttempt:
    """The newest attempt of a repair. `holder` None: it was released."""

    number: int
    state: str
    holder: str | None
    began_ms: int


Ending = Literal["accepted", "rejected", "exhausted"]


async def begin_attempt(
    st: Statements,
    event_id: EventId,
    replay_id: ReplayId,
    now: datetime,
    *,
    holder: str | None = None,
    silent: Collection[ProcessHeartbeat] = (),
) -> AttemptBegun | AttemptHeld | SeriesOver:
    """Record the start of the next attempt of a calling repair. After the commit, `holder` may send
    it.

    An attempt that is still `started` was left by its holder. Another process waits at most
    `LONGEST_ATTEMPT_HOLD` for it:

    1. The holder has no heartbeat, or its last one says that it ended: the process is gone.
    2. The caller saw the same last heartbeat before (`silent`): the process counts as gone.
    3. Otherwise the holder may still be sending the attempt, or waiting to record it:
       `AttemptHeld`.

    The outcome of an attempt whose holder is gone is unknown, so it is sent again under the same
    number. Without a repair URL no attempt begins, and the repair fails.

    Raises:
        NotFound: no such receipt.
    """
    snapshot = await lock_receipt(st, event_id)
    if snapshot.state is not LifecycleState.CALLING or snapshot.active_replay_id != replay_id:
        return SeriesOver(snapshot.state)
    if snapshot.repair_url is None:
        return SeriesOver(await _end_without_url(st, snapshot, replay_id, now))
    last = await _last_attempt(st, replay_id)
    if last is not None and last.state == "started":
        return await _begin_again(st, replay_id, last, now, holder=holder, silent=silent)
    number = 1 if last is None else last.number + 1
    await st.fetch(
        "INSERT INTO attempts (replay_id, number, event_id, state, at, holder) VALUES ($1, $2, $3,"
        " 'started', $4, $5)",
        replay_id,
        number,
        event_id,
        to_unix_ms(now),
        holder,
    )
    return AttemptBegun(number, is_again=False)


async def keep_body(st: Statements, replay_id: ReplayId, body: bytes) -> bytes:
    """The body of the repair's first attempt, which is this one unless there was one before.

    The receipt of an event that a source saw may come during the repair, with other facts. A newer
    version of Makegood may write other fields.
    """
    kept = (
        "UPDATE repairs SET callback_body = coalesce(callback_body, $2) WHERE replay_id = $1"
        " RETURNING callback_body"
    )
    ((first,),) = await st.fetch(kept, replay_id, body.decode())
    return str(first).encode()


async def keep_headers(
    st: Statements, replay_id: ReplayId, number: int, headers: Sequence[tuple[str, str]]
) -> None:
    """Store the headers of an attempt as they are sent. The signatures are among them."""
    kept = "UPDATE attempts SET request_headers = $1 WHERE replay_id = $2 AND number = $3"
    await st.fetch(kept, json.dumps(headers, separators=(",", ":")), replay_id, number)


async def release_attempt(st: Statements, replay_id: ReplayId, number: int, *, holder: str) -> None:
    """Release an attempt that was begun and never sent, so that no other process waits for it."""
    released = (
        "UPDATE attempts SET holder = NULL WHERE replay_id = $1 AND number = $2 AND state ="
        " 'started' AND holder = $3"
    )
    await st.fetch(released, replay_id, number, holder)


async def is_attempt_held(
    st: Statements, event_id: EventId, replay_id: ReplayId, number: int, *, holder: str
) -> bool:
    """Whether this process still holds the attempt; locks the receipt until the transaction ends.

    A process that was suspended may find that another one has taken its attempt over.

    Raises:
        NotFound: no such receipt.
    """
    await lock_receipt(st, event_id)
    rows = await st.fetch(
        "SELECT holder FROM attempts WHERE replay_id = $1 AND number = $2", replay_id, number
    )
    return all(held_by in {None, holder} for (held_by,) in rows)


async def record_attempt(
    st: Statements,
    event_id: EventId,
    replay_id: ReplayId,
    number: int,
    now: datetime,
    *,
    status: int | None,
    duration_ms: int,
    error_class: str | None,
    answer_excerpt: str | None = None,
    next_attempt_at: datetime | None = None,
    ending: Ending | None,
    gone_url: str | None = None,
) -> LifecycleState:
    """Record the outcome of an attempt and, with `ending`, that of its series; returns the
    receipt's state.

    `next_attempt_at` is when the next one is due, None when none follows.

    An attempt that ends after its repair is recorded without a transition. `gone_url` answered 410:
    it is marked as gone, unless the project has another URL now.

    Raises:
        NotFound: no such receipt.
    """
    snapshot = await lock_receipt(st, event_id)
    await st.fetch(
        "UPDATE attempts SET state = 'finished', status = $1, duration_ms = $2,"
        " error_class = $3, answer_excerpt = $6, next_attempt_at = $7 "
        "WHERE replay_id = $4 AND number = $5 AND state = 'started'",
        status,
        duration_ms,
        error_class,
        replay_id,
        number,
        None if answer_excerpt is None else well_formed(answer_excerpt),
        None if next_attempt_at is None else to_unix_ms(next_attempt_at),
    )
    if gone_url is not None:
        gone = "UPDATE projects SET repair_url_gone = $1 WHERE id = $2 AND repair_url = $3"
        await st.fetch(gone, True, snapshot.project_id, gone_url)
    if ending is None or snapshot.active_replay_id != replay_id:
        return snapshot.state
    if ending == "accepted":
        return (await apply_transition(st, snapshot, Trigger.CALLBACK_ACCEPTED, now)).to
    facts = TriggerFacts(cause=RepairCause(ending))
    return (await apply_transition(st, snapshot, Trigger.CALLBACK_ENDED, now, facts)).to


async def _last_attempt(st: Statements, replay_id: ReplayId) -> _LastAttempt | None:
    rows = await st.fetch(
        "SELECT number, state, holder, at FROM attempts WHERE replay_id = $1 ORDER BY number DESC"
        " LIMIT 1",
        replay_id,
    )
    return _LastAttempt(*rows[0]) if rows else None


async def _begin_again(
    st: Statements,
    replay_id: ReplayId,
    last: _LastAttempt,
    now: datetime,
    *,
    holder: str | None,
    silent: Collection[ProcessHeartbeat],
) -> AttemptBegun | AttemptHeld:
    """Take over an attempt that is still `started`, unless its holder may be alive."""
    other = None if last.holder == holder else last.holder
    sign = None if other is None else await _last_sign(st, other)
    # The absolute difference: the store's clock may have been set back.
    held_ms = abs(to_unix_ms(now) - last.began_ms)
    is_bound = held_ms < LONGEST_ATTEMPT_HOLD // timedelta(milliseconds=1)
    if sign is not None and is_bound and sign not in silent:
        return AttemptHeld(*sign)
    await st.fetch(
        "UPDATE attempts SET at = $1, error_class = 'unknown', holder = $2 WHERE replay_id = $3"
        " AND number = $4",
        to_unix_ms(now),
        holder,
        replay_id,
        last.number,
    )
    return AttemptBegun(last.number, is_again=True)


async def _last_sign(st: Statements, process: str) -> ProcessHeartbeat | None:
    """The last heartbeat of a process; None without one, or when it was the process's last."""
    rows = await st.fetch("SELECT at, report FROM heartbeats WHERE process = $1", process)
    for at_ms, report in rows:
        if not json.loads(report).get(ENDED):
            return process, from_unix_ms(at_ms)
    return None


async def _end_without_url(
    st: Statements, snapshot: ReceiptSnapshot, replay_id: ReplayId, now: datetime
) -> LifecycleState:
    """Fail the repair: its URL was removed or marked as gone during the series."""
    left = (
        "UPDATE attempts SET state = 'finished', error_class = 'unknown' WHERE replay_id = $1 AND"
        " state = 'started'"
    )
    await st.fetch(left, replay_id)
    facts = TriggerFacts(cause=RepairCause.REPAIR_URL_MISSING)
    return (await apply_transition(st, snapshot, Trigger.CALLBACK_ENDED, now, facts)).to
