"""Finds the receipt that a result names: by `event_id`, by the provider's id, or by several ids
that must agree.

Reads only. Used by `store.receipts.results.apply_result`.
"""

from dataclasses import dataclass

from domain.errors import FieldError, NotFound, ReceiptNotYetKnown, ValidationFailed
from domain.ids import EventId
from domain.receipts import Provider
from domain.results import NewResult
from store.db.sql import Statements
from store.schema.tables import OWN_PROVIDER

# A receipt that the app sends before its job is committed within this time.
RETRY_AFTER_SECONDS = 1

_BY_EVENT_ID = """
SELECT event_id, provider, effect_type, provider_event_id FROM receipts WHERE project_id = $1
  AND event_id = $2"""
_BY_PROVIDER_ID = f"""
SELECT event_id, provider, effect_type, provider_event_id FROM receipts
WHERE project_id = $1 AND provider IN ('stripe', 'shopify') AND provider_event_id = $2
UNION ALL
SELECT event_id, provider, effect_type, provider_event_id FROM receipts
WHERE project_id = $1 AND provider_event_id = $2 AND {OWN_PROVIDER}"""  # noqa: S608 - constants only

_BY_REPLAY_ID = """
SELECT r.event_id FROM repairs p JOIN receipts r ON r.event_id = p.event_id
  WHERE p.replay_id = $1 AND r.project_id = $2"""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A receipt that may be the one that a result names."""

    event_id: str
    provider: str
    effect_type: str
    provider_event_id: str


async def match_event(st: Statements, new: NewResult) -> EventId:
    """The receipt of the project that a result names. Its `replay_id`, if any, must be one of that
    receipt's repairs.

    Raises:
        NotFound: the `event_id` is unknown, or the `replay_id` is not one of its repairs.
        ReceiptNotYetKnown: no receipt has the provider's id; it may still be on its way.
        ValidationFailed: the ids name different events, or several effects of one event match.
    """
    repaired_id = None if new.replay_id is None else await _event_of_repair(st, new)
    provider = Provider.STRIPE if new.stripe_event_id is not None else new.provider
    candidates = [
        candidate
        for candidate in await _candidates(st, new)
        if (provider is None or candidate.provider == provider)
        and (new.effect_type is None or candidate.effect_type == new.effect_type)
    ]
    if not candidates and new.event_id is None:
        raise ReceiptNotYetKnown(retry_after_seconds=RETRY_AFTER_SECONDS)
    if not candidates:
        raise NotFound("No receipt of this project matches: send the receipt before its result.")
    if len(candidates) > 1:
        raise _ambiguous(candidates)
    event_id = EventId(candidates[0].event_id)
    if repaired_id is not None and repaired_id != event_id:
        raise NotFound("This replay_id is not one of this event's repairs.")
    return event_id


async def _event_of_repair(st: Statements, new: NewResult) -> EventId:
    """The receipt of the repair, checked first: an unknown `replay_id` is 404, whatever the other
    ids are.
    """
    rows = await st.fetch(_BY_REPLAY_ID, new.replay_id, new.project_id)
    if not rows:
        raise NotFound("No repair of this project has this replay_id.")
    (event_id,) = rows[0]
    return EventId(event_id)


async def _candidates(st: Statements, new: NewResult) -> list[_Candidate]:
    provider_id = (
        new.provider_event_id if new.provider_event_id is not None else new.stripe_event_id
    )
    by_id = [] if new.event_id is None else await _select(st, _BY_EVENT_ID, new, new.event_id)
    if new.event_id is not None and not by_id:
        return []
    if new.stripe_event_id is not None and new.stripe_event_id != provider_id:
        message = "This id and provider_event_id name different events."
        raise ValidationFailed(errors=(FieldError("/stripe_event_id", "mismatch", message),))
    if new.event_id is None:
        return [] if provider_id is None else await _select(st, _BY_PROVIDER_ID, new, provider_id)
    if provider_id is not None and by_id[0].provider_event_id != provider_id:
        field = "provider_event_id" if new.provider_event_id is not None else "stripe_event_id"
        raise ValidationFailed(
            errors=(
                FieldError(f"/{field}", "mismatch", "This id and event_id name different events."),
            )
        )
    return by_id


async def _select(st: Statements, sql: str, new: NewResult, named: str) -> list[_Candidate]:
    return [_Candidate(*row) for row in await st.fetch(sql, new.project_id, named)]


def _ambiguous(candidates: list[_Candidate]) -> ValidationFailed:
    providers = {candidate.provider for candidate in candidates}
    field = "provider" if len(providers) > 1 else "effect_type"
    message = f"Several receipts match: name the {field} as well."
    return ValidationFailed(errors=(FieldError(f"/{field}", "ambiguous", message),))
