"""Pages of events that a source saw, and of results that came before their receipt."""

from domain.lifecycle import LifecycleState
from store.receipts.early_results.hold import hold_result
from tests.console.conftest import Visitor
from tests.support.given import Story, let_results_come_early, new_result


async def test_expected_receipt_says_what_it_waits_for(operator: Visitor, story: Story) -> None:
    event_id = await story.expected()

    page = (await operator.open(f"/events/{event_id}")).text
    tab = (await operator.open("/events?state=expected")).text

    assert "Waiting for the receipt" in page
    assert "No receipt yet" in page
    assert "src_stripe" in page
    assert "A source saw the event at the provider." in page
    assert f'id="row-{event_id}"' in tab
    assert "Expire now" not in page


async def test_missing_receipt_is_named_on_its_pages(operator: Visitor, story: Story) -> None:
    event_id = await story.reach_unreceipted(LifecycleState.OPEN)

    event = (await operator.open(f"/events/{event_id}")).text
    incidents = (await operator.open("/incidents")).text

    assert "the app sent no receipt of it in time" in event
    assert "No receipt of an event at the provider" in incidents


async def test_tab_without_expected_receipts_explains_them(operator: Visitor, story: Story) -> None:
    await story.receipt()

    page = (await operator.open("/events?state=expected")).text

    assert "No expected receipts" in page


async def test_project_shows_results_without_a_receipt(operator: Visitor, story: Story) -> None:
    path = f"/projects/{story.project.id}"
    before = (await operator.open(path)).text
    async with story.database.reading() as session:
        story.at = await story.database.now(session)
    named = {"provider_event_id": "evt_<early>", "error_code": "no_seat"}
    await story.do(let_results_come_early, story.project.id)
    await story.do(hold_result, new_result(story.project.id, None, "failed", **named))

    after = (await operator.open(path)).text

    assert "Early results" not in before
    assert "Early results" in after
    assert "evt_&lt;early&gt;" in after
    assert "no_seat" in after
