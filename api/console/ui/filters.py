"""The filters of a list as its address holds them, and the addresses of the same list with one thing changed. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import urlencode

from domain.audit import AuditAction

PROVIDERS = ("stripe", "shopify")
EVENT_TYPES = (
    "checkout.session.completed",
    "invoice.paid",
    "customer.subscription.deleted",
    "customer.subscription.updated",
    "charge.refunded",
    "charge.dispute.created",
    "orders/paid",
    "orders/fulfilled",
    "customers/create",
    "checkouts/create",
)
EFFECT_TYPES = (
    "access_unlock",
    "credit_grant",
    "seat_update",
    "subscription_state_apply",
    "access_revocation",
    "credit_deduction",
)
INCIDENT_TABS = ("open", "repairing", "resolved", "all")
EVENT_TABS = ("all", "waiting", "incident", "applied", "recovered", "closed")
AUDIT_NAMES = ("project", "actor", "action", "from", "to")
NAMES = ("project", "provider", "event_type", "effect_type", "internal_reference", "q", "from", "to")
LONGEST = 255


@dataclass(frozen=True, slots=True)
class ListAddress:
    """Where in a list one is: its path, tab, filters (only those that are set) and cursor (None: the newest).

    The filters that `stays` names are there in every address that leads on, since the list is for nobody without them.
    """

    path: str
    tab: str
    first_tab: str
    chosen: Mapping[str, str]
    cursor: str | None
    stays: tuple[str, ...] = ()

    @property
    def state(self) -> str | None:
        """The state that the tab asks for; None for all."""
        return None if self.tab == "all" else self.tab

    def __str__(self) -> str:
        query = {
            **({} if self.tab == self.first_tab else {"state": self.tab}),
            **self.chosen,
            **({"cursor": self.cursor} if self.cursor else {}),
        }
        return f"{self.path}?{urlencode(query)}" if query else self.path

    def with_tab(self, tab: str) -> str:
        return str(replace(self, tab=tab, cursor=None))

    def without(self, name: str) -> str:
        chosen = {key: value for key, value in self.chosen.items() if key != name}
        return str(replace(self, chosen=chosen, cursor=None))

    def at(self, cursor: str | None) -> str:
        return str(replace(self, cursor=cursor))

    def cleared(self) -> str:
        return self.narrowed()

    def narrowed(self, **filters: str) -> str:
        """With these filters and no others."""
        chosen = {name: value for name, value in self.chosen.items() if name in self.stays}
        return str(replace(self, chosen={**chosen, **filters}, cursor=None))

    @property
    def created_after(self) -> datetime | None:
        """The last instant before the first day, UTC."""
        return _moved(_midnight(self.chosen.get("from")), timedelta(milliseconds=-1))

    @property
    def created_before(self) -> datetime | None:
        """The end of the last day, UTC: the day itself is in the list."""
        return _moved(_midnight(self.chosen.get("to")), timedelta(days=1))


def read_address(path: str, query: Mapping[str, str], *, tabs: tuple[str, ...]) -> ListAddress:
    """The address of a list; what it does not know or cannot read is left out, as if it had not been asked."""
    known = {"provider": PROVIDERS, "event_type": EVENT_TYPES, "effect_type": EFFECT_TYPES}
    kept = _kept(query, NAMES, known)
    tab = query.get("state", tabs[0])
    return ListAddress(path, tab if tab in tabs else tabs[0], tabs[0], kept, query.get("cursor") or None)


def read_audit_address(query: Mapping[str, str]) -> ListAddress:
    """The address of the audit log, which has no tabs."""
    kept = _kept(query, AUDIT_NAMES, {"action": tuple(AuditAction)})
    return ListAddress("/audit", "all", "all", kept, query.get("cursor") or None)


def has_empty_fields(query: Mapping[str, str]) -> bool:
    """Whether a form was sent with fields left empty; its address is then shortened to what was chosen."""
    return any(not value for value in query.values())


def _kept(query: Mapping[str, str], names: Sequence[str], known: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The filters that are set to something; `known` are the values of those that have but a few."""
    chosen = {name: query.get(name, "").replace("\0", "").strip()[:LONGEST] for name in names}
    kept = {name: value for name, value in chosen.items() if value and value in known.get(name, (value,))}
    for name in ("from", "to"):
        if _midnight(kept.get(name)) is None:
            kept.pop(name, None)
    return kept


def _midnight(day: str | None) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(day or ""), time(), tzinfo=UTC)
    except ValueError:
        return None


def _moved(at: datetime | None, by: timedelta) -> datetime | None:
    """None where that leaves the calendar: nothing lies beyond its first and last day."""
    try:
        return None if at is None else at + by
    except OverflowError:
        return None
