"""The conditions of a search's tokens on a row of a list, by the table token -> condition.

`CONDITIONS` is the only place that says which column a token reads. A token of the language that
has no row there is refused: this installation cannot look for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from domain.errors import FieldError, ValidationFailed
from domain.search.query import POINTER, AmountBound, SearchQuery
from domain.search.tokens import MUTED, NOBODY
from domain.values.timestamps import ceil_unix_ms, to_unix_ms
from store.db.sql import Dialect, Value
from store.receipts.lists.filters import Wanted
from store.receipts.lists.order import ListedTable
from store.receipts.lists.ranges import ANY_ROW, Condition
from store.receipts.lists.texts import both, contains, of_incident, of_receipt
from store.schema.tables import RECEIPT_IS_UNDECIDED

# The id of the user whom `assignee:` names: an address, an id, or nobody.
ASSIGNEE_ID = (
    "COALESCE((SELECT id FROM users WHERE email = CAST(:value AS TEXT)), CAST(:value AS TEXT))"
)


class Of(Enum):
    """Whose columns a condition reads: of the row `t` of either list, its receipt, its incident."""

    ROW = "row"
    RECEIPT = "receipt"
    INCIDENT = "incident"


@dataclass(frozen=True, slots=True)
class TokenCondition:
    """The SQL of a token: on `t`, on a receipt `{r}`, or on an incident `{i}`. `:value` is its
    value.
    """

    of: Of
    sql: str


# By `is:MARK` or by the key. The value of `is:muted` is the instant of the search.
CONDITIONS: Mapping[str, TokenCondition] = {
    "is:acknowledged": TokenCondition(
        Of.INCIDENT, "({i}.acknowledged_at IS NOT NULL AND {i}.state <> 'resolved')"
    ),
    "is:snoozed": TokenCondition(
        Of.INCIDENT, "({i}.snoozed_until IS NOT NULL AND {i}.state <> 'resolved')"
    ),
    "is:muted": TokenCondition(
        Of.INCIDENT,
        "({i}.state <> 'resolved' AND COALESCE((SELECT g.muted_until > CAST(:value AS BIGINT)"
        " FROM incident_groups AS g WHERE g.id = {i}.group_id), false))",
    ),
    "group": TokenCondition(Of.INCIDENT, "COALESCE({i}.group_id, '') = CAST(:value AS TEXT)"),
    "is:assigned": TokenCondition(Of.INCIDENT, "{i}.assignee IS NOT NULL"),
    "assignee": TokenCondition(
        Of.INCIDENT, f"COALESCE({{i}}.assignee, '{NOBODY}') = {ASSIGNEE_ID}"
    ),
    "is:flagged": TokenCondition(Of.RECEIPT, "{r}.flags <> ''"),
    "reason": TokenCondition(Of.INCIDENT, "{i}.reason = CAST(:value AS TEXT)"),
    "error": TokenCondition(Of.INCIDENT, "COALESCE({i}.error_code, '') = CAST(:value AS TEXT)"),
    "customer": TokenCondition(Of.ROW, "COALESCE(t.customer_reference, '') = CAST(:value AS TEXT)"),
}
# These are filters too (`store.receipts.lists.filters.Wanted`).
_FILTERS = ("provider", "type", "effect", "ref")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def is_available(token: str) -> bool:
    """Whether `is:MARK`, or the key of a token, can be looked for."""
    return token in CONDITIONS or token in _FILTERS or token in ("age", "amount")


def check_available(search: SearchQuery) -> None:
    """Refuse tokens that no column holds. Raises: ValidationFailed at `/q`."""
    asked = [f"is:{mark}" for mark in search.marks] + list(search.values)
    missing = [token for token in asked if not is_available(token)]
    if missing:
        raise ValidationFailed(
            errors=tuple(
                FieldError(POINTER, "not_available", f"`{_shown(token)}` is not available here.")
                for token in missing
            )
        )


def row_condition(
    dialect: Dialect, table: ListedTable, wanted: Wanted, *, without: tuple[str, ...] = ()
) -> Condition:
    """The condition on the row `t` of a list by its tokens, and by its words beyond the first.

    `without` names tokens that the ranges already meet, `times` among them.
    """
    search, found = wanted.search, ANY_ROW
    if table.is_of_events and not table.is_by_time:
        found = Condition(f"t.{RECEIPT_IS_UNDECIDED}", {})
    if search.states and table.is_of_events:
        found = both(found, of_incident(table, _one_of_states(search.states)))
    for mark in search.marks:
        if f"is:{mark}" not in without:
            found = both(found, _of_token(table, f"is:{mark}", value_of_mark(mark, wanted)))
    for key, value in search.values.items():
        if key not in _FILTERS and key not in without:
            found = both(found, _of_token(table, key, value))
    for number, bound in enumerate(search.amounts):
        found = both(found, _of_amount(bound, _LETTERS[number % 26] * (1 + number // 26)))
    for letter, word in zip("abcdefghij", indexed_last(search.words)[:-1], strict=False):
        found = both(found, of_receipt(table, contains(dialect, word, name=f"_{letter}")))
    return found if "times" in without else both(found, _of_times(table, wanted))


def kind_condition(table: ListedTable, wanted: Wanted) -> Condition:
    """The condition on state, provider and types, for rows that no range of kinds has."""
    names = {"event_type": wanted.event_type, "effect_type": wanted.effect_type}
    found = ANY_ROW
    for name, value in names.items():
        if value is not None:
            found = both(found, Condition(f"t.{name} = CAST(:{name} AS TEXT)", {name: value}))
    if wanted.provider is not None:
        of_provider = Condition(
            "{r}.provider = CAST(:provider AS TEXT)", {"provider": wanted.provider}
        )
        found = both(found, of_receipt(table, of_provider))
    if wanted.states:
        # A state has no comma in it.
        states = {"states": f",{','.join(wanted.states)},"}
        sql = "CAST(:states AS TEXT) LIKE '%,' || t.state || ',%'"
        found = both(found, Condition(sql, states))
    return found


def indexed_last(words: tuple[str, ...]) -> list[str]:
    """The words; the one that is looked up in the index comes last. It is the longest."""
    return sorted(words, key=len)


def value_of_mark(mark: str, wanted: Wanted) -> Value:
    """The value that the condition of `is:MARK` compares with."""
    if mark != MUTED:
        return mark
    if wanted.now is None:
        raise AssertionError("a search for what is muted is asked at an instant")
    return to_unix_ms(wanted.now)


def _of_token(table: ListedTable, token: str, value: Value) -> Condition:
    known = CONDITIONS[token]
    name = token.removeprefix("is:")
    values: dict[str, Value] = {name: value} if ":value" in known.sql else {}
    condition = Condition(known.sql.replace(":value", f":{name}"), values)
    match known.of:
        case Of.ROW:
            return condition
        case Of.RECEIPT:
            return of_receipt(table, condition)
        case Of.INCIDENT:
            return of_incident(table, condition)


def _one_of_states(states: tuple[str, ...]) -> Condition:
    sql = "CAST(:incident_states AS TEXT) LIKE '%,' || {i}.state || ',%'"
    return Condition(sql, {"incident_states": f",{','.join(states)},"})


def _of_amount(bound: AmountBound, name: str) -> Condition:
    """A comparison of the amount. An entry without one does not match."""
    amount, currency = f"amount_{name}", f"currency_{name}"
    sql = f"COALESCE(t.amount {bound.operator} CAST(:{amount} AS BIGINT), false)"
    if bound.currency is None:
        return Condition(sql, {amount: bound.amount})
    of_currency = f"COALESCE(t.currency, '') = CAST(:{currency} AS TEXT)"
    return Condition(f"({of_currency} AND {sql})", {amount: bound.amount, currency: bound.currency})


def _of_times(table: ListedTable, wanted: Wanted) -> Condition:
    found = ANY_ROW
    if wanted.after is not None:
        sql = f"t.{table.created_at} > CAST(:came_after AS BIGINT)"
        found = both(found, Condition(sql, {"came_after": to_unix_ms(wanted.after)}))
    if wanted.before is not None:
        sql = f"t.{table.created_at} < CAST(:came_before AS BIGINT)"
        found = both(found, Condition(sql, {"came_before": ceil_unix_ms(wanted.before)}))
    return found


def _shown(token: str) -> str:
    return token if token.startswith("is:") else f"{token}:"
