"""The OpenAPI schemas of ingest's responses and of problems, which are written without a model.

The models of all other responses are in `operations.responses`.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.http.problems import PROBLEM_TYPES
from domain.errors import Code
from domain.receipts import ReceiptState
from operations.responses.base import At, EventIdText


class AcceptedReceipt(BaseModel):
    """The receipt is stored on disk."""

    accepted: Literal[True]
    event_id: EventIdText
    timeout_at: At
    effect_key: str = Field(description="Apply the effect at most once under this key.")


class AcceptedResult(BaseModel):
    """The result is stored on disk. `state` is the receipt's state after it.

    `held`: the result came before its receipt, in a project that holds early results.
    """

    accepted: Literal[True]
    event_id: EventIdText | None = Field(description="Null while the result is held.")
    state: ReceiptState | Literal["held"]


class FieldProblem(BaseModel):
    """An error in one field or parameter of a request."""

    pointer: str = Field(
        description="The JSON pointer (RFC 6901) of the field in the body, or of the parameter."
    )
    code: str
    message: str


class Problem(BaseModel):
    """The body of every error response (RFC 9457)."""

    type: str = Field(
        description="The URL of the page about the code.", json_schema_extra={"format": "uri"}
    )
    title: str
    status: int
    detail: str
    code: Code
    request_id: str
    retryable: bool = Field(description="Whether the same request may succeed later.")
    errors: list[FieldProblem] | None = Field(
        default=None, description="Present for `validation_error` only."
    )


# Any: FastAPI's annotation of `responses`.
def problem_responses(*codes: Code) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of an operation's refusals, by status."""
    by_status: dict[int | str, list[Code]] = {}
    for code in codes:
        by_status.setdefault(PROBLEM_TYPES[code].status, []).append(code)
    return {status: _problem_response(listed) for status, listed in by_status.items()}


def _problem_response(codes: list[Code]) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": " ".join(f"`{code.value}`: {PROBLEM_TYPES[code].cause}" for code in codes),
        "content": {
            name: {"schema": schema} for name in ("application/problem+json", "application/json")
        },
    }
