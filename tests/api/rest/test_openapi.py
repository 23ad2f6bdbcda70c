"""The document is valid OpenAPI 3.1 and matches the service. Generated requests cause no crash."""

import re
from collections.abc import Iterator
from itertools import count
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from api.http.request_headers import idempotency_key
from api.rest.openapi import document
from domain.errors import Code, MissingIdempotencyKey
from tests.api.apart import GENERATED, Served
from tests.api.serving import Caller

EXAMPLES = 20
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SCHEMA = schemathesis.openapi.from_dict(document())
OPERATIONS = [
    f"{method.upper()} {path}" for path, item in document()["paths"].items() for method in item
]


def test_document_is_valid() -> None:
    openapi = document()

    assert openapi["openapi"].startswith("3.1")
    OPENAPI_31_VALIDATOR.validate(openapi)
    assert list(openapi["webhooks"]) == ["repair.requested"]


def test_every_reference_resolves() -> None:
    openapi = document()
    for reference in _references(openapi):
        target: Any = openapi
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_every_operation_names_its_key_its_errors_and_the_request_id() -> None:
    openapi = document()
    for path, item in openapi["paths"].items():
        for operation in item.values():
            assert operation["security"] == [{"key": []}], path
            assert {"401", "402", "403", "405", "429", "500", "503"} <= set(
                operation["responses"]
            ), path
            assert all(
                "Retry-After" in operation["responses"][status]["headers"]
                for status in ("429", "503")
            ), path
            assert "Allow" in operation["responses"]["405"]["headers"], path
            assert all(
                "Request-Id" in response["headers"] for response in operation["responses"].values()
            ), path


def test_ingest_names_every_error_that_it_gives() -> None:
    receipt = document()["paths"]["/api/v1/receipt"]["post"]

    statuses = (202, 400, 401, 402, 403, 405, 406, 409, 413, 415, 422, 429, 500, 503)
    assert set(receipt["responses"]) == set(map(str, statuses))
    assert receipt["requestBody"]["content"]["application/json"]["examples"]
    assert "Retry-After" in receipt["responses"]["409"]["headers"]


def test_callback_names_every_class_of_answer() -> None:
    assert set(document()["webhooks"]["repair.requested"]["post"]["responses"]) == {
        "2XX",
        "3XX",
        "4XX",
        "5XX",
    }


@pytest.mark.parametrize(
    "key",
    ["a", "order 1", "bestätigt", "注文-1", "🎉", "", " a", "a ", "a\tb", "a\x7fb", "a\x80b"],
    ids=repr,
)
def test_documented_idempotency_keys_are_those_that_are_taken(key: str) -> None:
    (parameter,) = document()["paths"]["/api/v1/receipt"]["post"]["parameters"]

    is_taken = key == key.strip() and len(key) > 0 and key.isprintable()

    assert bool(re.search(parameter["schema"]["pattern"], key)) is is_taken
    if is_taken:
        assert idempotency_key(key.encode()) == key
    elif key == key.strip():
        with pytest.raises(MissingIdempotencyKey):
            idempotency_key(key.encode())


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


async def test_document_and_reference_are_served_without_anything_foreign(caller: Caller) -> None:
    served = await caller.client.get("/openapi.json")
    page = await caller.client.get("/docs")

    assert served.json() == document()
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert re.findall("<script[^>]*>", page.text) == re.findall(
        r'<script src="/docs/static/[\w.-]+">', page.text
    )
    assert "http://" not in page.text
    assert "https://" not in page.text


async def test_error_codes_have_a_list_without_scripts(caller: Caller) -> None:
    page = await caller.client.get("/docs/errors")

    assert page.status_code == 200
    assert "<script" not in page.text
    assert set(re.findall(r'href="/docs/errors/(\w+)"', page.text)) == set(Code)


async def test_every_code_has_its_page(caller: Caller) -> None:
    refused = (await caller.send("receipt", {})).json()

    page = await caller.client.get(refused["type"].removeprefix("http://makegood.example"))
    unknown = await caller.client.get("/docs/errors/nonsense")

    assert page.status_code == 200
    assert "What to do" in page.text
    assert unknown.status_code == 404


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
@pytest.mark.parametrize("label", OPERATIONS)
def test_generated_requests_get_what_the_document_says(
    served: Served, label: str, mode: GenerationMode
) -> None:
    method, path = label.split(" ")
    operation = SCHEMA[path][method]
    headers = {"Authorization": f"Bearer {served.api_key}", "Accept": "application/json"}
    numbers = count()

    @hypothesis.settings(GENERATED, max_examples=EXAMPLES)
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: Case[Any]) -> None:
        # Valid requests use existing ids and their own idempotency keys.
        if mode is GenerationMode.POSITIVE:
            headers["Idempotency-Key"] = f"{label} {next(numbers)}"
            case.path_parameters = {name: served.ids[name] for name in case.path_parameters}
        case.call_and_validate(base_url=served.address, headers=headers, checks=CHECKS)

    holds()
