"""The tree of refusals:

one class for each code that is refused on purpose, each with a message that helps.
"""

import inspect

import pytest

from domain import errors
from domain.errors import Code, FieldError, RateLimited, Refusal, ValidationFailed

CONTRACT = {
    "unauthorized",
    "forbidden",
    "subscription_required",
    "rate_limited",
    "missing_accept_header",
    "not_acceptable",
    "unsupported_media_type",
    "payload_too_large",
    "too_many_fields",
    "missing_idempotency_key",
    "bad_signature",
    "idempotency_conflict",
    "idempotency_in_progress",
    "receipt_conflict",
    "incident_resolved",
    "not_waiting",
    "not_closed",
    "superseded",
    "repair_url_missing",
    "validation_error",
    "not_found",
    "method_not_allowed",
    "internal_error",
    "unavailable",
}
BY_THE_SERVER = {"method_not_allowed", "internal_error"}
REFUSALS = [
    c
    for _, c in inspect.getmembers(errors, inspect.isclass)
    if issubclass(c, Refusal) and c is not Refusal
]


def test_codes_are_the_contracts() -> None:
    assert {code.value for code in Code} == CONTRACT


def test_every_code_of_ours_has_one_class() -> None:
    # A more exact reason for a code is a class below that code's own.
    codes = [refusal.code.value for refusal in REFUSALS if refusal.__base__ is Refusal]

    assert sorted(codes) == sorted(CONTRACT - BY_THE_SERVER)


def test_tree_in_the_docstring_is_the_code() -> None:
    lines = (errors.__doc__ or "").splitlines()
    documented = {tuple(line.partition("──")[2].split()) for line in lines if "──" in line}

    assert documented == {(refusal.__name__, refusal.code.value) for refusal in REFUSALS}


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.__name__)
def test_docstring_is_the_message(refusal: type[Refusal]) -> None:
    assert refusal().detail == str(refusal()) == " ".join((refusal.__doc__ or "").split()) != ""


def test_raiser_can_be_more_exact() -> None:
    refusal = RateLimited("slow down", retry_after_seconds=2)

    assert (refusal.detail, str(refusal), refusal.retry_after_seconds) == (
        "slow down",
        "slow down",
        2,
    )


def test_validation_names_each_place() -> None:
    fields = (
        FieldError("/provider", "missing", "is required"),
        FieldError("/effect_type", "enum", "is not known"),
    )

    assert ValidationFailed(errors=fields).errors == fields
