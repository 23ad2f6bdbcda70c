"""Sources and the events that they see, as valid values: a test changes what it is about."""

import itertools
from datetime import timedelta
from typing import Any

from domain.ids import ProjectId
from domain.sources.changes import NewSource
from domain.sources.events import ProviderEvent
from domain.sources.source import Expects, Source, SourceKind
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.sources.sources import add_source
from tests.support.given import START

SECRET = "whsec_the-secret-of-the-endpoint"
_numbers = itertools.count(1)

EXPECTS_STRIPE = Expects(
    event_type="invoice.paid",
    effect_type="access_unlock",
    within_minutes=15.0,
    reference=None,
    livemode=False,
)
EXPECTS_SHOPIFY = Expects(
    event_type="orders/paid",
    effect_type="access_unlock",
    within_minutes=15.0,
    reference=None,
    livemode=False,
)


def new_source(kind: SourceKind = SourceKind.STRIPE_WEBHOOK, **changes: Any) -> NewSource:
    """A source that expects one type of event of its provider."""
    is_stripe = kind.provider == "stripe"
    values: dict[str, Any] = {
        "kind": kind,
        "name": "Payments",
        "expects": (EXPECTS_STRIPE if is_stripe else EXPECTS_SHOPIFY,),
        "secret": SECRET,
        "every_minutes": None if kind.is_webhook else 5,
        "shop_domain": None if is_stripe else "shop.myshopify.com",
    }
    return NewSource(**(values | changes))


async def stored_source(
    database: Database,
    sealer: Sealer,
    project_id: ProjectId,
    kind: SourceKind = SourceKind.STRIPE_WEBHOOK,
    **changes: Any,
) -> Source:
    """A source that was added an hour before `START`."""
    async with database.transaction() as session:
        return await add_source(
            session,
            sealer,
            project_id=project_id,
            new=new_source(kind, **changes),
            now=START - timedelta(hours=1),
        )


def provider_event(**changes: Any) -> ProviderEvent:
    """An event of Stripe that no other one names."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "id": f"evt_seen_{number}",
        "type": "invoice.paid",
        "livemode": False,
        "occurred_at": START - timedelta(seconds=5),
        "references": {None: f"in_{number}"},
        "amount": 4_900,
        "currency": "USD",
    }
    return ProviderEvent(**(values | changes))
