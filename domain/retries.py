"""Decides whether a repair callback is attempted again, and when.

The contract: 2xx is success. Network errors, 408, 429 and 5xx are retried on the schedule. Every
other status ends the series, and 410 also marks the URL as gone. `Retry-After` of a 429 or 503 can
lengthen a delay, to at most one hour. Pure: the caller passes the random
draw, sends and waits. Called by the callback activity after each attempt.
"""

from dataclasses import dataclass
from enum import StrEnum

LONGEST_RETRY_AFTER_SECONDS = 3600
# The contract's delays before each attempt.
CALLBACK_SCHEDULE_SECONDS = (0, 60, 600, 3_600, 21_600)
# The statuses whose `Retry-After` is applied (contract, "Repair callback").
RETRY_AFTER_STATUSES = (429, 503)


class ErrorClass(StrEnum):
    """Why an attempt got no HTTP response; stored with it and shown as `error_class`."""

    # The name has no address, or a refused one. One class for both: the difference would reveal the
    # internal network.
    NO_PERMITTED_ADDRESS = "no_permitted_address"
    CONNECT_FAILED = "connect_failed"  # no address took the connection
    TLS_FAILED = "tls_failed"  # the certificate or the handshake failed
    TIMEOUT = "timeout"  # the exchange did not end within its deadline, slow bodies included
    CONNECTION_RESET = "connection_reset"  # the connection broke before the answer was complete
    PROTOCOL_ERROR = "protocol_error"  # the answer was not HTTP, or ended early
    UNKNOWN = "unknown"  # the worker died between sending and recording


@dataclass(frozen=True, slots=True)
class ExchangeOutcome:
    """The outcome of one attempt: a status, or the class of its failure.

    `answer_excerpt` is the beginning of the answer's body, readable; None without one.
    `retry_after_seconds` is the response's Retry-After, uncapped; None when it is absent or
    malformed. `log_reason` describes a failure for this installation's log only.
    """

    status: int | None
    error_class: ErrorClass | None
    duration_ms: int
    retry_after_seconds: int | None = None
    log_reason: str | None = None
    answer_excerpt: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The endpoint accepted the callback; its result is awaited."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Another attempt follows this many seconds later."""

    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Rejected:
    """The endpoint declined and the series ends. `url_gone`: it answered 410, so the URL is not
    called again.
    """

    url_gone: bool


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The attempt could be retried, but the schedule has no further attempt."""


Verdict = Accepted | TryAgain | Rejected | Exhausted


def judge_exchange(
    outcome: ExchangeOutcome,
    *,
    attempt_number: int,
    schedule: tuple[int, ...],
    jitter: float,
    draw: float,
) -> Verdict:
    """The verdict on attempt `attempt_number` (from 1). For the other arguments see
    `delay_before_attempt`.
    """
    status = outcome.status
    if status is not None and 200 <= status <= 299:
        return Accepted()
    if status is not None and not _is_retryable(status):
        return Rejected(url_gone=status == 410)
    if attempt_number >= len(schedule):
        return Exhausted()
    delay_seconds = delay_before_attempt(
        attempt_number + 1, schedule=schedule, jitter=jitter, draw=draw
    )
    if status in RETRY_AFTER_STATUSES and outcome.retry_after_seconds is not None:
        # Never sooner than requested. A shorter Retry-After does not shorten the schedule.
        delay_seconds = max(
            delay_seconds, min(outcome.retry_after_seconds, LONGEST_RETRY_AFTER_SECONDS)
        )
    return TryAgain(delay_seconds)


def delay_before_attempt(
    attempt_number: int, *, schedule: tuple[int, ...], jitter: float, draw: float
) -> float:
    """Seconds to wait before attempt `attempt_number` (from 1), spread by `jitter`.

    `schedule` holds one delay in seconds for each attempt. `jitter` is the fraction by which a
    delay varies either way. `draw` is the caller's random number from 0 (soonest) to 1 (latest).
    """
    return schedule[attempt_number - 1] * (1 + jitter * (2 * draw - 1))


def longest_delays(schedule: tuple[int, ...], jitter: float) -> tuple[float, ...]:
    """The longest delays in seconds after attempt 1, 2, …, unless a `Retry-After` asks for more.

    The last one holds for all further attempts. The arguments are those of `delay_before_attempt`.
    """
    following = range(2, len(schedule) + 1) or range(1, 2)
    return tuple(
        delay_before_attempt(number, schedule=schedule, jitter=jitter, draw=1)
        for number in following
    )


def _is_retryable(status: int) -> bool:
    """A status outside 200 to 599 is not in the contract and counts as a network error."""
    return status in (408, 429) or not 200 <= status <= 499
