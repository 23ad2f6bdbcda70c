"""Parses the payloads of signals and of the run's start: any number of values of any shape.

A signal acts if it can be understood at all. `reprocess`, `resolve` and `expire` need no payload. A
`result` that cannot be read still means that something is stored. Only ids in a short, plain form
are kept of a payload. Pure; called by `workflows.receipt`.
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
    'A receipt run takes one input, {"event_id": "evt_…", "project_id": "prj_…", '
    '"deadline_at": "…Z"}, and the workflow id '
    "receipt-{event_id}. Makegood starts these runs by itself."
)
NO_INPUT = ReceiptInput("", "", datetime(1970, 1, 1, tzinfo=UTC))
# Matches every id of Makegood, and short names. Safe in summaries, details and search attributes.
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_REPAIR, _RESULT = "rpl_", "res_"
_NAME_MAX_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class ParsedResult:
    """A `result` signal. `is_success` is trusted while the receipt waits.

    Without a `result_id` the signal only means "re-read the database".
    """

    result_id: str | None = None
    is_success: bool = False
    replay_id: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedReprocess:
    """A `reprocess` signal. Without a `replay_id` it adopts the active repair, or begins one."""

    replay_id: str | None = None
    requested_by: str | None = None


def read_result(payloads: Sequence[object]) -> tuple[ParsedResult, bool]:
    """The result that a signal names, and whether its whole payload was understood."""
    first = payloads[0] if payloads else None
    fields: Mapping[object, object] = first if isinstance(first, Mapping) else {}
    result_id, replay_id, status = (
        _id(fields.get("result_id")),
        fields.get("replay_id"),
        fields.get("status"),
    )
    is_replay_id_readable = replay_id is None or _id(replay_id) is not None
    is_whole = len(payloads) == 1 and status in tuple(ResultStatus) and is_replay_id_readable
    if result_id is None or not result_id.startswith(_RESULT) or not is_whole:
        return ParsedResult(), False
    return ParsedResult(result_id, status == ResultStatus.SUCCESS, _id(replay_id)), True


def read_reprocess(payloads: Sequence[object]) -> tuple[ParsedReprocess, bool]:
    """The request, and whether its whole payload was understood.

    A payload that names no repair counts as no payload.
    """
    first = payloads[0] if payloads else None
    is_whole = len(payloads) <= 1
    match first:
        case None:
            return ParsedReprocess(), is_whole
        case str():
            replay_id = _id(first.strip())
            names = replay_id is not None and replay_id.startswith(_REPAIR)
            return (ParsedReprocess(replay_id), is_whole) if names else (ParsedReprocess(), False)
        case Mapping():
            named, by = first.get("replay_id"), first.get("requested_by")
            read = ParsedReprocess(_id(named), _id(by))
            is_readable = (named is None or read.replay_id is not None) and (
                by is None or read.requested_by is not None
            )
            return read, is_whole and is_readable
        case _:
            return ParsedReprocess(), False


def is_empty_or_object(payloads: Sequence[object]) -> bool:
    """Whether the payload of a signal that needs none is empty, or one object."""
    return not payloads or (
        len(payloads) == 1 and (payloads[0] is None or isinstance(payloads[0], Mapping))
    )


def safe_signal_name(name: str) -> str:
    """The name of a signal, cut and safe to show in the timeline."""
    shown = re.sub(r"[^A-Za-z0-9_.:-]", "?", name[:_NAME_MAX_CHARACTERS])
    return shown if len(name) <= _NAME_MAX_CHARACTERS else f"{shown}…"


def read_start(payloads: Sequence[object], *, run_of: str) -> ReceiptInput | None:
    """The input of a run; None if the run was started by hand with something else.

    `run_of` is the workflow id. A run under another id would act beside the receipt's own run.
    """
    try:
        (only,) = payloads
        start: ReceiptInput = value_to_type(ReceiptInput, only)
        is_ours = _id(start.event_id) is not None and workflow_id(EventId(start.event_id)) == run_of
        if not is_ours or start.deadline_at.tzinfo is None:
            return None
        return replace(start, project_id=_id(start.project_id) or "")
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None
