"""The filters of a list, and what a row must meet by them and by the tokens of its search."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.errors import FieldError, ValidationFailed
from domain.ids import ProjectId
from domain.incidents import IncidentState
from domain.receipts import ReceiptState
from domain.search.query import POINTER, SearchQuery, parse_query
from domain.search.tokens import ACKNOWLEDGED, ME, MUTED, SNOOZED
from store.receipts.lists.order import ListedTable

_RECEIPTS_WITH_INCIDENT = (ReceiptState.INCIDENT, ReceiptState.RECOVERED, ReceiptState.CLOSED)
_RECEIPT_STATES_OF = {
    IncidentState.OPEN.value: (ReceiptState.INCIDENT,),
    IncidentState.REPAIRING.value: (ReceiptState.INCIDENT,),
    IncidentState.RESOLVED.value: (ReceiptState.RECOVERED, ReceiptState.CLOSED),
}
# Marks that no resolved incident has.
_OF_UNRESOLVED = (ACKNOWLEDGED, SNOOZED, MUTED)
_UNRESOLVED = (IncidentState.OPEN.value, IncidentState.REPAIRING.value)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class ListFilters:
    """The filters of a list; None or empty means no filter. `states` are those of receipts or
    incidents, as the list is.

    `project_id` is always given, because None means every project. `within` are the reader's
    projects, None for all. `created_after` and `created_before` exclude the instant itself. `q` is
    a search text (`domain.search.query`); `now` is its instant, from which ages count, and `me` the
    user whom `assignee:me` means. `livemode` leaves projects of one mode. `also` is a further
    search that must hold too, of states and other values of `is:` alone: a tab of the page. `scope`
    are the projects that all of this leaves, if the caller read them before.
    """

    project_id: ProjectId | None
    within: tuple[ProjectId, ...] | None = None
    states: tuple[str, ...] = ()
    provider: str | None = None
    event_type: str | None = None
    effect_type: str | None = None
    internal_reference: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    q: str | None = None
    now: datetime | None = None
    livemode: bool | None = None
    me: str | None = None
    also: str | None = None
    scope: tuple[ProjectId, ...] | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a row of a list must meet: the filters and the tokens of a search as one.

    `states` is empty for every state. `search` holds what the filters do not: words, marks, and
    values of other keys. `now` as in `ListFilters`.
    """

    states: tuple[str, ...]
    provider: str | None
    event_type: str | None
    effect_type: str | None
    reference: str | None
    after: datetime | None
    before: datetime | None
    search: SearchQuery
    now: datetime | None = None

    @property
    def has_kind(self) -> bool:
        return any(one is not None for one in (self.provider, self.event_type, self.effect_type))


def wanted_by(table: ListedTable, filters: ListFilters) -> Wanted | None:
    """What the rows must meet. None if nothing can: two filters of one field differ.

    Raises: ValidationFailed for a refused search.
    """
    search, tab = parse_query(filters.q), parse_query(filters.also)
    chosen = filters.states or tab.states
    states = _states(table, chosen, search)
    search = replace(
        search,
        marks=tuple(dict.fromkeys((*search.marks, *tab.marks))),
        values=_with_assignee(search.values, filters.me),
    )
    given = {
        "provider": filters.provider,
        "type": filters.event_type,
        "effect": filters.effect_type,
        "ref": filters.internal_reference,
    }
    differs = any(
        value is not None and search.values.get(key, value) != value for key, value in given.items()
    )
    if differs or states is None:
        return None
    after, before = _times(filters, search)
    return Wanted(
        states,
        provider=search.values.get("provider", filters.provider),
        event_type=search.values.get("type", filters.event_type),
        effect_type=search.values.get("effect", filters.effect_type),
        reference=search.values.get("ref", filters.internal_reference),
        after=after,
        before=before,
        search=search,
        now=filters.now,
    )


def every_state(table: ListedTable) -> tuple[str, ...]:
    """The states of the rows of a list."""
    states = ReceiptState if table.is_of_events else IncidentState
    return tuple(state.value for state in states)


def _with_assignee(values: Mapping[str, str], me: str | None) -> Mapping[str, str]:
    """The values with the assignee as the store compares it.

    Raises: ValidationFailed for `assignee:me` of a reader who is no user.
    """
    if "assignee" not in values:
        return values
    assignee = values["assignee"].lower()
    if assignee == ME and me is None:
        message = "`assignee:me` is for people who are signed in. Give an e-mail address."
        raise ValidationFailed(errors=(FieldError(POINTER, "not_available", message),))
    return {**values, "assignee": me if assignee == ME and me is not None else assignee}


def _states(
    table: ListedTable, chosen: Sequence[str], search: SearchQuery
) -> tuple[str, ...] | None:
    """The states of rows, empty for all; None for none. A receipt has that of its incident too."""
    allowed: Iterable[str] = search.states
    if any(mark in search.marks for mark in _OF_UNRESOLVED):
        allowed = [state for state in _UNRESOLVED if state in (search.states or _UNRESOLVED)]
        if not allowed:
            return None
    if table.is_of_events:
        of_incidents = _RECEIPTS_WITH_INCIDENT if asks_for_incident(search) else ()
        allowed = [one for state in allowed for one in _RECEIPT_STATES_OF[state]] or of_incidents
    wanted = tuple(dict.fromkeys(str(state) for state in allowed))
    if not chosen or not wanted:
        return tuple(dict.fromkeys(chosen)) or wanted
    return tuple(state for state in dict.fromkeys(chosen) if state in wanted) or None


def asks_for_incident(search: SearchQuery) -> bool:
    """Whether only receipts with an incident can match."""
    of_incident = ("reason", "error", "assignee", "group")
    marks = [mark for mark in search.marks if mark != "flagged"]
    return bool(marks) or any(key in search.values for key in of_incident)


def _times(filters: ListFilters, search: SearchQuery) -> tuple[datetime | None, datetime | None]:
    """The instants between which a row came, both exclusive."""
    after = [filters.created_after] if filters.created_after else []
    before = [filters.created_before] if filters.created_before else []
    for bound in search.ages:
        if filters.now is None:
            raise AssertionError("a search for an age is asked at an instant")
        try:
            at = filters.now - bound.age
        except OverflowError:
            message = "`age:` must be within the calendar."
            raise ValidationFailed(errors=(FieldError(POINTER, "out_of_range", message),)) from None
        # Rows have whole milliseconds.
        match bound.operator:
            case ">":
                before.append(at)
            case ">=":
                before.append(at + _MILLISECOND)
            case "<":
                after.append(at)
            case "<=":
                after.append(at - _MILLISECOND)
    return max(after, default=None), min(before, default=None)
