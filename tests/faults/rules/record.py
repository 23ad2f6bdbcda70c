"""The contents of a run's history as values, for the rules in this folder. `reading` makes them.

1. `Request` is one HTTP request. `Submission` groups the requests of one receipt or result: they
   have the same endpoint, key and body.
2. `Event` is an event as REST showed it at the end, with the requests about it.
3. `Fault`, `Mail` and `Callback` are what the harness caused and received.
4. `Record` has all of them.

An answer can be lost, so the rules do not know exactly when a receipt or result was stored. It may
be stored ("may hold") from its first request that was not refused, and it is stored once it is
acknowledged. Instants are unix seconds of the harness's clock.
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
class Submission:
    """The requests with one endpoint, key and body: one receipt or result, sent once or more often.

    `may_hold_from` is when the first request that may be stored was sent, None if each was refused.
    `acknowledged_at` is the first acknowledgement, None if there is none. `event_id` is the event
    that a result names, None for a receipt or an unknown event.
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
    """An event as REST showed it at `observed_at`, with the requests and signals about it.

    `shown` is the JSON of REST.
    """

    id: str
    observed_at: float
    shown: Json
    identity: Identity
    state: str
    timeout_at: float
    deadline_at: float
    incident: Incident | None
    receipts: list[Submission] = field(default_factory=list)
    results: list[Submission] = field(default_factory=list)
    reprocesses: list[Request] = field(default_factory=list)
    # when a `reprocess` was sent by Temporal's command line
    signals: list[float] = field(default_factory=list)

    @property
    def repairs(self) -> list[Json]:
        return list(self.shown["repairs"])

    def timeline(self, kind: str) -> list[Json]:
        return [entry for entry in self.shown["timeline"] if entry["kind"] == kind]

    def results_with(self, status: str) -> list[Submission]:
        """The results of this status that may be stored."""
        return [
            submission
            for submission in self.results
            if submission.body["status"] == status and submission.may_hold_from is not None
        ]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that the harness caused. One that was never healed ends with the history."""

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
    """A mail as the mail server received it.

    `kind` and the ids are read from the text; None if they are not there.
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
    """A request to the repair endpoint.

    `content` is the JSON of its body, empty if it is not JSON. `number` is the attempt's number in
    the header, 0 without one.
    """

    at: float
    headers: dict[str, str]
    body: str
    content: Json
    replay_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """Everything of a history. `events` has the last observation of each event, by its id."""

    requests: tuple[Request, ...]
    receipts: tuple[Submission, ...]
    results: tuple[Submission, ...]
    reprocesses: tuple[Request, ...]
    events: dict[str, Event]
    by_incident: dict[str, Event]
    faults: tuple[Fault, ...]
    mails: tuple[Mail, ...]
    callbacks: tuple[Callback, ...]
    settled: tuple[Entry, ...]

    def is_disturbed(self, start: float, end: float, patterns: Iterable[str] = ("*",)) -> bool:
        """Whether a fault that matches one of `patterns` overlaps the time."""
        patterns = tuple(patterns)
        return any(fault.overlaps(start, end) and fault.matches(patterns) for fault in self.faults)

    def healed_at(self, start: float, end: float, *, apart_seconds: float) -> float:
        """When the last fault that overlaps the time from `start` to `end` was healed.

        Faults that begin within `apart_seconds` of that heal count too, and so on.
        """
        healed = max(
            (fault.ended_at for fault in self.faults if fault.overlaps(start, end)), default=start
        )
        for fault in self.faults:  # in the order of their beginning
            if start <= fault.began_at <= healed + apart_seconds:
                healed = max(healed, fault.ended_at)
        return healed
