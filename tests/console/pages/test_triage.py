"""The forms of people who look after an incident, and what its page says of it."""

import html
from datetime import timedelta

import pytest
from sqlalchemy import text

from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject
from domain.receipts import EventType
from store.receipts.operator_actions import acknowledge
from tests.console.conftest import EMAIL, Visitor
from tests.support.given import Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def shown(operator: Visitor, event_id: str) -> str:
    """The event's page, as a person reads it."""
    return html.unescape((await operator.open(f"/events/{event_id}")).text)


async def incident(story: Story, event_id: str) -> dict[str, object]:
    (row,) = await story.rows("incidents", event_id)  # type: ignore[arg-type]
    return row


async def test_acknowledgement_has_a_name_and_an_end_and_is_taken_back(
    member: Visitor, story: Story
) -> None:
    event_id, incident_id = await story.opened()
    page = f"/events/{event_id}"

    await member.post(f"/incidents/{incident_id}/acknowledge", page=page)
    acknowledged = await shown(member, event_id)
    listed = (await member.open("/incidents?view=flat")).text
    await member.post(f"/incidents/{incident_id}/unacknowledge", page=page)
    taken_back = await shown(member, event_id)

    assert "Acknowledged by you <time" in acknowledged
    assert "</time>, until <time" in acknowledged
    assert f"Acknowledged by {EMAIL}" in listed
    assert "Acknowledged by" not in taken_back
    assert "Acknowledgement removed" in taken_back


async def test_others_are_named_by_address_and_keys_by_label(
    operator: Visitor, story: Story, project: CreatedProject
) -> None:
    event_id, incident_id = await story.opened()
    await story.do(acknowledge, incident_id, requested_by=project.key.id)

    page = await shown(operator, event_id)

    assert f"Acknowledged by {project.key.label}" in page
    assert f"By the key {project.key.label}." in page
    assert "key_" not in page.replace("effect_key", "")


async def test_incident_is_assigned_and_the_assignee_removed(member: Visitor, story: Story) -> None:
    event_id, incident_id = await story.opened()
    page, form = f"/events/{event_id}", f"/incidents/{incident_id}/assign"

    await member.post(form, page=page, assignee=EMAIL)
    assigned = await shown(member, event_id)
    await member.post(form, page=page, assignee="")
    removed = await shown(member, event_id)
    await member.post(form, page=page, assignee="stranger@shop.example")
    refused = await shown(member, event_id)

    assert f"<option selected>{EMAIL}</option>" in assigned
    assert "Assigned to you" in assigned
    assert "Assignee removed" in removed
    assert "Must be the e-mail address of a member of the project." in refused


async def test_comment_keeps_its_lines_and_is_escaped(operator: Visitor, story: Story) -> None:
    event_id, incident_id = await story.opened()
    page, form = f"/events/{event_id}", f"/incidents/{incident_id}/comments"

    await operator.post(form, page=page, text="Asked <Ada>.\r\nShe refunds.")
    await operator.post(form, page=page, text="   ")

    raw = (await operator.open(page)).text
    assert "Comment by you" in raw
    assert "Asked &lt;Ada&gt;.\nShe refunds." in raw
    assert "Must not be empty." in raw


@pytest.mark.parametrize(
    ("typed", "accepted"),
    [
        ({"minutes": "60"}, True),
        ({"at": "2126-11-23T18:00"}, False),
        ({"at": "2026-01-01T18:00"}, False),
        ({"at": "tomorrow"}, False),
        ({"minutes": "9" * 400}, False),
        ({}, False),
    ],
    ids=str,
)
async def test_snooze_takes_a_time_of_the_next_30_days(
    operator: Visitor, story: Story, typed: dict[str, str], accepted: bool
) -> None:
    event_id, incident_id = await story.opened()

    answer = await operator.post(
        f"/incidents/{incident_id}/snooze", page=f"/events/{event_id}", **typed
    )

    assert answer.status_code == 303
    page = await shown(operator, event_id)
    assert ("Snoozed until" in page) is accepted
    assert ((await incident(story, event_id))["snoozed_until"] is not None) is accepted


async def test_closed_incident_is_reopened_with_a_reason(operator: Visitor, story: Story) -> None:
    event_id, _ = await story.reach(LifecycleState.CLOSED)
    form = f"/incidents/{await story.incident_id(event_id)}/reopen"

    await operator.post(form, page=f"/events/{event_id}", reason="not refunded")

    page = await shown(operator, event_id)
    assert "Reopened by you: “not refunded”" in page
    assert "Reprocess…" in page
    recovered, _ = await story.reach(LifecycleState.RECOVERED)
    assert "Reopen…" not in await shown(operator, recovered)


async def test_deadline_of_a_waiting_receipt_is_moved(operator: Visitor, story: Story) -> None:
    async with story.database.reading() as session:
        story.at = await story.database.now(session)
    event_id = await story.receipt()

    await operator.post(f"/events/{event_id}/deadline", page=f"/events/{event_id}", minutes="240")

    moved = (await story.snapshot(event_id)).deadline_at - story.at
    assert abs(moved - timedelta(hours=4)) < timedelta(minutes=1)
    assert "Deadline moved" in await shown(operator, event_id)


async def test_reprocess_says_what_is_called_for_whom(operator: Visitor, story: Story) -> None:
    event_id, _ = await story.opened(
        internal_reference="order-7", customer_reference="ada", amount=1_250, currency="EUR"
    )

    page = await shown(operator, event_id)

    form = page.split("Reprocess…")[1].split("</form>")[0]
    assert f"POST to <code>{story.project.repair_url}</code>, signed." in form
    assert "Up to 5 attempts over 7 h 11 min, in the test project" in form
    assert "order-7</strong>, customer ada, EUR 12.50: access unlock." in form.replace("\xa0", " ")


@pytest.mark.parametrize("gone", [True, False])
async def test_without_a_repair_url_a_link_to_the_settings_is_in_its_place(
    operator: Visitor, story: Story, gone: bool
) -> None:
    event_id, incident_id = await story.opened()
    change = "repair_url_gone = 1" if gone else "repair_url = NULL"
    async with story.database.transaction() as session:
        await session.execute(text(f"UPDATE projects SET {change}"))

    page = await shown(operator, event_id)

    assert f"/incidents/{incident_id}/reprocess" not in page
    assert f'href="/projects/{story.project.id}#settings-title"' in page


async def test_doubtful_repair_is_warned_of_and_needs_a_second_confirmation(
    operator: Visitor, story: Story
) -> None:
    event_id, incident_id = await story.opened(internal_reference="order-7")
    later = await story.receipt(internal_reference="order-7", event_type=EventType.CHARGE_REFUNDED)
    page, form = f"/events/{event_id}", f"/incidents/{incident_id}/reprocess"

    warned = await shown(operator, event_id)
    await operator.post(form, page=page)
    refused, repairs = await shown(operator, event_id), await story.rows("repairs", event_id)
    await operator.post(form, page=page, confirm="on")

    assert f'href="/events/{later}"><code>charge.refunded</code>' in warned
    assert 'name="confirm" required' in warned
    assert "makes a repair doubtful: check it, and confirm the repair" in refused
    assert repairs == []
    assert len(await story.rows("repairs", event_id)) == 1
