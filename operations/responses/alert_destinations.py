"""The JSON of alert destinations and their tests. No field shows a URL or a key."""

from typing import Annotated, Literal, Self

from pydantic import Field

from domain import alerts as values
from domain.alerts import AlertChannel, AlertEvent, DestinationState, events_of
from operations.alerts.destinations import AddedDestination, TriedDestination
from operations.responses.base import At, OrNewer, Response

DestinationIdText = Annotated[str, Field(examples=["dst_019ab01c2d3e7f4a8b5c6d7e8f901234"])]


class DestinationFields(Response):
    """The fields of every alert destination."""

    id: DestinationIdText
    kind: OrNewer[AlertChannel]
    label: str | None
    address: str | None = Field(description="Of `email`. URLs and keys are never shown.")
    events: list[OrNewer[AlertEvent]] | None = Field(description="Null: all.")
    state: DestinationState = Field(
        description="`failing`: an alert never arrived, or none has for 24 hours. It is tried all"
        " the same."
    )
    disabled_at: At | None
    last_sent_at: At | None = Field(description="When an alert was last accepted.")
    last_error: str | None = Field(description="The kind of the last failure.")
    last_error_at: At | None
    failing_since: At | None

    @classmethod
    def from_destination(cls, destination: values.AlertDestination, **fields: object) -> Self:
        return cls.from_value(
            destination,
            kind=destination.channel,
            address=destination.target if destination.channel == AlertChannel.EMAIL else None,
            events=events_of(destination.events),
            **fields,
        )


class AlertDestination(DestinationFields):
    """A place that the project's alerts go to."""

    @classmethod
    def of(cls, destination: values.AlertDestination) -> Self:
        return cls.from_destination(destination)


class AlertDestinationList(Response):
    """All destinations of a project, by kind: at most 20 of each, so there is one page."""

    data: list[AlertDestination]
    has_more: Literal[False]
    next_cursor: None

    @classmethod
    def of(cls, listed: tuple[values.AlertDestination, ...]) -> Self:
        data = [AlertDestination.of(destination) for destination in listed]
        return cls(data=data, has_more=False, next_cursor=None)


class CreatedAlertDestination(DestinationFields):
    """A new destination. `secret` signs what is sent to a webhook; no later response has it."""

    secret: str | None = Field(description="Of `webhook`: `whsec_` and base64. Null for others.")

    @classmethod
    def of(cls, added: AddedDestination) -> Self:
        return cls.from_destination(added.destination, secret=added.secret)


class RemovedAlertDestination(Response):
    """A destination that was removed. Its unsent alerts are not sent."""

    id: DestinationIdText
    removed: Literal[True]

    @classmethod
    def of(cls, destination: values.AlertDestination) -> Self:
        return cls(id=destination.id, removed=True)


class AlertDestinationTest(Response):
    """What the other side answered to a test alert."""

    id: DestinationIdText
    ok: bool
    status: int | None = Field(
        description="Its HTTP status, or the code of the mail server; null without an answer."
    )
    duration_ms: int
    detail: str = Field(description="A sentence for people.")
    excerpt: str = Field(
        description="The beginning of its answer, at most 300 characters, without what is secret."
    )
    state: DestinationState

    @classmethod
    def of(cls, tried: TriedDestination) -> Self:
        answer, destination = tried.answer, tried.destination
        return cls.from_value(answer, id=destination.id, state=destination.state)
