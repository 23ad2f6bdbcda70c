"""Builds the OpenAPI 3.1 document.

FastAPI describes the routes of `api.rest.routes`. This module adds the models of their bodies, the
two POSTs of ingest and the repair callback. It needs no running service: `makegood openapi` prints
the document that `/openapi.json` serves.
"""

import json
from functools import cache
from importlib.metadata import version
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from api.http.path_prefix import prefix_of
from api.ingest.schemas import ReceiptBody, ResultBody
from api.rest import response_models as models
from api.rest.callback_schema import SIGNATURE_HEADERS, RepairRequest
from api.rest.examples import RECEIPT_EXAMPLES, RESULT_EXAMPLES
from api.rest.response_models import problem_responses
from api.rest.routes import ROUTES, rest_router
from domain.errors import Code
from operations.validation import Json

REF_TEMPLATE = "#/components/schemas/{model}"
DESCRIPTION = """\
Makegood checks that customers get what they paid for. Your app sends a *receipt* when it has
accepted a payment event, and a *result* when the business effect was applied or has failed.
A failed or overdue result opens an *incident*.

A `202` means that the request is stored on disk. Every request needs an API key. Every error is a
problem document with a `code`, which never changes."""

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
REQUEST_MODELS: tuple[type[BaseModel], ...] = (
    *(ReceiptBody, ResultBody),
    *(route.body for route in ROUTES if route.body is not None),
)
RESPONSE_MODELS: tuple[type[BaseModel], ...] = (
    models.AcceptedReceipt,
    models.AcceptedResult,
    models.Problem,
    RepairRequest,
)

# No control characters, and no spaces except U+0020, which is removed at both ends.
_EDGE, _INNER = r"[^\x00-\x20\x7f-\xa0\xad]", r"[^\x00-\x1f\x7f-\xa0\xad]"
IDEMPOTENCY_KEY_PATTERN = rf"^{_EDGE}({_INNER}*{_EDGE})?$"


@cache
def document_json(public_url: str) -> bytes:
    """The complete OpenAPI document as JSON. It takes half a second once; not on the event loop."""
    return json.dumps(document(public_url), ensure_ascii=False, separators=(",", ":")).encode()


def document(public_url: str = "") -> Json:
    """The complete OpenAPI document.

    It names the server if the public URL has a path, because clients otherwise call the root of
    the host.
    """
    made = get_openapi(
        title="Makegood",
        version=version("makegood"),
        openapi_version="3.1.0",
        description=DESCRIPTION,
        routes=rest_router().routes,
        servers=[{"url": public_url}] if prefix_of(public_url) else None,
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    # FastAPI adds its own error models, which this service never sends.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= _schemas("validation", REQUEST_MODELS) | _schemas("serialization", RESPONSE_MODELS)
    for name in ("default", "title"):
        for field in schemas["ProjectPatch"]["properties"].values():
            field.pop(name, None)
    _add_common_parts(made)
    made["paths"] = {**_ingest_paths(), **made["paths"]}
    made["webhooks"] = {"repair.requested": {"post": _callback()}}
    return made


def _schemas(mode: Any, described: tuple[type[BaseModel], ...]) -> Json:
    # Any: Pydantic's literal type of modes.
    pairs = [(model, mode) for model in described]
    _, schemas = models_json_schema(
        pairs, ref_template=REF_TEMPLATE, schema_generator=GenerateJsonSchema
    )
    definitions: Json = schemas["$defs"]
    return definitions


def _add_common_parts(made: Json) -> None:
    """Add the API key and `Request-Id` to every operation, and remove FastAPI's 422 responses."""
    made["components"]["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, `sk_test_…` or `sk_live_…`.",
        }
    }
    made["components"]["headers"] = {
        "Request-Id": {
            "description": "The id of the request in the logs.",
            "schema": {"type": "string"},
        },
        "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
        "Allow": {
            "description": "The methods that this path supports.",
            "schema": {"type": "string"},
        },
    }
    for path in made["paths"].values():
        for operation in path.values():
            operation["security"] = [{"key": []}]
            _remove_fastapi_422(operation)
            for status, response in operation["responses"].items():
                response["headers"] = _headers("Request-Id", *_HEADERS_OF.get(status, ()))


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _remove_fastapi_422(operation: Json) -> None:
    """Remove the 422 that FastAPI adds to operations with parameters that declare none."""
    response = operation["responses"].get("422")
    if response is not None and "application/problem+json" not in response["content"]:
        del operation["responses"]["422"]


def _ingest_paths() -> Json:
    receipt = _ingest(
        "receipt",
        summary="Send a receipt",
        description="Send it after verifying and storing the event, before applying the effect.",
        body=ReceiptBody,
        response=models.AcceptedReceipt,
        examples=RECEIPT_EXAMPLES,
        codes=(*INGEST_CODES, Code.RECEIPT_CONFLICT),
    )
    result = _ingest(
        "result",
        summary="Send a result",
        description="Send it when the effect was applied or has failed, with one of the three ids.",
        body=ResultBody,
        response=models.AcceptedResult,
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
    response: type[BaseModel],
    examples: Json,
    codes: tuple[Code, ...],
) -> Json:
    sent = {"schema": _ref(body), "examples": examples}
    replayed = {
        "description": "`true` when this is the stored response to an earlier request.",
        "schema": {"type": "string", "enum": ["true"]},
    }
    refusals = {str(status): problem for status, problem in problem_responses(*codes).items()}
    for status, problem in refusals.items():
        problem["headers"] = _headers("Request-Id", *_HEADERS_OF.get(status, ()))
    # For `idempotency_in_progress`, and for a result that may have overtaken its receipt.
    for status in {"404", "409"} & refusals.keys():
        refusals[status]["headers"] |= _headers("Retry-After")
    accepted = {
        "description": "Stored on disk.",
        "headers": {**_headers("Request-Id"), "Idempotent-Replayed": replayed},
        "content": {"application/json": {"schema": _ref(response)}},
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
        "description": "The same key for all retries of a request, and another key for every other "
        "request. Stored for 24 hours. Printable characters, encoded as UTF-8.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "pattern": IDEMPOTENCY_KEY_PATTERN,
        },
        "example": "receipt-order_1042",
    }


def _callback() -> Json:
    headers = [
        {
            "name": name,
            "in": "header",
            "required": is_required,
            "description": description,
            "schema": {"type": "string"},
        }
        for name, description, is_required in SIGNATURE_HEADERS
    ]
    return {
        "tags": ["callback"],
        "summary": "Repair requested",
        "description": "POSTed to the project's repair URL, with the same bytes on every "
        "attempt. Verify the signature over the raw body. Apply the effect at most once per "
        "`effect_key`, and report `already_applied` if it was applied before. "
        "Respond with 2xx, then send a result with that `replay_id`.",
        "operationId": "repair_requested",
        "parameters": headers,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref(RepairRequest)}},
        },
        "responses": {
            "2XX": {
                "description": "Accepted. The incident is resolved when the result reports success."
            },
            "3XX": {"description": "Redirects are not followed. The repair fails at once."},
            "4XX": {
                "description": "The repair fails at once. 408 and 429 are repeated instead. "
                "410 also marks the repair URL as gone."
            },
            "5XX": {
                "description": "The callback is repeated after 1 min, 10 min, 1 h and 6 h. "
                "`Retry-After` of 429 and 503 is applied, at most 1 h."
            },
        },
    }


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": REF_TEMPLATE.format(model=model.__name__)}
