"""Which receipt a result names: one id, or several that must name one event."""

import pytest

from domain.errors import NotFound, ValidationFailed
from domain.ids import ProjectId
from domain.receipts import EffectType, EventType, Provider
from store.db.sql import SessionStatements
from store.receipts.matching import match_event
from tests.support.given import Story, new_result

SHOPIFY = {
    "provider": Provider.SHOPIFY,
    "stripe_event_id": None,
    "event_type": EventType.ORDERS_PAID,
    "shopify_shop_domain": "a.myshopify.com",
}


async def matched(story: Story, project_id: ProjectId | None = None, **named: object) -> str:
    async with story.database.reading() as session:
        return await match_event(
            SessionStatements(session), new_result(project_id or story.project.id, **named)
        )


@pytest.mark.parametrize(
    "names",
    [
        ("event_id",),
        ("provider_event_id",),
        ("stripe_event_id",),
        ("event_id", "provider_event_id"),
        ("event_id", "stripe_event_id"),
        ("provider_event_id", "stripe_event_id"),
        ("event_id", "provider_event_id", "stripe_event_id"),
    ],
    ids=" and ".join,
)
async def test_any_id_or_several_that_agree_name_the_receipt(
    story: Story, names: tuple[str, ...]
) -> None:
    event_id = await story.receipt(provider_event_id="evt_1", stripe_event_id="evt_1")
    await story.receipt()
    ids = {"event_id": event_id, "provider_event_id": "evt_1", "stripe_event_id": "evt_1"}

    assert await matched(story, **{name: ids[name] for name in names}) == event_id


@pytest.mark.parametrize(
    "names",
    [
        {"provider_event_id": "evt_2"},
        {"stripe_event_id": "evt_2"},
        {"provider_event_id": "evt_1", "stripe_event_id": "evt_2"},
        {"provider_event_id": "evt_2", "stripe_event_id": "evt_1"},
    ],
    ids=str,
)
async def test_ids_that_name_different_events_are_invalid(
    story: Story, names: dict[str, str]
) -> None:
    event_id = await story.receipt(provider_event_id="evt_1", stripe_event_id="evt_1")
    await story.receipt(provider_event_id="evt_2", stripe_event_id="evt_2")

    with pytest.raises(ValidationFailed) as refused:
        await matched(story, event_id=event_id, **names)

    assert {error.pointer for error in refused.value.errors} <= {
        "/provider_event_id",
        "/stripe_event_id",
    }


async def test_two_provider_ids_that_differ_are_invalid_without_an_event_id(story: Story) -> None:
    await story.receipt(provider_event_id="evt_1", stripe_event_id="evt_1")
    await story.receipt(provider_event_id="evt_2", stripe_event_id="evt_2")

    with pytest.raises(ValidationFailed):
        await matched(story, provider_event_id="evt_1", stripe_event_id="evt_2")


async def test_several_effects_of_one_event_need_the_effect_named(story: Story) -> None:
    same = {"provider_event_id": "evt_1", "stripe_event_id": "evt_1"}
    unlock = await story.receipt(**same, effect_type=EffectType.ACCESS_UNLOCK)
    credit = await story.receipt(**same, effect_type=EffectType.CREDIT_GRANT)

    with pytest.raises(ValidationFailed) as refused:
        await matched(story, stripe_event_id="evt_1")

    assert [error.pointer for error in refused.value.errors] == ["/effect_type"]
    assert (
        await matched(story, stripe_event_id="evt_1", effect_type=EffectType.CREDIT_GRANT) == credit
    )
    assert await matched(story, event_id=unlock) == unlock


async def test_stripe_event_id_implies_stripe(story: Story) -> None:
    stripe = await story.receipt(provider_event_id="1", stripe_event_id="1")
    shopify = await story.receipt(provider_event_id="1", **SHOPIFY)

    with pytest.raises(ValidationFailed) as refused:
        await matched(story, provider_event_id="1")

    assert [error.pointer for error in refused.value.errors] == ["/provider"]
    assert await matched(story, stripe_event_id="1") == stripe
    assert await matched(story, provider_event_id="1", provider=Provider.SHOPIFY) == shopify


@pytest.mark.parametrize(
    "named",
    [
        {"event_id": "of any shape"},
        {"provider_event_id": "unknown"},
        {"stripe_event_id": "evt_shop"},
    ],
    ids=str,
)
async def test_unknown_ids_are_not_found(story: Story, named: dict[str, str]) -> None:
    await story.receipt(provider_event_id="evt_shop", **SHOPIFY)

    with pytest.raises(NotFound):
        await matched(story, **named)


async def test_another_projects_receipt_is_not_found(story: Story) -> None:
    event_id = await story.receipt(provider_event_id="evt_1", stripe_event_id="evt_1")

    for named in ({"event_id": event_id}, {"stripe_event_id": "evt_1"}):
        with pytest.raises(NotFound):
            await matched(story, ProjectId("prj_another"), **named)


async def test_unknown_ids_are_not_found_whatever_else_is_wrong(story: Story) -> None:
    same = {"provider_event_id": "evt_1", "stripe_event_id": "evt_1"}
    await story.receipt(**same, effect_type=EffectType.ACCESS_UNLOCK)
    await story.receipt(**same, effect_type=EffectType.CREDIT_GRANT)
    unknown: tuple[dict[str, object], ...] = (
        {"stripe_event_id": "evt_1", "replay_id": "of any shape"},
        {"provider_event_id": "evt_1", "stripe_event_id": "evt_2", "replay_id": "rpl_unknown"},
        {"event_id": "of any shape", "provider_event_id": "evt_1", "stripe_event_id": "evt_2"},
    )

    for named in unknown:
        with pytest.raises(NotFound):
            await matched(story, **named)
