"""The result: the app reports that the business effect was applied or failed.

`classify_result` decides which trigger of the state machine a result is: for example a first
result, a repeat, or the result of a repair. It never reads the store: the caller passes the stored
values.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from domain.ids import EventId, ProjectId, ReplayId, ResultId
from domain.lifecycle import END_STATES, OPEN_STATES, LifecycleState, Trigger
from domain.receipts import EffectType, Provider


class ResultStatus(StrEnum):
    SUCCESS = "success"
    FAILED = "failed"


class LateResult(StrEnum):
    """The project's setting for a success without `replay_id` that arrives after its incident
    opened.
    """

    RESOLVE = "resolve"
    NOTE = "note"


class EarlyResults(StrEnum):
    """The project's setting for a result by a provider's id that has no receipt yet."""

    REFUSE = "refuse"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class NewResult:
    """A validated result on its way into the store. At least one of the three ids is given."""

    project_id: ProjectId
    event_id: EventId | None
    provider_event_id: str | None
    stripe_event_id: str | None
    provider: Provider | str | None
    effect_type: EffectType | str | None
    status: ResultStatus
    error_code: str | None
    error_message: str | None
    replay_id: ReplayId | None
    request_id: str
    already_applied: bool = False


@dataclass(frozen=True, slots=True)
class ResultFacts:
    """The fields of a result that decide whether another result repeats it.

    `already_applied`: a success that found the effect applied, and did nothing.
    """

    status: ResultStatus
    replay_id: ReplayId | None
    error_code: str | None
    error_message: str | None
    already_applied: bool = False

    @property
    def digest(self) -> str:
        """32 hex characters, equal for equal facts. An index on it finds repeats, however long
        their messages are.
        """
        parts = (
            self.status.value,
            self.replay_id or "",
            self.error_code or "",
            self.error_message or "",
            # Not in others, so that they equal the results of earlier versions.
            *(("already_applied",) if self.already_applied else ()),
        )
        return sha256("\0".join(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Result:
    """A stored result. `repeats` counts later equal results that changed nothing, the last one at
    `repeated_at`. `request_id` is that of the request that reported it, None in rows of an earlier
    version.
    """

    id: ResultId
    event_id: EventId
    received_at: datetime
    facts: ResultFacts
    repeats: int = 0
    repeated_at: datetime | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class EarlyResult:
    """A result that no receipt has claimed. `provider` and `effect_type` are None if it named none.

    `repeats` counts later equal results, the last one at `repeated_at`.
    """

    id: ResultId
    project_id: ProjectId
    provider: str | None
    provider_event_id: str
    effect_type: str | None
    status: ResultStatus
    error_code: str | None
    error_message: str | None
    already_applied: bool
    received_at: datetime
    repeats: int
    repeated_at: datetime | None


def classify_result(
    facts: ResultFacts,
    *,
    state: LifecycleState,
    active_replay_id: ReplayId | None,
    ended_by_replay_id: ReplayId | None,
    earlier: frozenset[ResultFacts],
    late_result: LateResult | str,
) -> Trigger:
    """The trigger that this result is for a receipt in `state`.

    `ended_by_replay_id` is the repair whose success ended the receipt; None when it has not ended,
    or ended without a repair. `earlier` are the stored results of an ended receipt that are
    successes or equal to this one. The caller has checked that `facts.replay_id` is one of this
    receipt's repairs. A `late_result` of a newer version counts as the default, `resolve`.
    """
    if state in END_STATES and (
        facts in earlier or _is_the_ending_success(facts, state, ended_by_replay_id)
    ):
        return Trigger.REPEATED
    if facts.status is ResultStatus.FAILED:
        # A failure contradicts the success that ended the receipt. On a closed receipt it
        # contradicts a stored success only.
        if state is LifecycleState.CLOSED and any(
            one.status is ResultStatus.SUCCESS for one in earlier
        ):
            return Trigger.FAILED_AFTER_SUCCESS
        is_active = facts.replay_id is not None and facts.replay_id == active_replay_id
        return Trigger.FAILED_BY_ACTIVE_REPLAY if is_active else Trigger.FAILED
    if facts.replay_id is None and state in OPEN_STATES and late_result is LateResult.NOTE:
        return Trigger.SUCCESS_TO_NOTE
    if facts.already_applied:
        return Trigger.SUCCESS_ALREADY_APPLIED
    return Trigger.SUCCESS if facts.replay_id is None else Trigger.SUCCESS_BY_REPLAY


def _is_the_ending_success(
    facts: ResultFacts, state: LifecycleState, ended_by_replay_id: ReplayId | None
) -> bool:
    is_success = facts.status is ResultStatus.SUCCESS
    return (
        is_success
        and state in {LifecycleState.APPLIED, LifecycleState.RECOVERED}
        and facts.replay_id == ended_by_replay_id
    )
