"""The orders of lists: a field, with `-` before it for descending."""

from enum import StrEnum


class Sort(StrEnum):
    """Those of incidents."""

    OPENED_AT = "opened_at"
    OPENED_AT_DESCENDING = "-opened_at"
    DEADLINE_AT = "deadline_at"
    DEADLINE_AT_DESCENDING = "-deadline_at"
    AMOUNT = "amount"
    AMOUNT_DESCENDING = "-amount"


class EventSort(StrEnum):
    """Those of receipts: when they came; and by deadline those alone whose deadline is ahead."""

    OPENED_AT = Sort.OPENED_AT.value
    OPENED_AT_DESCENDING = Sort.OPENED_AT_DESCENDING.value
    DEADLINE_AT = Sort.DEADLINE_AT.value
    DEADLINE_AT_DESCENDING = Sort.DEADLINE_AT_DESCENDING.value


EVENT_SORTS = tuple(sort.value for sort in EventSort)
SORTS = tuple(sort.value for sort in Sort)
NEWEST_FIRST, OLDEST_FIRST = Sort.OPENED_AT_DESCENDING.value, Sort.OPENED_AT.value
