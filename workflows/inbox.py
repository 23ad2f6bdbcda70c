"""Collects the signals that the run has not handled yet. Equal signals are stored once.

1. A store signal means "re-read the database". Ten thousand of them are one re-read. If one of them
   is a success, this is remembered.
2. A reprocess request with a `replay_id` is a store signal too. The latest one is kept.
3. A reprocess request without a `replay_id` is identified by its number among all `reprocess`
   signals of each series. Reset, replay and continue-as-new preserve the numbers. The store
   recognises a request that it has handled: all its numbers are known.

Each random seed of the run begins a series. A reset delivers the old signals under the old seed,
and new signals under a new seed. New signals therefore have a number in one more series, which the
store does not know.
"""

from dataclasses import dataclass, replace

from activities.messages import RequestMark
from workflows.messages import ReceiptInput, ReprocessRequest
from workflows.signals import ParsedReprocess, ParsedResult


@dataclass(frozen=True, slots=True)
class StoreSignal:
    """Several signals as one: re-read the database.

    `result_id` is the latest result that was named, `is_success` whether one of them was a success.
    """

    result_id: str | None = None
    is_success: bool = False


class Inbox:
    """The unhandled signals of one run. `seed` is the run's random seed at its start."""

    def __init__(self, start: ReceiptInput, seed: int) -> None:
        self._seed = seed
        self._counts = {mark.series: mark.number for mark in start.counted} or {_series(seed): 0}
        self.store_signal: StoreSignal | None = None
        self.named_repair: str | None = None
        self.request: ReprocessRequest | None = start.request

    def add_store_signal(self, result: ParsedResult | None = None) -> None:
        """Add a store signal. `result` is the result that it names, if it names one."""
        new, before = result or ParsedResult(), self.store_signal or StoreSignal()
        self.store_signal = StoreSignal(
            new.result_id or before.result_id, new.is_success or before.is_success
        )

    def add_request(self, signal: ParsedReprocess, seed: int) -> None:
        """Count a reprocess signal and add its request."""
        if seed != self._seed:
            self._seed = seed
            self._counts[_series(seed)] = 0
        self._counts = {series: number + 1 for series, number in self._counts.items()}
        if signal.replay_id is not None:
            self.named_repair = signal.replay_id
        else:
            self.request = merge_requests(
                self.request, ReprocessRequest(signal.requested_by, self._marks())
            )

    def has_any(self) -> bool:
        return not (
            self.store_signal is None and self.named_repair is None and self.request is None
        )

    def take_store_signal(self) -> StoreSignal | None:
        """Remove and return all store signals as one."""
        taken, self.store_signal = self.store_signal, None
        return taken

    def take_named_repair(self) -> str | None:
        taken, self.named_repair = self.named_repair, None
        return taken

    def take_request(self) -> ReprocessRequest | None:
        taken, self.request = self.request, None
        return taken

    def drop_handled(self, *replay_ids: str | None) -> None:
        """Remove a request for a repair that is active or has just ended: it has been handled."""
        if self.named_repair in replay_ids:
            self.named_repair = None

    def next_input(self, start: ReceiptInput, unanswered: ReprocessRequest | None) -> ReceiptInput:
        """The input of the run that continues this one.

        `unanswered` is a request that the store may or may not have handled.
        """
        request = merge_requests(unanswered, self.request)
        return replace(start, resume=True, request=request, counted=self._marks())

    def _marks(self) -> tuple[RequestMark, ...]:
        return tuple(RequestMark(series, number) for series, number in self._counts.items())


def merge_requests(
    first: ReprocessRequest | None, second: ReprocessRequest | None
) -> ReprocessRequest | None:
    """Both requests as one, with the latest number of each series."""
    if first is None or second is None:
        return first or second
    latest = {mark.series: mark for mark in (*first.marks, *second.marks)}
    return ReprocessRequest(first.requested_by or second.requested_by, tuple(latest.values()))


def _series(seed: int) -> str:
    return f"{seed:016x}"
