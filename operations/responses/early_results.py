"""The JSON of results that came before their receipt."""

from typing import Literal, Self

from pydantic import Field

from domain import results
from domain.results import ResultStatus
from operations.responses.base import At, Response
from store.db.paging import Page
from store.receipts.early_results.hold import HELD_FOR


class EarlyResult(Response):
    """A held result that no receipt has claimed."""

    provider: str | None = Field(description="Null if the result named none.")
    provider_event_id: str
    effect_type: str | None = Field(description="Null if the result named none.")
    status: Literal[ResultStatus.SUCCESS, ResultStatus.FAILED]
    error_code: str | None
    error_message: str | None
    already_applied: bool = Field(description="A success that found the effect applied.")
    received_at: At
    expires_at: At = Field(description="It is deleted then, unless its receipt comes before.")
    repeats: int = Field(description="How many equal results came later.")

    @classmethod
    def of(cls, early: results.EarlyResult) -> Self:
        return cls.from_value(early, expires_at=early.received_at + HELD_FOR)


class EarlyResultList(Response):
    """A page of held results, newest first."""

    data: list[EarlyResult]
    has_more: bool
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[results.EarlyResult]) -> Self:
        return cls.from_value(
            page,
            data=[EarlyResult.of(row) for row in page.rows],
            has_more=page.next_cursor is not None,
        )
