"""What follows an attempt of a callback: for the store how its series ended, for the engine an answer or an error with a delay.

Called by `activities.callback.send` alone.
"""

from datetime import timedelta
from typing import NoReturn

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.messages import ATTEMPT_FAILED, REPAIR_EXHAUSTED, REPAIR_OVER, REPAIR_REJECTED, Answer, Standing
from domain.lifecycle import LifecycleState
from domain.retries import Accepted, Exhausted, Rejected, TryAgain, Verdict
from store.receipts.attempts import Ending


def ending_of(verdict: Verdict) -> Ending | None:
    """How the series ended with the attempt, as the store records it; None while it goes on."""
    match verdict:
        case Accepted():
            return "accepted"
        case Rejected():
            return "rejected"
        case Exhausted():
            return "exhausted"
        case TryAgain():
            return None


def follow(verdict: Verdict, standing: Standing) -> Answer:
    """The activity's answer to an attempt that was accepted. Raises: ApplicationError, for every other verdict."""
    match verdict:
        case Accepted():
            return Answer(standing)
        case Rejected():
            end_series(REPAIR_REJECTED, "the endpoint declined the callback")
        case Exhausted():
            end_series(REPAIR_EXHAUSTED, "the last attempt of the schedule failed")
        case TryAgain(delay_seconds=delay_seconds):
            if standing.position is not LifecycleState.CALLING:
                end_series(REPAIR_OVER, f"the receipt stands at {standing.position}")
            try_again("the attempt failed and another follows", timedelta(seconds=delay_seconds))


def end_series(kind: str, message: str) -> NoReturn:
    """No attempt follows. Raises: ApplicationError of this type."""
    raise ApplicationError(message, type=kind, non_retryable=True, category=ApplicationErrorCategory.BENIGN)


def try_again(message: str, delay: timedelta) -> NoReturn:
    """The engine runs the activity again after the delay. Raises: ApplicationError."""
    # Benign: an endpoint that fails is the merchant's news, not an error of this worker.
    raise ApplicationError(message, type=ATTEMPT_FAILED, next_retry_delay=delay, category=ApplicationErrorCategory.BENIGN)
