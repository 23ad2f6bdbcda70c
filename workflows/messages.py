"""The names and messages by which the `receipt` workflow is started, told and asked. They live in histories.

Ids, instants and finite sets only: operators read them. Sent by `worker.temporal.workflow_client`, and by people in Temporal's UI
and CLI.
"""

from dataclasses import dataclass
from datetime import datetime

from temporalio.common import SearchAttributeKey

from activities.messages import RequestMark
from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.results import ResultStatus

TASK_QUEUE = "makegood"
RECEIPT_WORKFLOW = "receipt"

MG_PROJECT = SearchAttributeKey.for_keyword("MgProject")
MG_MODE = SearchAttributeKey.for_keyword("MgMode")
MG_STATE = SearchAttributeKey.for_keyword("MgState")
MG_PROVIDER = SearchAttributeKey.for_keyword("MgProvider")
MG_EVENT_TYPE = SearchAttributeKey.for_keyword("MgEventType")
MG_EFFECT = SearchAttributeKey.for_keyword("MgEffect")
MG_INCIDENT_ID = SearchAttributeKey.for_keyword("MgIncidentId")
MG_PROVIDER_EVENT_ID = SearchAttributeKey.for_keyword("MgProviderEventId")
MG_DEADLINE = SearchAttributeKey.for_datetime("MgDeadline")


def workflow_id(event_id: EventId) -> str:
    """The id of a receipt's workflow, the same for ever."""
    return f"receipt-{event_id}"


@dataclass(frozen=True, slots=True)
class ReprocessSignal:
    """A person asks for a repair; without a `replay_id` the store has not minted one yet."""

    replay_id: str | None = None
    requested_by: str | None = None


@dataclass(frozen=True, slots=True)
class ResultSignal:
    """The store holds a result; `replay_id` is the repair that it reports."""

    result_id: str
    status: ResultStatus
    replay_id: str | None = None


@dataclass(frozen=True, slots=True)
class ResolveSignal:
    """The store holds a resolution by hand."""

    requested_by: str | None = None


@dataclass(frozen=True, slots=True)
class ExpireSignal:
    """The deadline may have moved to now, or this run may have missed it: ask the store."""

    requested_by: str | None = None


@dataclass(frozen=True, slots=True)
class BareRequest:
    """Reprocess requests without a `replay_id`, several as one; `marks` are their places, which the store remembers.

    `requested_by` is the first that a signal named.
    """

    requested_by: str | None
    marks: tuple[RequestMark, ...]


@dataclass(frozen=True, slots=True)
class ReceiptInput:
    """`resume`: an earlier run is gone or has grown long, so the first step asks the store where the receipt stands.

    `unregistered` are the search attributes that the namespace did not have when the run was started: it writes none of them.
    What a run that continues as new hands on: `request`, which it has not acted on yet (the store knows everything else), and the
    last places that it counted: see `workflows.inbox`.
    """

    event_id: str
    project_id: str
    deadline_at: datetime
    resume: bool = False
    unregistered: tuple[str, ...] = ()
    request: BareRequest | None = None
    counted: tuple[RequestMark, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiptEnded:
    event_id: str
    position: LifecycleState


@dataclass(frozen=True, slots=True)
class StateAnswer:
    """Where this run stands, to be compared with the store, which is the truth. Instants as the contract writes them."""

    position: LifecycleState
    deadline_at: str
    incident_id: str | None
    replay_id: str | None
    result_deadline_at: str | None


@dataclass(frozen=True, slots=True)
class TimelineLine:
    """`at` is as the contract writes instants; the same line said `times` in a row is kept once, with the latest instant."""

    at: str
    text: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class TimelineAnswer:
    """What this run has heard and done, the latest last; the store keeps the whole timeline."""

    lines: tuple[TimelineLine, ...]
