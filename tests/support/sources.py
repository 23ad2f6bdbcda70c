"""Sources and the events that they see, as valid values: a test changes what it is about."""

import itertools
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert

from domain.ids import ProjectId
from domain.sources.changes import NewSource
from domain.sources.events import ProviderEvent, sightings_of
from domain.sources.source import Expects, Source, SourceKind
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.schema.tables import SOURCE_GAPS
from store.sources.sightings import record_sightings
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


async def watched(database: Database, sealer: Sealer, project_id: ProjectId) -> Source:
    """A source with an event that it saw, and a gap."""
    source = await stored_source(database, sealer, project_id, silent_after_minutes=60)
    async with database.transaction() as session:
        st = SessionStatements(session)
        await record_sightings(st, source, sightings_of(source, [provider_event()]), START)
    await add_gap(database, source, START - timedelta(days=2), START - timedelta(days=1))
    return source


async def add_gap(
    database: Database, source: Source, from_at: datetime, until_at: datetime
) -> None:
    """A span that the source could not list, found now."""
    of = {"source_id": source.id, "project_id": source.project_id, "found_at": START}
    async with database.transaction() as session:
        await session.execute(
            insert(SOURCE_GAPS).values(of | {"from_at": from_at, "until_at": until_at})
        )
