"""Endpoints in memory, and the callback activity on them."""

import asyncio
import itertools
import time

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.callback.send import CallbackActivities, CallbackRules, RuntimeSources, Transport
from activities.callback.transport import OutgoingRequest
from activities.messages import LifecycleResult, SendCallback
from activities.slots import CallbackLimits, CallbackSlots
from domain.retries import ExchangeOutcome
from store.crypto.encryption import Sealer
from tests.support.given import Story

SOURCES = RuntimeSources(draw=lambda: 0.5, nonce=lambda: "ab" * 16)
SCHEDULE = (0, 60, 600)
_workers = itertools.count(1)


class Endpoint:
    """A transport that returns its outcomes in turn, the last repeatedly, and stores requests."""

    def __init__(self, *outcomes: int | ExchangeOutcome) -> None:
        self.requests: list[OutgoingRequest] = []
        self._outcomes = list(outcomes)

    async def __call__(self, request: OutgoingRequest) -> ExchangeOutcome:
        self.requests.append(request)
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        return (
            outcome if isinstance(outcome, ExchangeOutcome) else ExchangeOutcome(outcome, None, 12)
        )

    def headers(self, number: int = 0) -> dict[str, str]:
        return {name.lower(): value for name, value in self.requests[number].headers}


def built(
    story: Story,
    sealer: Sealer,
    endpoint: Transport,
    schedule: tuple[int, ...] = SCHEDULE,
    *,
    holder: str | None = None,
) -> CallbackActivities:
    """The activity in a worker process of its own."""
    return CallbackActivities(
        story.database,
        sealer=sealer,
        transport=endpoint,
        rules=CallbackRules(schedule=schedule, jitter=0.1),
        sources=SOURCES,
        slots=CallbackSlots(CallbackLimits(), time.monotonic),
        holder=holder or f"worker-{next(_workers)}",
    )


async def send(
    story: Story,
    sealer: Sealer,
    endpoint: Transport,
    order: SendCallback,
    schedule: tuple[int, ...] = SCHEDULE,
) -> LifecycleResult:
    """Run the activity once, as Temporal would."""
    return await ActivityEnvironment().run(
        built(story, sealer, endpoint, schedule).send_callback, order
    )


async def failing(
    story: Story,
    sealer: Sealer,
    endpoint: Transport,
    order: SendCallback,
    schedule: tuple[int, ...] = SCHEDULE,
) -> ApplicationError:
    """Run the activity once, and return its error."""
    with pytest.raises(ApplicationError) as failure:
        await send(story, sealer, endpoint, order, schedule)
    return failure.value


class Slow:
    """An endpoint that answers once `may_answer` is set."""

    def __init__(self) -> None:
        self.is_called = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def __call__(self, request: OutgoingRequest) -> ExchangeOutcome:
        self.is_called.set()
        await self.may_answer.wait()
        return ExchangeOutcome(200, None, 12)
