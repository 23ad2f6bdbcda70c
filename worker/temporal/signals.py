"""Converts outbox rows of one receipt into signals of its workflow, and merges signals. Pure.

Called by `worker.temporal.workflow_client`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.receipts import Receipt, ReceiptState
from domain.results import ResultStatus
from domain.temporal.outbox import OutboxKind
from store.receipts.outbox import OutboxRow
from workflows.messages import ExpireSignal, ReprocessSignal, ResolveSignal, ResultSignal

Signal = ResultSignal | ReprocessSignal | ResolveSignal | ExpireSignal
Fields = Mapping[str, Any]  # Any: the JSON of an outbox row, as its kind has it


@dataclass(frozen=True, slots=True)
class SignalKind:
    """A signal's message, and how it is read from the fields of an outbox row."""

    message: type[Signal]
    read: Callable[[Fields], Signal]


def _read_result(fields: Fields) -> ResultSignal:
    return ResultSignal(
        result_id=str(fields["result_id"]),
        status=ResultStatus(str(fields["status"])),
        replay_id=_text(fields.get("replay_id")),
    )


def _read_reprocess(fields: Fields) -> ReprocessSignal:
    replay_id, requested_by = _text(fields.get("replay_id")), _text(fields.get("requested_by"))
    return ReprocessSignal(replay_id=replay_id, requested_by=requested_by)


def _read_resolve(fields: Fields) -> ResolveSignal:
    return ResolveSignal(requested_by=_text(fields.get("requested_by")))


def _read_expire(_: Fields) -> ExpireSignal:
    return ExpireSignal()


def _text(value: object) -> str | None:
    return None if value is None else str(value)


# The signal of each kind of outbox row. The others, START and RESTART, start a run.
SIGNALS: Mapping[OutboxKind, SignalKind] = {
    OutboxKind.RESULT: SignalKind(ResultSignal, _read_result),
    OutboxKind.REPROCESS: SignalKind(ReprocessSignal, _read_reprocess),
    OutboxKind.RESOLVE: SignalKind(ResolveSignal, _read_resolve),
    OutboxKind.EXPIRE: SignalKind(ExpireSignal, _read_expire),
    OutboxKind.ACCEPTED: SignalKind(ExpireSignal, _read_expire),
}
# The kind that a signal is named after.
_KINDS = {
    signal.message: kind for kind, signal in SIGNALS.items() if kind is not OutboxKind.ACCEPTED
}


def success_at_start(receipt: Receipt, signals: Sequence[Signal]) -> Signal | None:
    """The only signal, if it is the success that applied the receipt.

    It can be sent in one call with the start.

    Most receipts are sent this way. None: the workflow must be started first, then signalled.
    """
    if receipt.state is not ReceiptState.APPLIED or len(signals) != 1:
        return None
    only = signals[0]
    return only if isinstance(only, ResultSignal) and only.status is ResultStatus.SUCCESS else None


def merge_signals(receipt: Receipt, signals: Sequence[Signal]) -> Sequence[Signal]:
    """Merge the signals of a receipt into one.

    Every signal means "re-read the database", so nothing is lost.

    The success that applied a waiting receipt is kept as it is, because it ends the run without a
    read of the database.
    """
    if len(signals) < 2:
        return signals
    successes = [
        signal
        for signal in signals
        if isinstance(signal, ResultSignal) and signal.status is ResultStatus.SUCCESS
    ]
    return (
        successes[:1] if receipt.state is ReceiptState.APPLIED and successes else [ExpireSignal()]
    )


def signal_from(row: OutboxRow) -> Signal:
    """The signal of an outbox row.

    Raises:
        ValueError: the row's kind has no signal.
    """
    kind = next((kind for kind in SIGNALS if kind == row.kind), None)
    if kind is None:
        raise ValueError(f"the outbox row {row.id} is of an unknown kind")
    return SIGNALS[kind].read(row.fields)


def signal_name(signal: Signal) -> str:
    """The signal's name in Temporal."""
    return _KINDS[type(signal)].value
