"""An event that a source saw and its receipt: one receipt and one workflow, in either order."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.receipts import EffectType, EventType, ReceiptState
from store.receipts.deadlines import NotYet, Opened, open_incident
from store.receipts.expected import SEEN
from store.receipts.outbox import claim
from store.receipts.queries import EventFull, read_event
from store.receipts.results import apply_result
from store.receipts.timeline import EXPECTED
from store.schema import tables
from tests.support.given import START, Story, expected_receipt, new_result

OPS = "ops@shop.example"


async def read(story: Story, event_id: EventId) -> EventFull:
    async with story.database.reading() as session:
        event = await read_event(session, story.project.id, event_id)
    assert event is not None
    return event


async def test_expected_event_is_a_receipt_with_one_workflow(story: Story) -> None:
    event = expected_receipt(story.project.id)

    (first,) = await story.expect(event)
    story.later(minutes=1)
    (again,) = await story.expect(event)

    assert again == first
    assert await story.outbox(first) == [("start", {})]
    receipt = (await read(story, first)).receipt
    assert receipt.state is ReceiptState.EXPECTED
    assert (receipt.accepted_at, receipt.expected_at) == (None, START)
    assert receipt.deadline_at == receipt.timeout_at == START + timedelta(minutes=15)
    assert receipt.source_id == "src_stripe"


async def test_event_given_twice_at_once_is_one_receipt(story: Story) -> None:
    event = expected_receipt(story.project.id)
    other = expected_receipt(story.project.id)

    found = await story.expect(event, other, replace(event, source_id="src_second"))

    assert found[0] == found[2] != found[1]
    for event_id in found:
        assert await story.outbox(event_id) == [("start", {})]
    assert (await read(story, found[0])).receipt.source_id == "src_stripe"


async def test_two_effects_of_one_event_are_two_receipts(story: Story) -> None:
    event = expected_receipt(story.project.id)

    found = await story.expect(event, replace(event, effect_type=EffectType.CREDIT_GRANT))

    assert found[0] != found[1]


async def test_nothing_is_expected_of_no_events(story: Story) -> None:
    assert await story.expect() == []


async def test_receipt_of_an_expected_event_waits_with_its_own_facts(story: Story) -> None:
    event_id = await story.expected()
    story.later(minutes=10)

    await story.accept(
        event_id,
        event_type=EventType.CHARGE_REFUNDED,
        internal_reference="order of the app",
        timeout_minutes=45.0,
    )

    event = await read(story, event_id)
    receipt = event.receipt
    assert receipt.state is ReceiptState.WAITING
    assert (receipt.accepted_at, receipt.expected_at) == (story.at, START)
    assert receipt.deadline_at == receipt.timeout_at == story.at + timedelta(minutes=45)
    assert receipt.event_type is EventType.CHARGE_REFUNDED
    assert receipt.internal_reference == "order of the app"
    assert [entry.kind for entry in event.timeline] == ["noted", "receipt_accepted"]
    assert event.timeline[0].fields == {"text": EXPECTED, "source_id": "src_stripe"}
    assert event.timeline[1].fields["timeout_at"] == receipt.timeout_at


async def test_receipt_of_an_expected_event_counts_once(story: Story) -> None:
    event_id = await story.expected()
    await story.accept(event_id, internal_reference="first")
    story.later(minutes=1)

    await story.accept(event_id, internal_reference="second")

    receipt = (await read(story, event_id)).receipt
    assert (receipt.internal_reference, receipt.accepted_at) == ("first", START)


async def test_run_reads_the_deadline_of_the_receipt(story: Story) -> None:
    event_id = await story.expected()
    async with story.database.transaction() as session:
        await claim(session, story.at, limit=10)

    await story.accept(event_id)

    assert [kind for kind, _ in await story.outbox(event_id)] == ["start", "accepted"]


async def test_run_that_has_not_begun_needs_no_signal(story: Story) -> None:
    event_id = await story.expected()

    await story.accept(event_id)

    assert await story.outbox(event_id) == [("start", {})]


async def test_missing_receipt_opens_an_incident_at_the_deadline_not_before(story: Story) -> None:
    event_id = await story.expected(within_minutes=10.0)
    story.later(minutes=9, seconds=59)
    assert await story.do(open_incident, event_id) == NotYet(1_000)
    story.later(seconds=1)

    opened = await story.do(open_incident, event_id)

    assert isinstance(opened, Opened)
    (incident,) = await story.rows("incidents", event_id)
    assert (incident["state"], incident["reason"]) == ("open", "missing_receipt")
    assert await story.timeline(event_id) == ["deadline_passed", "incident_opened"]
    assert await story.alerts(event_id) == [("incident_opened", "", OPS)]


@pytest.mark.parametrize("status", ["success", "failed"])
async def test_result_without_a_receipt_applies_to_the_expected_event(
    story: Story, status: str
) -> None:
    event_id = await story.expected()
    receipt = (await read(story, event_id)).receipt

    applied = await story.do(
        apply_result,
        new_result(story.project.id, None, status, provider_event_id=receipt.provider_event_id),
    )

    state = {"success": "applied", "failed": "incident"}[status]
    assert (applied.event_id, applied.state) == (event_id, state)
    reasons = [row["reason"] for row in await story.rows("incidents", event_id)]
    assert reasons == {"success": [], "failed": ["failed_result"]}[status]


@pytest.mark.parametrize(
    "state", [state for state in LifecycleState if state is not LifecycleState.WAITING]
)
async def test_receipt_after_the_incident_or_the_end_is_noted(
    story: Story, state: LifecycleState
) -> None:
    event_id = await story.reach_unreceipted(state)
    before = await read(story, event_id)
    story.later(minutes=1)

    await story.accept(event_id, event_type=EventType.CHARGE_REFUNDED)

    after = await read(story, event_id)
    assert (before.receipt.accepted_at, after.receipt.accepted_at) == (None, story.at)
    assert after.receipt.event_type is EventType.CHARGE_REFUNDED
    if state is LifecycleState.EXPECTED:
        assert after.receipt.state is ReceiptState.WAITING
        return
    assert after.receipt.state is before.receipt.state
    assert after.receipt.deadline_at == before.receipt.deadline_at
    assert [entry.kind for entry in after.timeline[-2:]] == ["receipt_accepted", "noted"]
    for row in await story.rows("incidents", event_id):
        assert row["event_type"] == EventType.CHARGE_REFUNDED


@pytest.mark.parametrize(
    "state", [state for state in LifecycleState if state is not LifecycleState.WAITING]
)
async def test_receipt_of_an_expected_event_states_what_is_at_risk(
    story: Story, state: LifecycleState
) -> None:
    event_id = await story.reach_unreceipted(state)
    risk = {"amount": 120_450, "currency": "EUR", "customer_reference": "customer 7"}

    await story.accept(event_id, **risk)

    incidents = await story.rows("incidents", event_id)
    stored = [*await story.rows("receipts", event_id), *incidents]
    assert [{name: row[name] for name in risk} for row in stored] == [risk] * len(stored)
    assert len(incidents) == (
        0 if state in {LifecycleState.EXPECTED, LifecycleState.APPLIED} else 1
    )


async def test_incident_that_opens_later_has_what_the_receipt_stated(story: Story) -> None:
    event_id = await story.expected()
    await story.accept(event_id, amount=500, currency="JPY", customer_reference="customer 8")

    await story.result(event_id, "failed")

    (incident,) = await story.rows("incidents", event_id)
    stated = (incident["amount"], incident["currency"], incident["customer_reference"])
    assert stated == (500, "JPY", "customer 8")


async def test_amount_at_the_provider_stays_when_the_receipt_states_none(story: Story) -> None:
    event_id = await story.expected(amount=4_900, currency="USD")
    story.later(minutes=15)
    await story.do(open_incident, event_id)

    await story.accept(event_id)

    (incident,) = await story.rows("incidents", event_id)
    (receipt,) = await story.rows("receipts", event_id)
    assert {(row["amount"], row["currency"]) for row in (incident, receipt)} == {(4_900, "USD")}


async def test_effect_of_an_expected_event_was_already_applied(story: Story) -> None:
    event_id = await story.expected()

    applied = await story.result(event_id, already_applied=True)

    assert applied.state is ReceiptState.APPLIED
    assert [row["already_applied"] for row in await story.rows("results", event_id)] == [True]


async def test_incident_of_a_missing_receipt_ends_only_on_a_success(story: Story) -> None:
    event_id = await story.reach_unreceipted(LifecycleState.OPEN)
    await story.accept(event_id)
    assert (await story.snapshot(event_id)).state is LifecycleState.OPEN

    await story.result(event_id)

    assert (await story.snapshot(event_id)).state is LifecycleState.RECOVERED


async def test_event_after_its_receipt_is_noted_once_and_makes_nothing(story: Story) -> None:
    event_id = await story.receipt()
    (stored,) = await story.rows("receipts", event_id)
    names = ("provider_event_id", "internal_reference")
    event = expected_receipt(story.project.id, **{name: stored[name] for name in names})

    found = [await story.expect(replace(event, source_id=f"src_{n}")) for n in range(3)]

    assert found == [[event_id]] * 3
    entries = await story.rows("timeline", event_id)
    assert [row["fields"] for row in entries] == [{"text": SEEN, "source_id": "src_0"}]
    (after,) = await story.rows("receipts", event_id)
    assert after == stored | {"source_id": "src_0"}
    assert await story.outbox(event_id) == []


async def test_outage_of_ingest_extends_the_deadline_of_an_expected_receipt(story: Story) -> None:
    event_id = await story.expected()
    async with story.database.transaction() as session:
        session.add(
            tables.Outage(
                down_from=story.at + timedelta(minutes=1),
                up_at=story.at + timedelta(minutes=6),
                accepted_until=story.at + timedelta(minutes=6),
                cursor="",
            )
        )
    story.later(minutes=15)

    assert await story.do(open_incident, event_id) == NotYet(5 * 60_000)
