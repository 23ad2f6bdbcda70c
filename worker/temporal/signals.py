"""Which signals the rows of the outbox are for a receipt's workflow, and which of them one signal replaces. Pure.

Called by `worker.temporal.workflow_client`.
"""

from collections.abc import Sequence

from domain.receipts import Receipt, ReceiptState
from domain.results import ResultStatus
from store.receipts.outbox import OutboxRow
from workflows.messages import ExpireSignal, ReprocessSignal, ResolveSignal, ResultSignal

Signal = ResultSignal | ReprocessSignal | ResolveSignal | ExpireSignal


def is_whole_life(receipt: Receipt, signals: Sequence[Signal]) -> bool:
    """The usual life, told in one call: the receipt, and the success that applied it, and nothing else."""
    if receipt.state is not ReceiptState.APPLIED or len(signals) != 1:
        return False
    only = signals[0]
    return isinstance(only, ResultSignal) and only.status is ResultStatus.SUCCESS


def as_one(receipt: Receipt, signals: Sequence[Signal]) -> Sequence[Signal]:
    """One signal in place of several: every signal means "re-read the store".

    The success that applied a waiting receipt stays itself, since it ends the run without a look at the store.
    """
    if len(signals) < 2:
        return signals
    successes = [signal for signal in signals if isinstance(signal, ResultSignal) and signal.status is ResultStatus.SUCCESS]
    return successes[:1] if receipt.state is ReceiptState.APPLIED and successes else [ExpireSignal()]


def signal_of(row: OutboxRow) -> Signal:
    """The signal that an outbox row stands for. Raises: ValueError for a kind that has none."""
    match row.kind:
        case "result":
            return ResultSignal(
                result_id=str(row.fields["result_id"]),
                status=ResultStatus(str(row.fields["status"])),
                replay_id=_text(row.fields.get("replay_id")),
            )
        case "reprocess":
            return ReprocessSignal(
                replay_id=_text(row.fields.get("replay_id")), requested_by=_text(row.fields.get("requested_by"))
            )
        case "resolve":
            return ResolveSignal(requested_by=_text(row.fields.get("requested_by")))
        case "expire":
            return ExpireSignal()
        case _:
            raise ValueError(f"the outbox row {row.id} is of an unknown kind")


def name_of(signal: Signal) -> str:
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
