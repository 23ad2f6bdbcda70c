"""The contents of a history as values: requests with what came of them, events, faults, mails and
callbacks. Made by `reading`.

A `Said` is what the client says with one key and one body, however often it had to be sent: it may
hold from the first sending that was not plainly refused, and surely holds once it is acknowledged.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any, TypeAlias

from tests.faults.installation.history import Entry

ACKNOWLEDGED = 202
# Any: JSON of any shape.
Json: TypeAlias = dict[str, Any]
Identity = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `answered_at` and `status` are None when no whole answer came."""

    id: str
    endpoint: str
    key: str | None
    body: Json
    order: str
    sent_at: float
    answered_at: float | None = None
    status: int | None = None
    answer: Json = field(default_factory=dict)

    @property
    def is_acknowledged(self) -> bool:
        return self.status == ACKNOWLEDGED

    @property
    def may_hold(self) -> bool:
        """A 5xx may have been committed before it failed; a 4xx was not."""
        return self.status is None or self.status == ACKNOWLEDGED or self.status >= 500


@dataclass(frozen=True, slots=True)
class Said:
    """The requests with one endpoint, key and body.

    `may_hold_from` is None when each was refused, `acknowledged_at` when none was acknowledged.
    `event_id` is what a result names, None for a receipt or when nothing says.
    """

    endpoint: str
    key: str
    body: Json
    requests: tuple[Request, ...]
    may_hold_from: float | None
    acknowledged_at: float | None
    event_id: str | None = None

    @property
    def answers(self) -> list[Request]:
        return [request for request in self.requests if request.is_acknowledged]

    @property
    def ids(self) -> tuple[str, ...]:
        return (self.key, *(request.id for request in self.requests))


@dataclass(frozen=True, slots=True)
class Incident:
    id: str
    state: str
    reason: str
    opened_at: float
    resolved_at: float | None


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it was observed, with everything that was said about it."""

    id: str
    observed_at: float
    shown: Json
    identity: Identity
    state: str
    timeout_at: float
    deadline_at: float
    incident: Incident | None
    receipts: list[Said] = field(default_factory=list)
    results: list[Said] = field(default_factory=list)
    reprocesses: list[Request] = field(default_factory=list)
    # when somebody typed a `reprocess` into Temporal
    signals: list[float] = field(default_factory=list)

    @property
    def repairs(self) -> list[Json]:
        return list(self.shown["repairs"])

    def timeline(self, kind: str) -> list[Json]:
        return [entry for entry in self.shown["timeline"] if entry["kind"] == kind]

    def said(self, status: str) -> list[Said]:
        """The results of this status that may hold."""
        return [
            said
            for said in self.results
            if said.body["status"] == status and said.may_hold_from is not None
        ]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something broken on purpose; one that was never healed ends with the history."""

    id: str
    kind: str
    target: str
    began_at: float
    ended_at: float

    def overlaps(self, start: float, end: float) -> bool:
        return self.began_at <= end and self.ended_at >= start

    def matches(self, patterns: Iterable[str]) -> bool:
        return any(fnmatch(f"{self.kind}:{self.target}", pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it came.

    `kind`, `incident_id` and `event_id` are None when its words do not say.
    """

    at: float
    message_id: str
    to: str
    subject: str
    kind: str | None
    incident_id: str | None
    event_id: str | None
    replay_id: str | None


@dataclass(frozen=True, slots=True)
class Callback:
    """A call of the repair endpoint.

    `said` is the JSON of its body, empty when the body is not JSON. `number` is 0 without a header.
    """

    at: float
    headers: dict[str, str]
    body: str
    said: Json
    replay_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """Everything of a history, found by its ids.

    `observed` holds each observation, `events` the last of each event.
    """

    requests: tuple[Request, ...]
    receipts: tuple[Said, ...]
    results: tuple[Said, ...]
    reprocesses: tuple[Request, ...]
    events: dict[str, Event]
    by_incident: dict[str, Event]
    faults: tuple[Fault, ...]
    mails: tuple[Mail, ...]
    callbacks: tuple[Callback, ...]
    settled: tuple[Entry, ...]

    def is_disturbed(self, start: float, end: float, patterns: Iterable[str] = ("*",)) -> bool:
        patterns = tuple(patterns)
        return any(fault.overlaps(start, end) and fault.matches(patterns) for fault in self.faults)

    def healed_at(self, start: float, end: float, *, apart_seconds: float) -> float:
        """When the last fault that overlaps the time was healed, or one that began within
        `apart_seconds` of a heal before it.
        """
        healed = max(
            (fault.ended_at for fault in self.faults if fault.overlaps(start, end)), default=start
        )
        for fault in self.faults:  # in the order of their beginning
            if start <= fault.began_at <= healed + apart_seconds:
                healed = max(healed, fault.ended_at)
        return healed
