"""The limits of lists, and the check of their filters."""

from dataclasses import replace

from domain.ids import ProjectId
from operations.validation import check_texts, known_id
from store.receipts.queries import ListFilters

DEFAULT_LIMIT = 20
MAXIMUM_LIMIT = 100
# The store limits queries per caller. Callers that see every project, the console and the command
# line, share this name.
ALL_PROJECTS = "*"


def checked_filters(filters: ListFilters) -> ListFilters:
    """The filters with an id that can be looked up. Raises: ValidationFailed for bad text."""
    check_texts(q=filters.q, internal_reference=filters.internal_reference)
    return replace(filters, project_id=project_or_none(filters.project_id))


def project_or_none(project_id: str | None) -> ProjectId | None:
    """The id as the store takes it; None means every project."""
    return None if project_id is None else ProjectId(known_id(project_id))
