"""Reads the payloads of signals and of a start by hand: any number of values of any shape.

A signal acts if it can be understood at all: `reprocess`, `resolve` and `expire` need no payload, and a `result` that cannot be
read still says that the store holds something. Only ids in a short, plain form are kept of a payload. Pure; called by
`workflows.receipt`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from temporalio.converter import value_to_type

from domain.ids import EventId
from domain.results import ResultStatus
from workflows.messages import ReceiptInput, workflow_id

INPUT_UNREADABLE = "receipt_input_unreadable"
EXPECTED_INPUT = (
    'A receipt run takes one input, {"event_id": "evt_…", "project_id": "prj_…", "deadline_at": "…Z"}, and the workflow id '
    "receipt-{event_id}. Makegood starts these runs by itself."
)
NO_INPUT = ReceiptInput("", "", datetime(1970, 1, 1, tzinfo=UTC))
# Every id of ours, and short names; it fits into summaries, details and search attributes as it is.
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_REPAIR, _RESULT = "rpl_", "res_"
_NAME_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class Result:
    """A `result` signal. `is_success` is trusted while the receipt waits; without a `result_id` it only says "look"."""

    result_id: str | None = None
    is_success: bool = False
    replay_id: str | None = None


@dataclass(frozen=True, slots=True)
class Reprocess:
    """A `reprocess` signal; without a `replay_id` it asks for whatever repair there is to be."""

    replay_id: str | None = None
    requested_by: str | None = None


def read_result(payloads: Sequence[object]) -> tuple[Result, bool]:
    """The result that a signal names, and whether its payload was understood as a whole."""
    first = payloads[0] if payloads else None
    fields: Mapping[object, object] = first if isinstance(first, Mapping) else {}
    result_id, replay_id, status = _id(fields.get("result_id")), fields.get("replay_id"), fields.get("status")
    is_whole = len(payloads) == 1 and status in tuple(ResultStatus) and (replay_id is None or _id(replay_id) is not None)
    if result_id is None or not result_id.startswith(_RESULT) or not is_whole:
        return Result(), False
    return Result(result_id, status == ResultStatus.SUCCESS, _id(replay_id)), True


def read_reprocess(payloads: Sequence[object]) -> tuple[Reprocess, bool]:
    """The request, and whether its payload was understood as a whole. What names no repair asks as one without a payload does."""
    first = payloads[0] if payloads else None
    is_whole = len(payloads) <= 1
    match first:
        case None:
            return Reprocess(), is_whole
        case str():
            replay_id = _id(first.strip())
            names = replay_id is not None and replay_id.startswith(_REPAIR)
            return (Reprocess(replay_id), is_whole) if names else (Reprocess(), False)
        case Mapping():
            named, by = first.get("replay_id"), first.get("requested_by")
            read = Reprocess(_id(named), _id(by))
            is_whole = (
                is_whole and (named is None or read.replay_id is not None) and (by is None or read.requested_by is not None)
            )
            return read, is_whole
        case _:
            return Reprocess(), False


def is_plain(payloads: Sequence[object]) -> bool:
    """Whether a signal that needs no payload has none, or one object."""
    return not payloads or (len(payloads) == 1 and (payloads[0] is None or isinstance(payloads[0], Mapping)))


def shown_name(name: str) -> str:
    """The name of a signal as a line may show it."""
    shown = re.sub(r"[^A-Za-z0-9_.:-]", "?", name[:_NAME_CHARACTERS])
    return shown if len(name) <= _NAME_CHARACTERS else f"{shown}…"


def read_start(payloads: Sequence[object], *, run_of: str) -> ReceiptInput | None:
    """What a run is started with; None when it was started by hand with something else.

    `run_of` is the workflow id: a run under another name would act beside the receipt's own.
    """
    try:
        (only,) = payloads
        start: ReceiptInput = value_to_type(ReceiptInput, only)
        is_ours = _id(start.event_id) is not None and workflow_id(EventId(start.event_id)) == run_of
        return (
            replace(start, project_id=_id(start.project_id) or "") if is_ours and start.deadline_at.tzinfo is not None else None
        )
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None
