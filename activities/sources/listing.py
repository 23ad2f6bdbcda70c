"""The activity that lists a source: it takes a slot, reads the key, and lists one part.

Temporal runs it again when its worker is gone; it goes on after the last stored page. Built by
`worker.build`, called from `workflows.source_listing`.
"""

import asyncio
import math
from contextlib import AbstractContextManager
from urllib.parse import urlsplit

import structlog
from temporalio import activity

from activities.messages import ListingPart, ListSource
from activities.slots import CallbackSlots, SlotLimits, SlotsExhausted
from activities.sources.part import PartRun
from activities.sources.provider_client import ListingPace, ProviderClient
from domain.errors import NotFound
from domain.ids import SourceId
from domain.sources.source import Source, SourceProblem
from egress.provider_api import ProviderUrls
from store.crypto.encryption import SealBroken, Sealer
from store.db.database import Database
from store.sources.health import record_problem
from store.sources.listings import Listing, begin_listing
from store.sources.sources import read_secret

HEARTBEAT_SECONDS = 2.0
# A project whose provider hangs leaves slots for others.
LISTING_LIMITS = SlotLimits(total=16, per_project=4, per_host=16)
SECRET_UNREADABLE = "The key cannot be decrypted with this installation's secret key."  # noqa: S105

log = structlog.get_logger(__name__)


class SourceActivities:
    """The activity that lists sources. One instance serves the whole process."""

    def __init__(
        self,
        database: Database,
        *,
        sealer: Sealer,
        client: ProviderClient,
        urls: ProviderUrls,
        slots: CallbackSlots,
        pace: ListingPace,
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._client = client
        self._urls = urls
        self._slots = slots
        self._pace = pace

    @activity.defn(name="list_source")
    async def list_source(self, order: ListSource) -> ListingPart:
        """List the next part of the source: about a minute of pages.

        Nothing is listed of a source that is paused or removed, or without a free slot. What goes
        wrong at the provider is the source's problem, never a failure of the activity.

        Raises:
            Unavailable: the store is unavailable. Temporal runs the activity again.
        """
        heartbeats = asyncio.create_task(_heartbeat_loop())
        try:
            return await self._list(order)
        finally:
            heartbeats.cancel()

    async def _list(self, order: ListSource) -> ListingPart:
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            listing = await begin_listing(session, SourceId(order.source_id), now)
        if listing is None:
            return ListingPart(has_more=False)
        try:
            with self._slot_for(listing.source):
                secret = await self._secret(listing)
                if secret is None:
                    return ListingPart(has_more=False)
                run = PartRun(
                    self._database,
                    self._client,
                    listing=listing,
                    secret=secret,
                    order=order,
                    now=now,
                    pause_seconds=self._pace.pause_seconds,
                )
                return await run.run(seconds=self._pace.part_seconds)
        except SlotsExhausted as full:
            wait = math.ceil(full.seconds)
            return ListingPart(True, wait, order.complaint, circle=order.circle)

    def _slot_for(self, source: Source) -> AbstractContextManager[None]:
        host = urlsplit(self._urls.of_events(source)).hostname or ""
        return self._slots.acquire(source.id, source.project_id, host)

    async def _secret(self, listing: Listing) -> str | None:
        """The source's key; None when it was removed, or cannot be decrypted."""
        source = listing.source
        try:
            async with self._database.reading() as session:
                return await read_secret(session, self._sealer, source)
        except NotFound:
            return None
        except SealBroken:
            log.warning("source_secret_unreadable", source_id=source.id)
            async with self._database.transaction() as session:
                now = await self._database.now(session)
                problem = SourceProblem.SECRET_UNREADABLE
                await record_problem(session, source.id, problem, SECRET_UNREADABLE, now)
            return None


async def _heartbeat_loop() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(HEARTBEAT_SECONDS)
