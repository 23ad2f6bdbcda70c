"""Converts outbox rows of one receipt into signals of its workflow, and merges signals. Pure.

Called by `worker.temporal.workflow_client`.
"""

from collections.abc import Sequence

from domain.receipts import Receipt, ReceiptState
from domain.results import ResultStatus
from store.receipts.outbox import OutboxRow
from workflows.messages import ExpireSignal, ReprocessSignal, ResolveSignal, ResultSignal

Signal = ResultSignal | ReprocessSignal | ResolveSignal | ExpireSignal


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
    """One signal in place of several.

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
    match row.kind:
        case "result":
            return ResultSignal(
                result_id=str(row.fields["result_id"]),
                status=ResultStatus(str(row.fields["status"])),
                replay_id=_text(row.fields.get("replay_id")),
            )
        case "reprocess":
            return ReprocessSignal(
                replay_id=_text(row.fields.get("replay_id")),
                requested_by=_text(row.fields.get("requested_by")),
            )
        case "resolve":
            return ResolveSignal(requested_by=_text(row.fields.get("requested_by")))
        case "expire":
            return ExpireSignal()
        case _:
            raise ValueError(f"the outbox row {row.id} is of an unknown kind")


def signal_name(signal: Signal) -> str:
    """The signal's name in Temporal."""
    match signal:
        case ResultSignal():
            return "result"
        case ReprocessSignal():
            return "reprocess"
        case ResolveSignal():
            return "resolve"
        case ExpireSignal():
            return "expire"


def _text(value: object) -> str | None:
    return None if value is None else str(value)
