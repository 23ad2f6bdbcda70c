"""The query parameters of the REST lists: page, time range and filters."""

import re
from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from domain.projects import Project
from domain.search.query import LONGEST_QUERY
from domain.search.sorting import EventSort, Sort
from operations.lists import MAXIMUM_LIMIT
from operations.names import EffectTypeText, EventTypeText, ProviderText, check_known
from operations.validation import Reference, WireInstant
from store.receipts.queries import ListFilters


def _digits(value: object) -> object:
    """The value if it is digits. Pydantic alone also takes `1_0`, blanks and `1.0`."""
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]+", value):
        raise PydanticCustomError("wrong_type", "Must be a whole number.")
    return value


Limit = Annotated[int, BeforeValidator(_digits), Query(ge=1, le=MAXIMUM_LIMIT)]
Cursor = Annotated[Reference | None, Query(description="The `next_cursor` of the previous page.")]
CreatedAfter = Annotated[WireInstant | None, Query(description="Created after this instant.")]
CreatedBefore = Annotated[WireInstant | None, Query(description="Created before this instant.")]
Search = Annotated[
    str | None,
    Query(
        max_length=LONGEST_QUERY,
        pattern=r"^[^\x00]*$",
        description="A search: tokens such as `is:open`, `provider:`, `type:`, `effect:`, "
        "`reason:`, `error:`, `ref:`, `customer:`, `assignee:`, `group:`, `age:>1h` and "
        "`amount:>100`, and free words. A word is part of a reference, of the provider's event "
        "id, or of the incident's error, or a full id of ours. Values with spaces are in double "
        "quotes. The case of ASCII letters does not matter; that of other letters does.",
    ),
]
SortOrder = Annotated[
    Sort | None, Query(description="The order; `-` before a field is descending.")
]
EventSortOrder = Annotated[
    EventSort | None,
    Query(
        description="The order; `-` before a field is descending. By `deadline_at` the list has "
        "those events alone whose deadline is ahead: `expected` and `waiting`."
    ),
]


class ListQuery:
    """The filters that the lists of events and incidents share."""

    def __init__(
        self,
        provider: Annotated[ProviderText | None, Query()] = None,
        event_type: Annotated[EventTypeText | None, Query()] = None,
        effect_type: Annotated[EffectTypeText | None, Query()] = None,
        internal_reference: Annotated[Reference | None, Query()] = None,
        created_after: CreatedAfter = None,
        created_before: CreatedBefore = None,
        q: Search = None,
    ) -> None:
        self._fields: dict[str, Any] = {  # Any: each field has its filter's type
            "provider": provider,
            "event_type": event_type,
            "effect_type": effect_type,
            "internal_reference": internal_reference,
            "created_after": created_after,
            "created_before": created_before,
            "q": q,
        }

    def filters(self, project: Project, state: str | None) -> ListFilters:
        """The filters with the caller's project and the list's state; None for all states.

        Raises: ValidationFailed for a name that the project does not know.
        """
        kinds = ("provider", "event_type", "effect_type")
        check_known([project], **{name: self._fields[name] for name in kinds})
        states = () if state is None else (state,)
        return ListFilters(project_id=project.id, states=states, **self._fields)


ListQueryParameters = Annotated[ListQuery, Depends()]
