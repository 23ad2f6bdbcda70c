"""One page of a provider's list: what every provider's page has in common."""

from dataclasses import dataclass, field

from domain.sources.events import ProviderEvent
from domain.sources.listing import Complaint
from domain.sources.source import SourceProblem

# Of every provider, so that the events of a page fit into one short transaction.
MOST_EVENTS = 100


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was read.

    `cursor` is where the next page begins. None: there is none, because this one is empty or the
    last. `says_more` is what the provider says of that. `is_beyond`: everything in it is older than
    the span. `is_next_unreadable`: the address of the next page cannot be read.
    """

    events: tuple[ProviderEvent, ...]
    cursor: str | None
    says_more: bool
    is_beyond: bool = False
    complaints: frozenset[Complaint] = field(default_factory=frozenset)
    is_next_unreadable: bool = False


class ListingStopped(Exception):
    """The provider gave no page. The listing goes on after `wait_seconds`, or at its next time.

    `detail` is for operators: it quotes neither the key nor the provider's text.
    """

    def __init__(self, problem: SourceProblem, detail: str, *, wait_seconds: int = 0) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.wait_seconds = wait_seconds


def not_a_list() -> ListingStopped:
    return ListingStopped(SourceProblem.BAD_ANSWER, "The provider's answer is no list of events.")
