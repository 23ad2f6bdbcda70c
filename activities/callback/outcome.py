"""Turns the verdict on a callback attempt into the series' stored end and the activity's outcome.

The activity returns a result, or raises an error that decides whether and when Temporal retries.
Called by `activities.callback.send` and `activities.callback.attempts`.
"""

from datetime import timedelta
from typing import NoReturn

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.messages import (
    ATTEMPT_FAILED,
    REPAIR_EXHAUSTED,
    REPAIR_OVER,
    REPAIR_REJECTED,
    LifecycleResult,
    ReceiptStatus,
)
from domain.lifecycle import LifecycleState
from domain.retries import Accepted, Exhausted, Rejected, TryAgain, Verdict
from store.receipts.attempts import Ending


def series_outcome(verdict: Verdict) -> Ending | None:
    """How the series ended with this attempt, for the store. None while it continues."""
    match verdict:
        case Accepted():
            return "accepted"
        case Rejected():
            return "rejected"
        case Exhausted():
            return "exhausted"
        case TryAgain():
            return None


def to_activity_result(verdict: Verdict, status: ReceiptStatus) -> LifecycleResult:
    """The activity's result after an accepted attempt.

    Raises:
        ApplicationError: for every other verdict.
    """
    match verdict:
        case Accepted():
            return LifecycleResult(status)
        case Rejected():
            end_series(REPAIR_REJECTED, "the endpoint declined the callback")
        case Exhausted():
            end_series(REPAIR_EXHAUSTED, "the last attempt of the schedule failed")
        case TryAgain(delay_seconds=delay_seconds):
            if status.state is not LifecycleState.CALLING:
                end_series(REPAIR_OVER, f"the receipt's state is {status.state}")
            retry_after("the attempt failed and another follows", timedelta(seconds=delay_seconds))


def end_series(kind: str, message: str) -> NoReturn:
    """End the series: no attempt follows. Raises: ApplicationError of this type."""
    category = ApplicationErrorCategory.BENIGN
    raise ApplicationError(message, type=kind, non_retryable=True, category=category)


def retry_after(message: str, delay: timedelta) -> NoReturn:
    """Have Temporal run the activity again after the delay. Raises: ApplicationError."""
    # Benign, because a failing endpoint is not an error of this worker.
    category = ApplicationErrorCategory.BENIGN
    raise ApplicationError(message, type=ATTEMPT_FAILED, next_retry_delay=delay, category=category)
