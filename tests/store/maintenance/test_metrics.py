"""The metrics of the store are exact up to their limit, and their cost is bounded."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event, text

from domain.lifecycle import LifecycleState
from store.maintenance import metrics as gauges
from tests.support.given import Story

COUNTED = {
    "waiting": 5,
    "attempts": 8,
    "alerts_unsent": 12,
    "outbox_rows": 9,
    "open_incidents": 4,
    "repairing_incidents": 4,
}
# Each ends at a limit, or reads a partial index of what is counted, or a row for each project.
BOUNDED = {
    "SCAN alert_destinations USING INDEX alert_destinations_failing",
    "SCAN alerts USING INDEX alerts_failing",
    "SCAN alerts USING INDEX alerts_fresh",
    "SCAN attempts USING COVERING INDEX attempts_by_event",
    "SCAN outbox",
    "SCAN outbox USING COVERING INDEX outbox_by_turn",
    "SCAN projects USING COVERING INDEX sqlite_autoindex_projects_1",
    "SCAN receipts USING INDEX receipts_due",
    "SCAN s USING COVERING INDEX silences_lasting",
    "SCAN sources USING INDEX sources_unwell",
    "SCAN stuck_runs USING INDEX stuck_runs_found",
}


async def read(story: Story) -> dict[str, float]:
    """Every figure."""
    found: dict[str, float] = {}
    for measure in gauges.MEASURES:
        async with story.database.reading() as session:
            found |= await measure(session, story.at)
    return found


async def filled(story: Story) -> None:
    """Receipts at every stage, with two attempts of a repair for each incident but the resolved
    ones.
    """
    for _ in range(5):
        await story.reach(LifecycleState.WAITING)
    for state in (LifecycleState.OPEN, LifecycleState.AWAITING_RESULT):
        for _ in range(4):
            await story.reach(state)
    await story.reach(LifecycleState.APPLIED)


async def test_metrics_are_exact_below_their_limit(story: Story) -> None:
    await filled(story)

    found = await read(story)

    assert {name: found[name] for name in COUNTED} == COUNTED


async def test_counts_stop_at_their_limit(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "AT_MOST", 3)
    await filled(story)

    found = await read(story)

    assert {name: found[name] for name in COUNTED} == dict.fromkeys(COUNTED, 3)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_metrics_read_only_an_index_of_what_they_count(story: Story) -> None:
    with statements() as sent:
        await read(story)

    plans = []
    async with story.database.reading() as session:
        for statement in sent:
            numbers = {f"p{number}": 1 for number in range(statement.count("?"))}
            for name in numbers:
                statement = statement.replace("?", f":{name}", 1)
            plans += [
                row.detail
                for row in await session.execute(text(f"EXPLAIN QUERY PLAN {statement}"), numbers)
            ]
    scanned = {plan for plan in plans if plan.startswith("SCAN") and "anon" not in plan}
    assert scanned == BOUNDED


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements sent to the database during the block."""
    sent: list[str] = []

    def keep(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            sent.append(statement)

    event.listen(Engine, "before_cursor_execute", keep)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", keep)
