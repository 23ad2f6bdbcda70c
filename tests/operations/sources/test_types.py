"""The types that a source may expect: those of the contract, and those that the project added."""

from typing import Any

import pytest

from domain.errors import ValidationFailed
from domain.names import OwnNames
from domain.projects import Project
from domain.receipts import EVENT_TYPES_OF, Provider
from domain.sources.changes import NewSource
from domain.sources.source import SourceKind
from operations.sources.inputs import NewSourceBody, SourcePatch
from operations.sources.rules import event_types, new_source, source_changes
from operations.validation import validated
from tests.operations.sources.test_rules import body, project, stored

Json = dict[str, Any]
THIN = "v1.billing.meter.error"
OWN = project(
    event_types=OwnNames(
        current=("invoice.voided", "orders/create", "refunds/create", THIN),
        retired=("orders/edited",),
    ),
    effect_types=OwnNames(current=("tax_report",), retired=("gift",)),
)


def expected(event_type: str, effect_type: str = "access_unlock") -> Json:
    return {"event_type": event_type, "effect_type": effect_type}


def made(kind: str, expects: list[Json], of: Project = OWN, **changes: Any) -> NewSource:
    content = body(kind, expects=expects, **changes)
    return new_source(validated(NewSourceBody, content), of)


def refusals(kind: str, expects: list[Json], of: Project = OWN, **changes: Any) -> list[str]:
    """The pointer and the code of each error."""
    with pytest.raises(ValidationFailed) as refused:
        made(kind, expects, of, **changes)
    return [f"{error.pointer} {error.code}" for error in refused.value.errors]


@pytest.mark.parametrize(
    ("kind", "event_type"),
    [
        ("stripe_webhook", "invoice.voided"),
        ("stripe_webhook", THIN),
        ("stripe_api", "invoice.voided"),
        ("shopify_webhook", "refunds/create"),
        ("shopify_api", "orders/create"),
    ],
)
def test_types_of_the_project_are_taken(kind: str, event_type: str) -> None:
    (one,) = made(kind, [expected(event_type, "tax_report")]).expects

    assert (one.event_type, one.effect_type) == (event_type, "tax_report")


@pytest.mark.parametrize(
    ("kind", "event_type"),
    [
        ("stripe_webhook", "invoice.created"),
        ("stripe_webhook", "billing.meter.error"),
        ("stripe_webhook", "orders/edited"),
        ("stripe_webhook", "orders/paid"),
        ("stripe_api", THIN),
        ("shopify_webhook", "invoice.paid"),
        ("shopify_api", "refunds/create"),
        ("shopify_api", "customers/create"),
    ],
)
def test_other_types_are_refused(kind: str, event_type: str) -> None:
    assert refusals(kind, [expected(event_type)]) == ["/expects/0/event_type unknown_value"]


@pytest.mark.parametrize("effect_type", ["gift", "magic", ""])
def test_other_effects_are_refused(effect_type: str) -> None:
    assert refusals("stripe_api", [expected("invoice.paid", effect_type)]) == [
        "/expects/0/effect_type unknown_value"
    ]


@pytest.mark.parametrize("event_type", ["invoice.voided", THIN, "orders/create"])
def test_without_names_of_its_own_a_project_expects_the_types_of_the_contract(
    event_type: str,
) -> None:
    for kind in SourceKind:
        assert refusals(kind.value, [expected(event_type)], project()) == [
            "/expects/0/event_type unknown_value"
        ]
    assert event_types(SourceKind.STRIPE_API, project()) == tuple(
        sorted(EVENT_TYPES_OF[Provider.STRIPE])
    )
    assert event_types(SourceKind.SHOPIFY_API, project()) == ("orders/fulfilled", "orders/paid")


TWO_TOPICS = [expected("orders/paid"), expected("orders/fulfilled")]


@pytest.mark.parametrize("kind", ["shopify_webhook", "shopify_api"])
def test_two_topics_with_one_effect_would_be_one_receipt(kind: str) -> None:
    assert refusals(kind, TWO_TOPICS) == ["/expects/1/effect_type duplicate"]
    assert refusals(kind, TWO_TOPICS, identity="object_id") == ["/expects/1/effect_type duplicate"]


def test_two_topics_may_have_one_effect_if_ids_of_deliveries_tell_them_apart() -> None:
    for identity in ("event_id", "webhook_id"):
        assert len(made("shopify_webhook", TWO_TOPICS, identity=identity).expects) == 2
    assert (
        len(
            made("shopify_api", [TWO_TOPICS[0], expected("orders/fulfilled", "tax_report")]).expects
        )
        == 2
    )


def test_two_types_of_stripe_may_have_one_effect() -> None:
    assert (
        len(made("stripe_api", [expected("invoice.paid"), expected("charge.refunded")]).expects)
        == 2
    )


@pytest.mark.parametrize(
    ("patch", "refused"),
    [
        ({"identity": "object_id"}, ["/identity not_allowed"]),
        (
            {"identity": "object_id", "expects": TWO_TOPICS},
            ["/expects/1/effect_type duplicate"],
        ),
        ({"identity": "object_id", "expects": TWO_TOPICS[:1]}, []),
        ({"expects": TWO_TOPICS}, []),
        ({"identity": "webhook_id"}, []),
    ],
)
def test_change_that_would_merge_two_topics_is_refused(patch: Json, refused: list[str]) -> None:
    new = made("shopify_webhook", TWO_TOPICS, identity="event_id")
    source = stored("shopify_webhook", expects=new.expects, identity=new.identity)

    try:
        source_changes(validated(SourcePatch, patch), source, OWN)
        found = []
    except ValidationFailed as refusal:
        found = [f"{error.pointer} {error.code}" for error in refusal.errors]

    assert found == refused
