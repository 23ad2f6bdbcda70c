"""Sources as tests need them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from domain.ids import ProjectId, SourceId
from domain.sources.source import Expects, ShopifyIdentity, Source, SourceKind

CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def expects(event_type: str, *, reference: str | None = None, livemode: bool = True) -> Expects:
    return Expects(event_type, "access_unlock", 15.0, reference, livemode)


def make_source(*expected: Expects, **changes: Any) -> Source:
    """A source of Stripe's webhooks, unless changed."""
    source = Source(
        id=SourceId("src_1"),
        project_id=ProjectId("prj_1"),
        kind=SourceKind.STRIPE_WEBHOOK,
        name="Stripe",
        expects=expected,
        every_minutes=None,
        silent_after_minutes=None,
        shop_domain=None,
        account=None,
        identity=ShopifyIdentity.OBJECT_ID,
        created_at=CREATED_AT,
        paused_at=None,
        last_event_at=None,
        last_listed_at=None,
        listed_until=None,
        silent_since=None,
        problem=None,
        problem_detail=None,
        problem_since=None,
    )
    return replace(source, **changes)
