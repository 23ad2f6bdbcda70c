"""The JSON of a repair's callback as it was sent, of a test call, and of a receipt's payload."""

from typing import Any, Self

from pydantic import Field

from domain import incidents
from domain.retries import ErrorClass
from operations.repair_url.trial import TriedRepairUrl
from operations.responses.base import At, EventIdText, OrNewer, ReplayIdText, Response
from operations.responses.incidents import Attempt, Repair


class SentAttempt(Attempt):
    """An attempt with what was sent in it. `headers` are in the order of the request.

    The HTTP library adds `Host`, `Content-Length`, `Accept-Encoding` and `Connection`.
    """

    headers: list[tuple[str, str]] = Field(
        examples=[[["X-SendPromptly-Timestamp", "1795432435"], ["X-SendPromptly-Attempt", "1"]]]
    )

    @classmethod
    def of_sent(cls, sent: incidents.SentCallback) -> Self:
        return cls.from_value(sent.attempt, headers=list(sent.headers))


class RepairCallback(Response):
    """The signed callback of a repair: the body, and the headers and answer of each attempt.

    `body` has the exact bytes that were signed, as UTF-8 text. It is null before the first attempt,
    and for repairs that an earlier version began.
    """

    event_id: EventIdText
    replay_id: ReplayIdText
    repair: Repair
    body: str | None
    attempts: list[SentAttempt]

    @classmethod
    def of(cls, callback: incidents.RepairCallback) -> Self:
        return cls.from_value(
            callback.repair,
            repair=Repair.of(callback.repair),
            body=callback.body,
            attempts=[SentAttempt.of_sent(one) for one in callback.sent],
        )


class RepairUrlTest(Response):
    """What a test call sent, and what the endpoint answered."""

    ok: bool = Field(description="Whether the answer was 2xx, which accepts a repair.")
    status: int | None = Field(description="Its HTTP status; null without an answer.")
    error_class: OrNewer[ErrorClass] | None = Field(
        description="Why no answer counts; null with a status."
    )
    duration_ms: int
    detail: str = Field(description="A sentence for people.")
    answer_excerpt: str | None = Field(
        description="The beginning of its body, at most 500 characters; null if it is empty."
    )
    sent_at: At
    replay_id: ReplayIdText = Field(description="Of this call only: no repair has it.")
    body: str = Field(description="The JSON that was sent, with `test` true.")

    @classmethod
    def of(cls, tried: TriedRepairUrl) -> Self:
        return cls.from_value(tried)


class Payload(Response):
    """The payload of a receipt, as the app sent it."""

    event_id: EventIdText
    # Any: the app's own JSON.
    payload: Any
    deleted_at: At = Field(description="When Makegood deletes the payload.")
