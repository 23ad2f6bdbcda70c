"""A permanently refused recipient does not affect other recipients, from the workflow to SMTP."""

from typing import Any

from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.projects import ProjectChanges
from store.projects.projects import change_project
from tests.support.given import Story
from tests.workflows.world import World

GONE, OPS, OWNER = "gone@shop.example", "ops@shop.example", "owner@shop.example"


async def test_recipient_refused_for_good_ends_visibly_and_the_others_are_notified(
    makegood: World,
) -> None:
    makegood.post.unknown.add(GONE)
    await notify(makegood, OPS, GONE, OWNER)

    event_id = await opened(makegood)
    await makegood.eventually(lambda: has_ended(makegood, event_id), "the refused alert has ended")
    # the alert and the notice about the refused address, to each of the two
    await makegood.subjects(4)

    assert await alerts_ended(makegood, event_id) == [
        {
            "alert_kind": "incident_opened",
            "destination": GONE,
            "tries": 1,
            "error": "SMTPRecipientsRefused 550",
            "final": True,
            "reason": "refused",
        }
    ]
    assert sorted(mail["To"] for mail in makegood.post.mails) == [OPS, OPS, OWNER, OWNER]
    assert makegood.post.refusals == [GONE]


async def test_refused_alert_is_never_tried_again(makegood: World) -> None:
    makegood.post.unknown.add(GONE)
    await notify(makegood, GONE)
    first = await opened(makegood)
    await makegood.eventually(lambda: has_ended(makegood, first), "the refused alert has ended")

    await makegood.advance(first, days=2)
    second = await opened(makegood)
    await makegood.eventually(lambda: has_ended(makegood, second), "the next incident's has ended")
    await makegood.ran(second, "send_alerts", times=1)

    assert makegood.post.refusals == [GONE] * 2  # once for each incident
    for event_id in (first, second):
        kinds = await makegood.event_types(event_id)
        assert {"ACTIVITY_TASK_FAILED", "ACTIVITY_TASK_TIMED_OUT"}.isdisjoint(kinds)


async def opened(world: World) -> EventId:
    event_id = await world.accept()
    await world.started(event_id)
    await world.expire(event_id)
    await world.reaches(event_id, LifecycleState.OPEN)
    return event_id


async def notify(world: World, *destinations: str) -> None:
    """Set the addresses of the project's alerts."""
    async with world.database.transaction() as session:
        await change_project(
            session, world.project.id, changes=ProjectChanges(alert_emails=destinations)
        )


async def alerts_ended(world: World, event_id: EventId) -> list[dict[str, Any]]:
    """The timeline's entries of alerts that failed or ended."""
    rows = await Story(world.database, world.project).rows("timeline", event_id)
    return [row["fields"] for row in rows if row["kind"] == "alert_failed"]


async def has_ended(world: World, event_id: EventId) -> bool:
    return bool(await alerts_ended(world, event_id))
