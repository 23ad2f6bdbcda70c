"""The orders of the list of incidents: a field, with `-` before it for descending."""

from enum import StrEnum


class Sort(StrEnum):
    OPENED_AT = "opened_at"
    OPENED_AT_DESCENDING = "-opened_at"
    DEADLINE_AT = "deadline_at"
    DEADLINE_AT_DESCENDING = "-deadline_at"
    AMOUNT = "amount"
    AMOUNT_DESCENDING = "-amount"


SORTS = tuple(sort.value for sort in Sort)
NEWEST_FIRST, OLDEST_FIRST = Sort.OPENED_AT_DESCENDING.value, Sort.OPENED_AT.value
