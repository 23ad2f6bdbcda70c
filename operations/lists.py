"""The filters, the limits and the pages of the lists of events and incidents."""

from dataclasses import dataclass
from datetime import datetime

from domain.ids import ProjectId
from operations.validation import Json, check_texts, known_id
from store.receipts import queries

DEFAULT_LIMIT = 20
MAXIMUM_LIMIT = 100
# The store limits queries per caller. Callers that see every project, the console and the command
# line, share this name.
ALL_PROJECTS = "*"


@dataclass(frozen=True, slots=True)
class ListFilters:
    """The filters of a list; None means no filter. `state` may name several, with commas."""

    state: str | None = None
    provider: str | None = None
    event_type: str | None = None
    effect_type: str | None = None
    internal_reference: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    q: str | None = None


def store_filters(project_id: str | None, filters: ListFilters) -> queries.ListFilters:
    """The filters as the store takes them, for one project or all. Raises: ValidationFailed."""
    check_texts(q=filters.q, internal_reference=filters.internal_reference)
    return queries.ListFilters(
        project_id=project_or_none(project_id),
        states=tuple(part for part in (filters.state or "").split(",") if part),
        provider=filters.provider,
        event_type=filters.event_type,
        effect_type=filters.effect_type,
        internal_reference=filters.internal_reference,
        created_after=filters.created_after,
        created_before=filters.created_before,
        q=filters.q,
    )


def project_or_none(project_id: str | None) -> ProjectId | None:
    """The id as the store takes it; None means every project."""
    return None if project_id is None else ProjectId(known_id(project_id))


def page_view(rows: list[Json], next_cursor: str | None) -> Json:
    """A page of a list; `next_cursor` is None on the last page."""
    return {"data": rows, "has_more": next_cursor is not None, "next_cursor": next_cursor}
