"""The response model of a test call to the repair URL."""

from typing import Self

from pydantic import Field

from domain.retries import ErrorClass
from operations.repair_url.trial import TriedRepairUrl
from operations.responses.base import At, OrNewer, ReplayIdText, Response


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
