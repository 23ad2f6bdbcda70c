"""Projects take turns at the mail server:

one with thousands of failing alerts keeps nobody else's waiting.
"""

import time
from datetime import timedelta

from sqlalchemy import text

from domain.projects import Scope
from store.alerts.claims import WITHOUT_BOUND, Places, claim_alerts
from store.crypto.encryption import Sealer
from store.projects.projects import create_project
from tests.support.given import Story

_MANY = """
INSERT INTO alerts (project_id, incident_id, event_id, kind, replay_id, destination, created_at,
  due_at, tries, failing_since)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
SELECT :project_id, 'inc_' || i, 'evt_' || i, 'incident_opened', '', :destination, 0, :due_at,
  :tries, 0 FROM n"""


async def pile_up(story: Story, count: int, *, tries: int, to: str = "bad@shop.example") -> None:
    """So many alerts of the project that are due, and long have been."""
    async with story.database.transaction() as session:
        values = {
            "project_id": story.project.id,
            "count": count,
            "due_at": 0,
            "tries": tries,
            "destination": to,
        }
        await session.execute(text(_MANY), values)


async def other_project(story: Story, sealer: Sealer, name: str = "other") -> Story:
    async with story.database.transaction() as session:
        created = await create_project(
            session,
            sealer,
            name=name,
            livemode=False,
            alert_emails=("ops@other.example",),
            scopes=frozenset(Scope),
            now=story.at,
        )
    other = Story(story.database, created.project)
    other.at = story.at
    return other


async def claimed(
    story: Story, *, limit: int = 8, places: Places = WITHOUT_BOUND, **later: float
) -> list[str]:
    async with story.database.transaction() as session:
        now = story.at + timedelta(days=1, **later)
        return [
            alert.destination
            for alert in await claim_alerts(session, now, limit=limit, places=places)
        ]


async def test_ten_thousand_failing_alerts_keep_no_other_projects_waiting(
    story: Story, sealer: Sealer
) -> None:
    await pile_up(story, 10_000, tries=3)
    other = await other_project(story, sealer)
    await other.opened()
    began = time.monotonic()

    destinations = await claimed(other)

    assert sorted(destinations) == ["bad@shop.example"] * 7 + ["ops@other.example"]
    assert time.monotonic() - began < 2


async def test_ten_thousand_new_alerts_keep_no_other_projects_waiting(
    story: Story, sealer: Sealer
) -> None:
    await pile_up(story, 10_000, tries=0)
    other = await other_project(story, sealer)
    for _ in range(2):
        await other.opened()

    assert (await claimed(other)).count("ops@other.example") == 2


async def test_failing_alerts_keep_their_projects_new_ones_waiting_no_longer(story: Story) -> None:
    await pile_up(story, 1_000, tries=3)
    await story.opened()

    assert "ops@shop.example" in await claimed(story)


async def test_new_alerts_leave_a_share_to_alerts_that_failed_before(
    story: Story, sealer: Sealer
) -> None:
    await pile_up(story, 1_000, tries=0)
    other = await other_project(story, sealer)
    await pile_up(other, 10, tries=1, to="bad@other.example")

    async with story.database.transaction() as session:
        tries = [alert.tries for alert in await claim_alerts(session, story.at, limit=8)]

    assert sorted(tries) == [0] * 6 + [1] * 2


async def test_each_project_has_its_turn_when_there_are_more_projects_than_slots(
    story: Story, sealer: Sealer
) -> None:
    for number in range(12):
        one = await other_project(story, sealer, f"other {number}")
        await pile_up(one, 100, tries=0, to=f"bad{number}@shop.example")
    seen: set[str] = set()

    for _ in range(40):
        seen |= set(await claimed(story, limit=4))

    assert seen == {f"bad{number}@shop.example" for number in range(12)}


async def test_claims_read_their_own_lane_by_its_index(story: Story) -> None:
    if story.database.dialect != "sqlite":
        return  # PostgreSQL chooses by size: with few rows it reads the table.
    plans = []
    async with story.database.reading() as session:
        for tries, index in (("= 0", "alerts_fresh"), ("> 0", "alerts_retried")):
            query = (
                "EXPLAIN QUERY PLAN SELECT id FROM alerts WHERE project_id = 'x' AND sent_at IS"
                f" NULL AND ended_at IS NULL AND tries {tries} AND due_at <= 5 ORDER BY due_at, id"
                " LIMIT 8"
            )
            plans.append((index, [row.detail for row in await session.execute(text(query))]))

    assert all(index in plan[0] and "TEMP B-TREE" not in "".join(plan) for index, plan in plans), (
        plans
    )


async def test_silent_addresses_of_many_projects_that_have_their_place_are_not_drawn(
    story: Story, sealer: Sealer
) -> None:
    silent, taken = {}, {}
    for number in range(12):
        one = await other_project(story, sealer, f"other {number}")
        await pile_up(one, 5, tries=0, to=f"silent@{number}.example")
        silent[str(one.project.id)], taken[str(one.project.id)] = (
            frozenset({f"silent@{number}.example"}),
            1,
        )
    await story.opened()
    places = Places(taken=taken, of_each=4, silent=silent, silent_taken=frozenset(silent))

    assert await claimed(story, limit=2, places=places) == ["ops@shop.example"]


async def test_one_alert_of_silent_addresses_is_claimed_beside_the_others(story: Story) -> None:
    await pile_up(story, 10, tries=0, to="a@silent.example")
    await pile_up(story, 10, tries=2, to="b@silent.example")
    await pile_up(story, 10, tries=0, to="fine@shop.example")
    silent = {str(story.project.id): frozenset({"a@silent.example", "b@silent.example"})}

    found = await claimed(story, places=Places(of_each=4, silent=silent))

    assert len(found) == 4
    assert found.count("fine@shop.example") == 3


async def test_silent_addresses_of_all_projects_have_half_of_the_places(
    story: Story, sealer: Sealer
) -> None:
    silent = {}
    for number in range(12):
        one = await other_project(story, sealer, f"other {number}")
        await pile_up(one, 5, tries=0, to=f"silent@{number}.example")
        silent[str(one.project.id)] = frozenset({f"silent@{number}.example"})
    first = await claimed(story, places=Places(of_each=4, silent=silent))
    taken = list(silent)[:4]
    await story.opened()

    full = Places(
        taken=dict.fromkeys(taken, 1), of_each=4, silent=silent, silent_taken=frozenset(taken)
    )
    assert len(first) == 4
    assert await claimed(story, limit=4, places=full) == ["ops@shop.example"]
