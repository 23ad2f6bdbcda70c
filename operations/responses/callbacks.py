"""The JSON of a repair's callback as it was sent, and of a receipt's payload."""

from typing import Any, Self

from pydantic import Field

from domain import incidents
from operations.responses.base import At, EventIdText, ReplayIdText, Response
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


class Payload(Response):
    """The payload of a receipt, as the app sent it."""

    event_id: EventIdText
    # Any: the app's own JSON.
    payload: Any
    deleted_at: At = Field(description="When Makegood deletes the payload.")
