"""Which outcome of a repair callback deserves another attempt, and when.

The contract: 2xx is success; network errors, 408, 429 and 5xx are tried again on the schedule; every other answer ends
the series, and 410 also says that the URL is gone. Decides only: the random draw is given, sending and waiting are the
caller's. Called by the callback activity after each attempt.
"""

from dataclasses import dataclass
from enum import StrEnum

LONGEST_RETRY_AFTER_SECONDS = 3600


class ErrorClass(StrEnum):
    """Why an attempt has no answer to show; recorded with it and told as `error_class`."""

    # The name has no address, or one that may not be called: one class, since which of them tells of the network that this is in.
    NO_PERMITTED_ADDRESS = "no_permitted_address"
    CONNECT_FAILED = "connect_failed"  # no address took the connection
    TLS_FAILED = "tls_failed"  # the certificate or the handshake failed
    TIMEOUT = "timeout"  # the exchange did not end within its deadline, slow bodies included
    CONNECTION_RESET = "connection_reset"  # the connection broke before the answer was complete
    PROTOCOL_ERROR = "protocol_error"  # the answer was not HTTP, or ended early
    UNKNOWN = "unknown"  # the worker died between sending and recording


@dataclass(frozen=True, slots=True)
class ExchangeOutcome:
    """What one attempt came to: a status, or else the class of its failure. Never the body.

    `retry_after_seconds` is what the answer asked for, uncapped; None when it asked for nothing that can be read. `log_reason` is
    what this installation's log says of a failure, and nobody else is told.
    """

    status: int | None
    error_class: ErrorClass | None
    duration_ms: int
    retry_after_seconds: int | None = None
    log_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The endpoint took the callback; its result is awaited."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Another attempt follows, this many seconds after the one judged."""

    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Rejected:
    """The endpoint declined, and the series ends; `url_gone` says that nothing will be at this URL again."""

    url_gone: bool


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The attempt deserves another, and the schedule holds none."""


Verdict = Accepted | TryAgain | Rejected | Exhausted


def judge_exchange(
    outcome: ExchangeOutcome, *, attempt_number: int, schedule: tuple[int, ...], jitter: float, draw: float
) -> Verdict:
    """What follows attempt `attempt_number` (from 1); the other arguments are those of `delay_before_attempt`."""
    status = outcome.status
    if status is not None and 200 <= status <= 299:
        return Accepted()
    if status is not None and not _deserves_another(status):
        return Rejected(url_gone=status == 410)
    if attempt_number >= len(schedule):
        return Exhausted()
    delay_seconds = delay_before_attempt(attempt_number + 1, schedule=schedule, jitter=jitter, draw=draw)
    if status == 429 and outcome.retry_after_seconds is not None:
        # Never sooner than asked, and asking for less does not shorten the schedule.
        delay_seconds = max(delay_seconds, min(outcome.retry_after_seconds, LONGEST_RETRY_AFTER_SECONDS))
    return TryAgain(delay_seconds)


def delay_before_attempt(attempt_number: int, *, schedule: tuple[int, ...], jitter: float, draw: float) -> float:
    """Seconds to wait before attempt `attempt_number` (from 1), spread by `jitter`.

    `schedule` holds one delay in seconds for each attempt, `jitter` is the fraction that it may move either way, and
    `draw` the caller's random number from 0 (the soonest) to 1 (the latest).
    """
    return schedule[attempt_number - 1] * (1 + jitter * (2 * draw - 1))


def longest_delays(schedule: tuple[int, ...], jitter: float) -> tuple[float, ...]:
    """Seconds after attempt 1, 2, … until the next one at the latest, unless a 429 asks for more; the last holds for all further.

    The arguments are those of `delay_before_attempt`.
    """
    following = range(2, len(schedule) + 1) or range(1, 2)
    return tuple(delay_before_attempt(number, schedule=schedule, jitter=jitter, draw=1) for number in following)


def _deserves_another(status: int) -> bool:
    """A status outside 200 to 599 is no HTTP answer that the contract knows, and counts as a network error."""
    return status in (408, 429) or not 200 <= status <= 499
