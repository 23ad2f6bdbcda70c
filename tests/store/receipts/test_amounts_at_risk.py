"""Sums of amounts at risk: for each currency, of the unresolved incidents of a project."""

from datetime import timedelta

from domain.ids import ProjectId
from store.receipts.queries import counts
from tests.support.given import Story


async def at_risk(story: Story, project_id: str | None = None) -> tuple[tuple[str, int], ...]:
    async with story.database.reading() as session:
        counted = await counts(session, ProjectId(project_id or story.project.id), story.at)
    return counted.at_risk


async def test_currencies_are_never_added(story: Story) -> None:
    for amount, currency in ((5, "EUR"), (7, "USD"), (11, "EUR"), (13, "JPY"), (None, None)):
        await story.opened(amount=amount, currency=currency)
    await story.receipt(amount=17, currency="EUR")

    assert await at_risk(story) == (("EUR", 16), ("JPY", 13), ("USD", 7))
    assert await at_risk(story, "prj_other") == ()


async def test_resolved_incidents_are_not_at_risk(story: Story) -> None:
    event_id, _ = await story.opened(amount=5, currency="EUR")
    await story.opened(amount=7, currency="EUR")
    story.at += timedelta(minutes=1)
    await story.result(event_id)

    assert await at_risk(story) == (("EUR", 7),)


async def test_sum_may_be_more_than_64_bits_hold(story: Story) -> None:
    for event_id in await story.receipts(10, amount=10**18 + 1, currency="EUR"):
        await story.result(event_id, "failed")

    assert await at_risk(story) == (("EUR", 10**19 + 10),)
