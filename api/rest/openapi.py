"""The OpenAPI 3.1 document: the operators' routes as FastAPI describes them, the two POSTs and the callback as told here.

Needs no running service: `makegood openapi` prints what `/openapi.json` serves.
"""

from importlib.metadata import version
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from api.ingest.schemas import ReceiptBody, ResultBody
from api.rest import response_models as answers
from api.rest.callback_schema import SIGNATURE_HEADERS, RepairRequest
from api.rest.response_models import problem_responses
from api.rest.routes import manage_router
from domain.errors import Code
from operations.inputs import ProjectPatch
from operations.validation import Json, ResolveBody

REF_TEMPLATE = "#/components/schemas/{model}"
DESCRIPTION = """\
Makegood watches that what a customer paid for really happens. Your app says *receipt* when it has accepted a payment event and
*result* when the business effect was applied or failed. A result that fails, or does not come in time, opens an *incident*.

A `202` means: on disk. Every request carries an API key; every error is a problem document whose `code` never changes."""

INGEST_CODES = (
    Code.UNAUTHORIZED,
    Code.FORBIDDEN,
    Code.SUBSCRIPTION_REQUIRED,
    Code.RATE_LIMITED,
    Code.MISSING_ACCEPT_HEADER,
    Code.NOT_ACCEPTABLE,
    Code.UNSUPPORTED_MEDIA_TYPE,
    Code.PAYLOAD_TOO_LARGE,
    Code.TOO_MANY_FIELDS,
    Code.MISSING_IDEMPOTENCY_KEY,
    Code.IDEMPOTENCY_CONFLICT,
    Code.IDEMPOTENCY_IN_PROGRESS,
    Code.VALIDATION_ERROR,
    Code.METHOD_NOT_ALLOWED,
    Code.INTERNAL_ERROR,
    Code.UNAVAILABLE,
)
_HEADERS_OF = {"405": ("Allow",), "429": ("Retry-After",), "503": ("Retry-After",)}
SENT_MODELS: tuple[type[BaseModel], ...] = (ReceiptBody, ResultBody, ResolveBody, ProjectPatch)
TOLD_MODELS: tuple[type[BaseModel], ...] = (answers.AcceptedReceipt, answers.AcceptedResult, answers.Problem, RepairRequest)

# No control character and no space but the plain one, which is not counted at the ends.
IDEMPOTENCY_KEY_PATTERN = r"^[^\x00-\x20\x7f-\xa0\xad]([^\x00-\x1f\x7f-\xa0\xad]*[^\x00-\x20\x7f-\xa0\xad])?$"

RECEIPT_EXAMPLES: Json = {
    "stripe": {
        "value": {
            "provider": "stripe",
            "stripe_event_id": "evt_1RkQ2dLkdIwHu7ix0Jb2c3D4",
            "event_type": "checkout.session.completed",
            "effect_type": "access_unlock",
            "internal_reference": "order_1042",
            "occurred_at": "2026-11-23T11:13:55Z",
        }
    },
    "shopify": {
        "value": {
            "provider": "shopify",
            "provider_event_id": "98d3a5a0-0b5f-4c1c-9d44-0b8b3f6f1a11",
            "event_type": "orders/paid",
            "effect_type": "credit_grant",
            "internal_reference": "customer_77",
            "occurred_at": "2026-11-23T11:13:55+01:00",
            "shopify_shop_domain": "example.myshopify.com",
            "timeout_minutes": 15,
        }
    },
}
RESULT_EXAMPLES: Json = {
    "success": {"value": {"event_id": "evt_019ab01c2d3e7f4a8b5c6d7e8f901234", "status": "success"}},
    "failed": {
        "value": {
            "stripe_event_id": "evt_1RkQ2dLkdIwHu7ix0Jb2c3D4",
            "status": "failed",
            "error_code": "seat_limit",
            "error_message": "The plan has no seat left.",
        }
    },
}


def document() -> Json:
    """The whole document."""
    told = get_openapi(
        title="Makegood",
        version=version("makegood"),
        openapi_version="3.1.0",
        description=DESCRIPTION,
        routes=manage_router().routes,
    )
    schemas = told.setdefault("components", {}).setdefault("schemas", {})
    # FastAPI describes its own errors, which this service never sends.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= _schemas("validation", SENT_MODELS) | _schemas("serialization", TOLD_MODELS)
    for name in ("default", "title"):
        for field in schemas["ProjectPatch"]["properties"].values():
            field.pop(name, None)
    _secure(told)
    told["paths"] = {**_ingest_paths(), **told["paths"]}
    told["webhooks"] = {"repair.requested": {"post": _callback()}}
    return told


def _schemas(mode: Any, models: tuple[type[BaseModel], ...]) -> Json:
    # Any: Pydantic's own literal of modes.
    pairs = [(model, mode) for model in models]
    _, made = models_json_schema(pairs, ref_template=REF_TEMPLATE, schema_generator=GenerateJsonSchema)
    definitions: Json = made["$defs"]
    return definitions


def _secure(told: Json) -> None:
    """Every operation takes an API key and answers with a Request-Id; FastAPI's own 422 gives way to ours."""
    told["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key, `sk_test_…` or `sk_live_…`."}
    }
    told["components"]["headers"] = {
        "Request-Id": {"description": "Names this request in our logs.", "schema": {"type": "string"}},
        "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
        "Allow": {"description": "The methods that this address takes.", "schema": {"type": "string"}},
    }
    for path in told["paths"].values():
        for operation in path.values():
            operation["security"] = [{"key": []}]
            _drop_foreign_422(operation)
            for status, response in operation["responses"].items():
                response["headers"] = _headers("Request-Id", *_HEADERS_OF.get(status, ()))


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _drop_foreign_422(operation: Json) -> None:
    """FastAPI adds its own to every operation that has a parameter and names none itself."""
    unprocessable = operation["responses"].get("422")
    if unprocessable is not None and "application/problem+json" not in unprocessable["content"]:
        del operation["responses"]["422"]


def _ingest_paths() -> Json:
    receipt = _ingest(
        "receipt",
        summary="Send a receipt",
        description="Once your app has verified the provider's event and durably accepted the work, before its effect runs.",
        body=ReceiptBody,
        answer=answers.AcceptedReceipt,
        examples=RECEIPT_EXAMPLES,
        codes=(*INGEST_CODES, Code.RECEIPT_CONFLICT),
    )
    result = _ingest(
        "result",
        summary="Send a result",
        description="Once the business effect was applied, or has failed. Name the event by one of its three ids.",
        body=ResultBody,
        answer=answers.AcceptedResult,
        examples=RESULT_EXAMPLES,
        codes=(*INGEST_CODES, Code.NOT_FOUND),
    )
    return {"/api/v1/receipt": {"post": receipt}, "/api/v1/result": {"post": result}}


def _ingest(
    name: str,
    *,
    summary: str,
    description: str,
    body: type[BaseModel],
    answer: type[BaseModel],
    examples: Json,
    codes: tuple[Code, ...],
) -> Json:
    sent = {"schema": _ref(body), "examples": examples}
    replayed = {"description": "`true` when this answer was given before.", "schema": {"type": "string", "enum": ["true"]}}
    refusals = {str(status): told for status, told in problem_responses(*codes).items()}
    for status, told in refusals.items():
        told["headers"] = _headers("Request-Id", *_HEADERS_OF.get(status, ()))
    # With `idempotency_in_progress`.
    refusals["409"]["headers"] |= _headers("Retry-After")
    accepted = {
        "description": "On disk.",
        "headers": {**_headers("Request-Id"), "Idempotent-Replayed": replayed},
        "content": {"application/json": {"schema": _ref(answer)}},
    }
    return {
        "tags": ["ingest"],
        "summary": summary,
        "description": f"{description} Also served at `/v1/{name}`. Scope `ingest`.",
        "operationId": f"send_{name}",
        "security": [{"key": []}],
        "parameters": [_idempotency_key()],
        "requestBody": {"required": True, "content": {"application/json": sent}},
        "responses": {"202": accepted, **refusals},
    }


def _idempotency_key() -> Json:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": True,
        "description": "The same on every retry of a request, different for every other one. Kept for 24 hours. Printable "
        "characters; beyond ASCII as UTF-8.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": IDEMPOTENCY_KEY_PATTERN},
        "example": "receipt-order_1042",
    }


def _callback() -> Json:
    headers = [
        {"name": name, "in": "header", "required": is_required, "description": told, "schema": {"type": "string"}}
        for name, told, is_required in SIGNATURE_HEADERS
    ]
    return {
        "tags": ["callback"],
        "summary": "Repair requested",
        "description": "POSTed to the project's repair URL, the same bytes on every attempt. Verify the signature over the raw "
        "body, apply the effect once per `replay_id`, answer 2xx, then send a result with that `replay_id`.",
        "operationId": "repair_requested",
        "parameters": headers,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(RepairRequest)}}},
        "responses": {
            "2XX": {"description": "Taken. The incident ends when the result says success, not before."},
            "3XX": {"description": "Refused: no redirect is followed, and the repair fails at once."},
            "4XX": {
                "description": "Refused: the repair fails at once, except for 408 and 429, which are repeated; 410 also "
                "marks the repair URL as gone."
            },
            "5XX": {"description": "Repeated after 1 min, 10 min, 1 h and 6 h."},
        },
    }


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": REF_TEMPLATE.format(model=model.__name__)}
