"""The condition that the texts of a receipt contain a word of a search.

A word matches part of the internal reference, of the customer's reference, of the provider's id, or
of the incident's error code and message; or a whole id: of the event, its incident, a repair or the
request that brought the receipt. The case of ASCII letters does not matter; that of others does,
because SQLite folds ASCII alone and PostgreSQL by the locale of its server.
"""

from store.db.sql import Dialect
from store.receipts.lists.order import ListedTable
from store.receipts.lists.ranges import ANY_ROW, Condition

# Never NULL, which is no answer. Only these states have an incident.
_CONTAINS = """
  ({like_reference} OR {like_provider_id} OR {like_customer}
  OR {r}.event_id = CAST(:q{n} AS TEXT) OR {r}.request_id = CAST(:q{n} AS TEXT)
  OR {r}.event_id IN (SELECT event_id FROM incidents WHERE id = CAST(:q{n} AS TEXT))
  OR {r}.event_id IN (SELECT event_id FROM repairs WHERE replay_id = CAST(:q{n} AS TEXT))
  OR ({r}.state IN ('incident', 'recovered', 'closed') AND
    COALESCE((SELECT {like_error} FROM incidents AS e WHERE e.event_id = {r}.event_id), false)))"""
_LIKE = {
    "sqlite": "lower({0}) LIKE lower(CAST(:pattern{n} AS TEXT)) ESCAPE '/'",
    "postgresql": (
        'lower({0} COLLATE pg_catalog."C")'
        " LIKE lower(CAST(:pattern{n} AS TEXT) COLLATE pg_catalog.\"C\") ESCAPE '/'"
    ),
}
ERROR_TEXT = {
    "sqlite": "(COALESCE({0}.error_code, '') || char(10) || COALESCE({0}.error_message, ''))",
    "postgresql": "(COALESCE({0}.error_code, '') || chr(10) || COALESCE({0}.error_message, ''))",
}


def contains(dialect: Dialect, word: str, *, name: str = "") -> Condition:
    """The condition on a receipt `{r}`. `name` distinguishes the values of several words."""

    def like(text: str) -> str:
        return _LIKE[dialect].format(text, n=name)

    sql = _CONTAINS.format(
        r="{r}",
        n=name,
        like_reference=like("{r}.internal_reference"),
        like_provider_id=like("{r}.provider_event_id"),
        like_customer=like("COALESCE({r}.customer_reference, '')"),
        like_error=like(ERROR_TEXT[dialect].format("e")),
    )
    return Condition(sql, texts_of(word, name=name))


def error_contains(dialect: Dialect, incident: str) -> str:
    """The condition that the error of an incident contains the text of `:pattern`."""
    return _LIKE[dialect].format(ERROR_TEXT[dialect].format(incident), n="")


def texts_of(word: str, *, name: str = "") -> dict[str, str]:
    """The values of `contains`. The escape character of the pattern is a slash."""
    escaped = word.replace("/", "//").replace("%", "/%").replace("_", "/_")
    return {f"q{name}": word, f"pattern{name}": f"%{escaped}%"}


def of_receipt(table: ListedTable, condition: Condition | None) -> Condition:
    """A condition on the receipt `{r}` as one on the row `t` of a list."""
    if condition is None:
        return ANY_ROW
    if table.is_of_events:
        return Condition(condition.sql.format(r="t"), condition.values)
    # Not EXISTS, for which PostgreSQL would make a hash table of all receipts.
    sql = condition.sql.format(r="r")
    sql = f"(SELECT {sql} FROM receipts AS r WHERE r.event_id = t.event_id)"  # noqa: S608 - constants only
    return Condition(sql, condition.values)


def of_incident(table: ListedTable, condition: Condition) -> Condition:
    """A condition on the incident `{i}` as one on the row `t` of a list."""
    if not table.is_of_events:
        return Condition(condition.sql.format(i="t"), condition.values)
    sql = condition.sql.format(i="i")
    sql = f"COALESCE((SELECT {sql} FROM incidents AS i WHERE i.event_id = t.event_id), false)"  # noqa: S608 - constants only
    return Condition(sql, condition.values)


def both(one: Condition, other: Condition) -> Condition:
    """The condition that both hold."""
    if one is ANY_ROW or other is ANY_ROW:
        return other if one is ANY_ROW else one
    return Condition(f"({one.sql}) AND ({other.sql})", {**one.values, **other.values})
