"""Which sources saw an event at the provider, and when. Reads only."""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId
from domain.sources.events import SeenBy
from store.schema.mappers import seen_by_from
from store.schema.tables import SOURCE_EVENTS, SOURCES

SHOWN_AT_MOST = 100


async def seen_by(session: AsyncSession, event_id: EventId) -> tuple[SeenBy, ...]:
    """The first 100 sources that saw the event, removed ones too, the first one first.

    By the index `source_events_by_event`. What a source saw is kept for 40 days.
    """
    of = SOURCE_EVENTS.c
    saw: Select[Any] = (
        select(of.source_id, SOURCES.c.name, SOURCES.c.kind, of.occurred_at, of.seen_at)
        .join(SOURCES, SOURCES.c.id == of.source_id)
        .where(of.event_id == event_id)
        .order_by(of.event_id, of.id)
        .limit(SHOWN_AT_MOST)
    )
    return tuple(seen_by_from(row) for row in await session.execute(saw))
