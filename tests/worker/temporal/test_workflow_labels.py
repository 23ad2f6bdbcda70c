"""A run is labelled with ids and names; amounts and customers never go to Temporal."""

from datetime import UTC, datetime

from domain.ids import EventId, ProjectId
from domain.receipts import Receipt, ReceiptState
from worker.temporal.search_attributes import ALL, Registered
from worker.temporal.workflow_labels import Labels, start_labelled
from workflows.search_attributes import MG_EFFECT, MG_EVENT_TYPE, MG_PROVIDER

AT = datetime(2026, 11, 23, tzinfo=UTC)
RECEIPT = Receipt(
    event_id=EventId("evt_1"),
    project_id=ProjectId("prj_1"),
    livemode=False,
    state=ReceiptState.WAITING,
    provider="paddle",
    provider_event_id="pad_1",
    stripe_event_id=None,
    event_type="any.thing",
    effect_type="license_issue",
    internal_reference="order 1",
    shopify_shop_domain=None,
    occurred_at=AT,
    accepted_at=AT,
    timeout_at=AT,
    deadline_at=AT,
    flags=(),
    request_id="req_1",
    expected_at=None,
    source_id=None,
    listed_at=AT,
    amount=123_457,
    currency="CHF",
    customer_reference="customer of Ada",
)


async def labels_of(receipt: Receipt) -> Labels:
    started: list[Labels] = []

    async def start(labels: Labels, _: Registered) -> None:
        started.append(labels)

    await start_labelled(start, receipt, ALL, public_url="http://makegood.example")
    (labels,) = started
    return labels


async def test_own_names_are_search_attributes() -> None:
    attributes = (await labels_of(RECEIPT))["search_attributes"]

    keys = (MG_PROVIDER, MG_EVENT_TYPE, MG_EFFECT)
    assert [attributes[key] for key in keys] == ["paddle", "any.thing", "license_issue"]


async def test_amount_and_customer_are_in_no_label() -> None:
    labels = repr(await labels_of(RECEIPT))

    assert "prj_1" in labels
    assert [text for text in ("123457", "CHF", "Ada") if text in labels] == []
