"""What of bulk repairs, holds and rules is late."""

from datetime import timedelta

from domain.repairing.bulk import Plan
from domain.repairing.rules import RuleSpec
from store.repairing.bulk_repairs import NewBulkRepair, add_bulk_repair
from store.repairing.delays import Delays, read_delays
from store.repairing.rules import replace_rules
from tests.support.given import OPERATOR, Story


async def test_only_what_is_overdue_by_minutes_is_late(story: Story) -> None:
    spec = RuleSpec("again", None, None, None, None, 0, 1, 10, 3)
    await story.hold(until=story.at)
    async with story.database.transaction() as session:
        await replace_rules(session, story.project.id, [spec])
    event_id = await story.receipt()
    await story.result(event_id, "failed")
    member = (await story.incident_id(event_id), event_id)
    new = NewBulkRepair("outage", OPERATOR, Plan(), False, [member])
    async with story.database.transaction() as session:
        await add_bulk_repair(session, story.project.id, new, story.at)

    async with story.database.reading() as session:
        soon = await read_delays(session, story.at + timedelta(minutes=4))
        late = await read_delays(session, story.at + timedelta(minutes=6))

    assert soon == Delays(0, 0, 0)
    # The hold has not been ended: no repair that it holds is late.
    assert late == Delays(bulk_repairs=1, holds=0, incidents=1)
