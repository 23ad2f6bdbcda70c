"""The tabs of the list of incidents, by the table tab -> search. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from domain.search.sorting import NEWEST_FIRST, OLDEST_FIRST

ALL = "all"
MODES = ("live", "test")


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab: its label, the search that all its incidents meet, and the order without another."""

    label: str
    search: str
    sort: str = OLDEST_FIRST


TABS: Mapping[str, Tab] = {
    "open": Tab("Open", "is:open"),
    "repairing": Tab("Repairing", "is:repairing"),
    "acknowledged": Tab("Acknowledged", "is:acknowledged"),
    "snoozed": Tab("Snoozed", "is:snoozed"),
    "resolved": Tab("Resolved", "is:resolved", NEWEST_FIRST),
    ALL: Tab("All", "", NEWEST_FIRST),
}
SEARCHES = {name: tab.search for name, tab in TABS.items()}
DEFAULT_SORTS: Mapping[str, str] = {name: tab.sort for name, tab in TABS.items()}
