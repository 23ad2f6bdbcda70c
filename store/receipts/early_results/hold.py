"""Holds results that name an event without a receipt, until its receipt claims them.

Only projects with `early_results: hold` hold results, each for 24 hours. The transaction that
stores its receipt, expected or accepted, applies it, as if it came just after the receipt. What is
held is applied after the setting has changed to `refuse` too.

On PostgreSQL a receipt and a result of one event could pass each other in two transactions that do
not see each other. So both lock the event's name first (`lock_events`), before any row. On SQLite
a transaction is the only writer. Runs inside the caller's transaction and never commits.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from domain.ids import EventId, ProjectId
from domain.results import NewResult, ResultFacts, ResultStatus
from domain.values.timestamps import from_unix_ms, to_iso, to_unix_ms
from store.crypto.tokens import new_result_id
from store.db.sql import Row, Statements
from store.receipts.groups.changes import GroupChanges
from store.receipts.results import apply_result
from store.receipts.timeline import note

HELD_FOR = timedelta(hours=24)
# Different results of one event. More are refused, so that a receipt claims them in a short time.
HELD_AT_MOST = 100

_GIVEN = {
    "sqlite": "SELECT value FROM json_each($1)",
    "postgresql": "SELECT json_array_elements_text(CAST($1 AS json))",
}
# One probe of an index: whether the next project that has held results is this one. An equality
# reads the whole table where the statistics know only projects with many.
HAS_HELD = """(SELECT e.project_id FROM early_results AS e WHERE e.project_id >= {project_id}
      ORDER BY e.project_id LIMIT 1) = {project_id}"""
_HAS_HELD = HAS_HELD.format(project_id="p.id")
_HOLDING = f"""
SELECT p.id FROM projects p
WHERE p.id IN ({{given}}) AND (p.early_results = 'hold' OR {_HAS_HELD})"""  # noqa: S608 - constants only
_LOCK = """
SELECT pg_advisory_xact_lock(CAST(value AS BIGINT))
FROM json_array_elements_text(CAST($1 AS json)) AS value"""
# `FOR SHARE`: the project cannot change to `refuse` before the held row can be seen. `+`: the index
# is that of the event, not that of the project's time.
_SHARED = {"sqlite": "", "postgresql": " FOR SHARE OF p"}
_HOLD = f"""
INSERT INTO early_results (id, project_id, provider, provider_event_id, effect_type, status,
  error_code, error_message, digest, received_at, request_id, already_applied, repeats)
SELECT $1, p.id, $3, $4, $5, $6, $7, $8, $9, CAST($10 AS BIGINT), $11, $12, 0
FROM projects p WHERE p.id = $2 AND p.early_results = 'hold' AND (
  EXISTS (SELECT 1 FROM early_results e WHERE e.project_id = $2 AND e.provider_event_id = $4
    AND e.provider = $3 AND e.effect_type = $5 AND e.digest = $9
    AND +e.received_at > CAST($13 AS BIGINT))
  OR (SELECT count(*) FROM early_results e WHERE e.project_id = $2 AND e.provider_event_id = $4
    AND +e.received_at > CAST($13 AS BIGINT)) < {HELD_AT_MOST}){{shared}}
ON CONFLICT (project_id, provider_event_id, provider, effect_type, digest) DO UPDATE
  SET repeats = early_results.repeats + 1, repeated_at = excluded.received_at,
    received_at = CASE WHEN early_results.received_at <= CAST($13 AS BIGINT)
      THEN excluded.received_at ELSE early_results.received_at END
RETURNING 1"""  # noqa: S608 - constants only
_CLAIM = """
DELETE FROM early_results WHERE project_id = $1 AND provider_event_id = $2
  AND provider IN ('', $3) AND effect_type IN ('', $4) AND received_at > $5
RETURNING received_at, id, status, error_code, error_message, request_id, already_applied,
  repeats"""
_KEEP_REPEATS = "UPDATE results SET repeats = repeats + $2, repeated_at = $3 WHERE id = $1"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a receipt is known by."""

    project_id: ProjectId
    provider: str
    provider_event_id: str
    effect_type: str


async def holding_projects(
    st: Statements, project_ids: Collection[ProjectId]
) -> frozenset[ProjectId]:
    """The projects among these whose receipts may find held results.

    They hold early results, or did and still have some.
    """
    holding = _HOLDING.format(given=_GIVEN[st.dialect])
    rows = await st.fetch(holding, json.dumps(sorted(project_ids)))
    return frozenset(ProjectId(project_id) for (project_id,) in rows)


async def lock_events(st: Statements, names: Iterable[tuple[ProjectId, str]]) -> None:
    """Lock events by project and provider's id until the transaction ends, in one fixed order."""
    keys = sorted({_lock_key(*name) for name in names})
    if keys and st.dialect == "postgresql":
        await st.fetch(_LOCK, json.dumps(keys))


async def hold_result(st: Statements, new: NewResult, now: datetime) -> bool:
    """Hold a result that names no receipt. An equal one that is held already is counted.

    False if the project refuses early results, or too many others of the event are held.
    """
    facts = ResultFacts(
        new.status,
        None,
        new.error_code,
        new.error_message,
        already_applied=new.already_applied,
    )
    provider = "stripe" if new.stripe_event_id is not None else new.provider
    held = await st.fetch(
        _HOLD.format(shared=_SHARED[st.dialect]),
        new_result_id(),
        new.project_id,
        str(provider or ""),
        named_event(new) or "",
        str(new.effect_type or ""),
        new.status.value,
        new.error_code,
        new.error_message,
        facts.digest,
        to_unix_ms(now),
        new.request_id,
        new.already_applied,
        to_unix_ms(now - HELD_FOR),
    )
    return bool(held)


async def apply_held(
    st: Statements, event_id: EventId, of: Identity, now: datetime, groups: GroupChanges
) -> int:
    """Apply the held results of a receipt that this transaction stored, oldest first.

    Returns how many there were. `groups` as in `apply_transition`.
    """
    since_ms = to_unix_ms(now - HELD_FOR)
    names = (of.project_id, of.provider_event_id, of.provider, of.effect_type)
    held = sorted(await st.fetch(_CLAIM, *names, since_ms), key=lambda row: (row[0], row[1]))
    for row in held:
        await _apply(st, event_id, of.project_id, row, now, groups)
    return len(held)


def named_event(new: NewResult) -> str | None:
    """The provider's id of the event that a result names; None if it names ours."""
    if new.event_id is not None:
        return None
    return new.provider_event_id if new.provider_event_id is not None else new.stripe_event_id


async def _apply(
    st: Statements,
    event_id: EventId,
    project_id: ProjectId,
    row: Row,
    now: datetime,
    groups: GroupChanges,
) -> None:
    received_ms, _, status, code, message, request_id, already_applied, repeats = row
    new = NewResult(
        project_id=project_id,
        event_id=event_id,
        provider_event_id=None,
        stripe_event_id=None,
        provider=None,
        effect_type=None,
        status=ResultStatus(status),
        error_code=code,
        error_message=message,
        replay_id=None,
        request_id=request_id,
        already_applied=bool(already_applied),
    )
    text = f"A {status} result arrived before the receipt. It was held until now."
    await note(st, event_id, now, text=text, held_since=to_iso(from_unix_ms(received_ms)))
    applied = await apply_result(st, new, now, event_id=event_id, groups=groups)
    if repeats and applied.result_id is not None:
        await st.fetch(_KEEP_REPEATS, applied.result_id, repeats, to_unix_ms(now))


def _lock_key(project_id: ProjectId, provider_event_id: str) -> int:
    digest = sha256(f"{project_id}\0{provider_event_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
