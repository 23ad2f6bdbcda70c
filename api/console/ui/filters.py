"""The address of a list: tab, filters and cursor, and variants with one of them changed. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from urllib.parse import urlencode

from api.console.ui.incident_tabs import ALL, DEFAULT_SORTS, MODES
from domain.audit import AuditAction
from domain.projects import Project
from domain.receipts import ReceiptState
from domain.search.query import LONGEST_QUERY
from domain.search.sorting import EVENT_SORTS, NEWEST_FIRST, SORTS
from operations.names import known_effect_types, known_providers, knows_event_type

# Receipts that are not ended come first.
_NOT_ENDED = (ReceiptState.EXPECTED, ReceiptState.WAITING, ReceiptState.INCIDENT)
_ENDED = tuple(state for state in ReceiptState if state not in _NOT_ENDED)
EVENT_TABS = (ALL, *(state.value for state in (*_NOT_ENDED, *_ENDED)))
AUDIT_NAMES = ("project", "actor", "action", "from", "to")
NAMES = (
    "project",
    "provider",
    "event_type",
    "effect_type",
    "internal_reference",
    "q",
    "from",
    "to",
    "mode",
)
LONGEST = 255
# Parameters of every list that are not filters. htmx sends `seen`.
_NO_FILTERS = ("cursor", "seen", "view")
INCIDENTS = "/incidents"
# The list of incidents one by one. Without it, the address without filters lists their groups.
FLAT = "flat"


@dataclass(frozen=True, slots=True)
class ListAddress:
    """The address of one page of a list.

    `chosen` holds the filters that are set. `cursor` None is the newest page. Filters named in
    `required` are kept in every address, because the list cannot be shown without them. `ignored`
    holds the parameters that do not filter: their name is unknown, or their value is not valid.
    `order` None is that of the tab. `view` is in every address whose other parameters would not
    select this list; empty where a path has one list. Days are those of `zone`, which is no part
    of the address.
    """

    path: str
    tab: str
    first_tab: str
    chosen: Mapping[str, str]
    cursor: str | None
    required: tuple[str, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)
    order: str | None = None
    view: str = ""
    zone: tzinfo = UTC

    @property
    def sort(self) -> str:
        """The order of the list: the chosen one, or that of the tab."""
        return self.order or DEFAULT_SORTS.get(self.tab, NEWEST_FIRST)

    @property
    def query(self) -> str:
        """The query of the address, without `?`."""
        return str(self).partition("?")[2]

    @property
    def state(self) -> str | None:
        """The state that the tab selects. None for all states."""
        return None if self.tab == ALL else self.tab

    def __str__(self) -> str:
        filters = self.chosen.keys() - {"project"}
        selects = filters or self.order or self.tab != self.first_tab
        query = {
            **({"view": self.view} if self.view and not selects else {}),
            **({} if self.tab == self.first_tab else {"state": self.tab}),
            **self.chosen,
            **({"sort": self.order} if self.order else {}),
            **({"cursor": self.cursor} if self.cursor else {}),
        }
        return f"{self.path}?{urlencode(query)}" if query else self.path

    def with_tab(self, tab: str) -> str:
        return str(replace(self, tab=tab, cursor=None))

    def with_sort(self, sort: str) -> str:
        return str(replace(self, order=sort, cursor=None))

    def without(self, name: str) -> str:
        chosen = {key: value for key, value in self.chosen.items() if key != name}
        return str(replace(self, chosen=chosen, cursor=None))

    def with_cursor(self, cursor: str | None) -> str:
        return str(replace(self, cursor=cursor))

    def cleared(self) -> str:
        return self.with_only()

    def with_only(self, **filters: str) -> str:
        """The address with these filters and the required ones only."""
        chosen = {name: value for name, value in self.chosen.items() if name in self.required}
        return str(replace(self, chosen={**chosen, **filters}, cursor=None))

    @property
    def created_after(self) -> datetime | None:
        """The last millisecond before the first day."""
        begin = _midnight(self.chosen.get("from"), self.zone)
        return _shifted(begin, timedelta(milliseconds=-1))

    @property
    def created_before(self) -> datetime | None:
        """The end of the last day. The day itself is included."""
        return _midnight(self.chosen.get("to"), self.zone, days_later=1)


def read_address(
    path: str,
    query: Mapping[str, str],
    *,
    tabs: tuple[str, ...],
    projects: Sequence[Project] = (),
    view: str = "",
    zone: tzinfo = UTC,
) -> ListAddress:
    """Parse the address of a list. Unknown and invalid parameters do not filter.

    `projects` are those of the list, whose own names are valid. `view` as in `ListAddress`,
    `zone` is that of the reader.
    """
    known = {
        "provider": known_providers(projects),
        "effect_type": known_effect_types(projects),
        "mode": MODES,
    }
    chosen = _valid_filters(query, NAMES, known)
    if "event_type" in chosen and not knows_event_type(projects, chosen["event_type"]):
        del chosen["event_type"]
    tab = query.get("state") or tabs[0]
    used = chosen if tab not in tabs else {**chosen, "state": tab}
    orders = SORTS if path == INCIDENTS else EVENT_SORTS
    is_sorted = query.get("sort", "") in orders
    if is_sorted:
        used = {**used, "sort": query["sort"]}
    return ListAddress(
        path,
        tab if tab in tabs else tabs[0],
        tabs[0],
        chosen,
        query.get("cursor") or None,
        ignored=_ignored(query, used, NAMES),
        order=query["sort"] if is_sorted else None,
        view=view,
        zone=zone,
    )


def read_audit_address(query: Mapping[str, str], *, zone: tzinfo = UTC) -> ListAddress:
    """Parse the address of the audit log, which has no tabs."""
    chosen = _valid_filters(query, AUDIT_NAMES, {"action": tuple(AuditAction)})
    ignored = _ignored(query, chosen, AUDIT_NAMES)
    cursor = query.get("cursor") or None
    return ListAddress("/audit", ALL, ALL, chosen, cursor, ignored=ignored, zone=zone)


def has_empty_fields(query: Mapping[str, str]) -> bool:
    """Whether the query has empty parameters, as a browser sends for empty form fields."""
    return any(not value for value in query.values())


def _valid_filters(
    query: Mapping[str, str], names: Sequence[str], known: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """The filters that are set and valid.

    `known` lists the values of filters that have a fixed set.
    """
    given = {name: query.get(name, "").strip() for name in names}
    valid = {
        name: value
        for name, value in given.items()
        if value and len(value) <= (LONGEST_QUERY if name == "q" else LONGEST) and "\0" not in value
        if value in known.get(name, (value,))
    }
    for name in ("from", "to"):
        if _day(valid.get(name)) is None:
            valid.pop(name, None)
    return valid


def _ignored(
    query: Mapping[str, str], used: Mapping[str, str], names: Sequence[str]
) -> dict[str, str]:
    """The parameters that do not filter. An empty field of a known name is not set."""
    may_be_empty = (*names, "state", "sort")
    return {
        name: value
        for name, value in query.items()
        if name not in used and name not in _NO_FILTERS
        if value.strip() or name not in may_be_empty
    }


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return None


def _midnight(text: str | None, zone: tzinfo, *, days_later: int = 0) -> datetime | None:
    """The begin of the day in this zone, or of a later one. None for no day, and for one that is
    outside the calendar, where no entry can be.

    A day of a change of clocks has 23 or 25 hours.
    """
    day = _day(text)
    try:
        begin = None if day is None else day + timedelta(days=days_later)
        return None if begin is None else datetime.combine(begin, time(), zone).astimezone(UTC)
    except OverflowError:
        return None


def _shifted(at: datetime | None, by: timedelta) -> datetime | None:
    """The shifted instant. None if it is outside the calendar, where no entry can be."""
    try:
        return None if at is None else at + by
    except OverflowError:
        return None
