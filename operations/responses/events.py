"""The JSON of events: a receipt with its incident, repairs and timeline."""

from datetime import datetime
from typing import Self

from pydantic import ConfigDict, Field

from domain import incidents
from domain.incidents import TimelineKind
from domain.receipts import EffectType, EventType, Flag, Provider, ReceiptState
from domain.sources.events import SeenBy
from domain.sources.source import SourceKind
from domain.values.timestamps import to_iso
from operations.responses.base import At, EventIdText, OrNewer, Response
from operations.responses.incidents import Incident, Repair
from store.db.paging import Page
from store.receipts.queries import EventFull, EventRow


class EventFields(Response):
    """The fields that an event has in lists and alone."""

    event_id: EventIdText
    state: OrNewer[ReceiptState]
    livemode: bool
    provider: OrNewer[Provider]
    provider_event_id: str
    stripe_event_id: str | None
    event_type: OrNewer[EventType]
    effect_type: OrNewer[EffectType]
    internal_reference: str
    occurred_at: At
    expected_at: At | None
    accepted_at: At | None
    timeout_at: At
    deadline_at: At
    flags: list[OrNewer[Flag]]
    incident: Incident | None

    @classmethod
    def from_event(cls, event: EventRow | EventFull, **fields: object) -> Self:
        incident = None if event.incident is None else Incident.of(event.incident)
        return cls.from_value(event.receipt, incident=incident, **fields)


class Event(EventFields):
    """A receipt and its incident, as in a list."""

    @classmethod
    def of(cls, event: EventRow) -> Self:
        return cls.from_event(event)


class EventList(Response):
    """A page of events, newest first."""

    data: list[Event]
    has_more: bool
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[EventRow]) -> Self:
        return cls.from_value(
            page,
            data=[Event.of(row) for row in page.rows],
            has_more=page.next_cursor is not None,
        )


class TimelineEntry(Response):
    """An entry of an event's history, with additional fields by `kind`."""

    model_config = ConfigDict(extra="allow")

    at: At
    kind: OrNewer[TimelineKind]

    @classmethod
    def of(cls, entry: incidents.TimelineEntry) -> Self:
        """The entry. Its additional fields follow `at` and `kind`, with instants as text."""
        fields = {
            name: to_iso(value) if isinstance(value, datetime) else value
            for name, value in entry.fields.items()
        }
        return cls.from_value(entry, **fields)


class TimelinePage(Response):
    """A page of an event's timeline, newest first."""

    data: list[TimelineEntry]
    has_more: bool
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[incidents.TimelineEntry]) -> Self:
        return cls.from_value(
            page,
            data=[TimelineEntry.of(entry) for entry in page.rows],
            has_more=page.next_cursor is not None,
        )


class SeenBySource(Response):
    """A source that saw the event at the provider."""

    source_id: str
    name: str
    kind: OrNewer[SourceKind]
    occurred_at: At = Field(description="The instant at the provider.")
    seen_at: At

    @classmethod
    def of(cls, seen: SeenBy) -> Self:
        return cls.from_value(seen)


class FullEvent(EventFields):
    """A receipt with its newest 100 repairs and timeline entries, both oldest first.

    `sources` saw the event at the provider, the first one first.
    `GET /events/{event_id}/timeline` has the complete timeline.
    """

    repairs: list[Repair]
    timeline: list[TimelineEntry]
    sources: list[SeenBySource]

    @classmethod
    def of(cls, event: EventFull) -> Self:
        return cls.from_event(
            event,
            repairs=[Repair.of(repair) for repair in event.repairs],
            timeline=[TimelineEntry.of(entry) for entry in event.timeline],
            sources=[SeenBySource.of(seen) for seen in event.sources],
        )
