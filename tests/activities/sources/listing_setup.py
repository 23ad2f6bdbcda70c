"""Sources of one store, listed from the provider of the tests, at instants of the test's choice."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from ipaddress import ip_network
from typing import Any

from sqlalchemy import select, text
from temporalio.testing import ActivityEnvironment

from activities.messages import ListingPart, ListSource
from activities.slots import CallbackSlots
from activities.sources.listing import LISTING_LIMITS, SourceActivities
from activities.sources.provider_client import ListingPace, ProviderClient
from activities.sources.transport import get_page
from domain.ids import ProjectId, SourceId
from domain.sources.source import Source, SourceKind
from egress.provider_api import ProviderUrls
from store.crypto.encryption import Sealer
from store.db.database import Clock, Database
from store.schema.tables import RECEIPTS, SOURCE_EVENTS, SOURCE_GAPS
from store.sources.sources import add_source, list_sources, read_source
from tests.support.given import START
from tests.support.provider import SHOP, SHOPIFY_TOKEN, STRIPE_KEY, Provider
from tests.support.sources import new_source

LOOPBACK = (ip_network("127.0.0.0/8"),)
# Real waits, but short ones.
PACE = ListingPace(
    request_seconds=0.0,
    shopify_request_seconds=0.0,
    retry_seconds=(0.01, 0.02, 0.04),
    patience_seconds=2.0,
    pause_seconds=0.001,
)
MOST_PARTS = 100


class FixedClock(Clock):
    """The store's clock stands at an instant of the test's choice."""

    def __init__(self, at: datetime = START) -> None:
        super().__init__()
        self.at = at

    async def now(self, statements: object) -> datetime:
        """That instant."""
        return self.at


class Listings:
    """Lists sources of one project. `at` is the instant of the next step."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        project_id: ProjectId,
        provider: Provider,
        pace: ListingPace = PACE,
    ) -> None:
        self.clock = database.clock = FixedClock()
        self.database = database
        self.provider = provider
        self.project_id = project_id
        self._sealer = sealer
        self.activities = self.build(pace)

    def build(self, pace: ListingPace = PACE) -> SourceActivities:
        """The activities of another process."""
        urls = ProviderUrls(self.provider.url, self.provider.url)
        get = partial(get_page, allow=LOOPBACK)
        return SourceActivities(
            self.database,
            sealer=self._sealer,
            client=ProviderClient(get, urls=urls, pace=pace),
            urls=urls,
            slots=CallbackSlots(LISTING_LIMITS, lambda: 0.0),
            pace=pace,
        )

    def later(self, **span: float) -> None:
        """Let time pass."""
        self.clock.at += timedelta(**span)

    async def source(self, kind: SourceKind = SourceKind.STRIPE_API, **changes: Any) -> Source:
        """A source that is added now."""
        is_stripe = kind is SourceKind.STRIPE_API
        named = {
            "secret": STRIPE_KEY if is_stripe else SHOPIFY_TOKEN,
            "shop_domain": None if is_stripe else SHOP,
        }
        async with self.database.transaction() as session:
            return await add_source(
                session,
                self._sealer,
                project_id=self.project_id,
                new=new_source(kind, **(named | changes)),
                now=self.clock.at,
            )

    async def part(self, source: Source, before: ListingPart | None = None) -> ListingPart:
        """One run of the activity, after the part `before`."""
        order = ListSource(source.id)
        if before is not None:
            order = replace(order, complaint=before.complaint, circle=before.circle)
        part: ListingPart = await ActivityEnvironment().run(self.activities.list_source, order)
        return part

    async def run(self, source: Source) -> ListingPart:
        """What a workflow's run does, without its waits. It must end."""
        part = ListingPart(has_more=True)
        new = pages = 0
        for _ in range(MOST_PARTS):
            part = await self.part(source, part)
            new, pages = new + part.new, pages + part.pages
            if not part.has_more or part.wait_seconds:
                return replace(part, new=new, pages=pages)
        raise AssertionError("the listing does not end")

    async def read(self, source: Source) -> Source:
        async with self.database.reading() as session:
            return await read_source(session, source.project_id, source.id)

    async def all(self) -> list[Source]:
        """Every source of the project."""
        async with self.database.reading() as session:
            return await list_sources(session, self.project_id)

    async def seen(self, source: Source) -> list[str]:
        """The ids of the events that the source saw, sorted."""
        ids = select(SOURCE_EVENTS.c.provider_event_id).where(
            SOURCE_EVENTS.c.source_id == source.id
        )
        async with self.database.reading() as session:
            return sorted(await session.scalars(ids))

    async def expected(self) -> list[str]:
        """The ids of all events whose receipt is expected, sorted."""
        ids = select(RECEIPTS.c.provider_event_id).where(RECEIPTS.c.state == "expected")
        async with self.database.reading() as session:
            return sorted(await session.scalars(ids))

    async def gaps(self, source_id: SourceId) -> Sequence[Any]:
        rows = select(SOURCE_GAPS.c.from_at, SOURCE_GAPS.c.until_at, SOURCE_GAPS.c.found_at)
        async with self.database.reading() as session:
            return (await session.execute(rows.where(SOURCE_GAPS.c.source_id == source_id))).all()

    async def alerts(self) -> list[tuple[str, str]]:
        """(source, episode) of each alert about a source."""
        listed = text("SELECT incident_id, replay_id FROM alerts WHERE kind = 'source_silent'")
        async with self.database.reading() as session:
            return sorted((row[0], row[1]) for row in await session.execute(listed))
