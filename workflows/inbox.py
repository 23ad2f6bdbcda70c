"""What signals have said and the run has not acted on yet; equal things are kept once, however often they are said.

1. A hint says "look at the store". Ten thousand of them are one look, and a success among them is remembered.
2. A request that names a repair is a hint as well: the latest one is kept.
3. A bare request has no id of its own. Its place is its number among all `reprocess` signals of each series. Reset, replay and
   continue-as-new keep the numbers, so that the store knows a request that it has seen: one whose numbers are all known.

A series begins with each random seed of the run. A reset hands over the old signals under the old seed, and new ones under a new
seed: those have a number in one series more, which the store has not seen.
"""

from dataclasses import dataclass, replace

from activities.messages import RequestMark
from workflows.messages import BareRequest, ReceiptInput
from workflows.signals import Reprocess, Result


@dataclass(frozen=True, slots=True)
class Hint:
    """Look at the store. `result_id` is the latest result that was named, `is_success` whether one was a success."""

    result_id: str | None = None
    is_success: bool = False


class Inbox:
    """The inbox of one run. `seed` is the run's random seed as it begins."""

    def __init__(self, start: ReceiptInput, seed: int) -> None:
        self._seed = seed
        self._counted = {mark.series: mark.number for mark in start.counted} or {_series(seed): 0}
        self.hint: Hint | None = None
        self.named: str | None = None
        self.bare: BareRequest | None = start.request

    def add_hint(self, heard: Result | None = None) -> None:
        """Keep a hint; `heard` is the result that it is about, if it names one."""
        heard, before = heard or Result(), self.hint or Hint()
        self.hint = Hint(heard.result_id or before.result_id, heard.is_success or before.is_success)

    def add_request(self, heard: Reprocess, seed: int) -> None:
        """Count a reprocess request, and keep it."""
        if seed != self._seed:
            self._seed = seed
            self._counted[_series(seed)] = 0
        self._counted = {series: number + 1 for series, number in self._counted.items()}
        if heard.replay_id is not None:
            self.named = heard.replay_id
        else:
            self.bare = merged(self.bare, BareRequest(heard.requested_by, self._marks()))

    def has_any(self) -> bool:
        return not (self.hint is None and self.named is None and self.bare is None)

    def take_hint(self) -> Hint | None:
        """All hints as one, which are then forgotten."""
        taken, self.hint = self.hint, None
        return taken

    def take_named(self) -> str | None:
        taken, self.named = self.named, None
        return taken

    def take_bare(self) -> BareRequest | None:
        taken, self.bare = self.bare, None
        return taken

    def forget_named(self, *replay_ids: str | None) -> None:
        """A request that names a repair which is under way, or has just ended, has been acted on."""
        if self.named in replay_ids:
            self.named = None

    def handed_on(self, start: ReceiptInput, asking: BareRequest | None) -> ReceiptInput:
        """The input of the run that follows. `asking` is a request of which nobody knows yet whether the store has it."""
        return replace(start, resume=True, request=merged(asking, self.bare), counted=self._marks())

    def _marks(self) -> tuple[RequestMark, ...]:
        return tuple(RequestMark(series, number) for series, number in self._counted.items())


def merged(first: BareRequest | None, second: BareRequest | None) -> BareRequest | None:
    """Both requests as one, with the latest place of each series."""
    if first is None or second is None:
        return first or second
    latest = {mark.series: mark for mark in (*first.marks, *second.marks)}
    return BareRequest(first.requested_by or second.requested_by, tuple(latest.values()))


def _series(seed: int) -> str:
    return f"{seed:016x}"
