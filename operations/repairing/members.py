"""Resolves the selection of a bulk repair to its incidents, and estimates what it would do.

`search_incidents` alone knows what `q` means, and `group_incidents` what a group is.
"""

from collections.abc import Sequence
from dataclasses import replace

from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import EventId, GroupId, IncidentId, ProjectId
from domain.repairing.bulk import MOST_ITEMS, Estimate
from operations.lists import ALL_PROJECTS, checked_filters
from operations.repairing.inputs import BulkRepairBody
from operations.validation import known_id
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.groups.queries import read_group
from store.receipts.queries import ListFilters
from store.repairing.estimate import (
    estimate,
    members_in_search,
    members_of_group,
    members_of_ids,
)

Members = Sequence[tuple[IncidentId, EventId]]
_TOO_MANY = f"More than {MOST_ITEMS:,} incidents match: narrow the selection."


async def resolve_members(
    database: Database,
    project_id: ProjectId,
    body: BulkRepairBody,
    filters: ListFilters | None,
) -> Members:
    """The incidents of the selection, each once. `filters` are those of a list of the console.

    Raises: ValidationFailed: nothing is selected, an id is unknown, or there are too many.
    """
    if body.incident_ids is not None:
        return await _named(database, project_id, body.incident_ids)
    if body.group_id is not None:
        return await group_incidents(database, project_id, body.group_id)
    if filters is not None:
        return await search_incidents(database, replace(filters, project_id=project_id))
    if body.q is not None:
        return await search_incidents(database, ListFilters(project_id=project_id, q=body.q))
    message = "Give one of q, incident_ids and group_id."
    raise ValidationFailed(errors=(FieldError("", "required", message),))


async def search_incidents(database: Database, filters: ListFilters) -> Members:
    """The incidents that the list shows for these filters, the oldest first.

    Raises: ValidationFailed: an ill-formed filter, a refused search, or too many incidents.
    """
    async with database.searching(filters.project_id or ALL_PROJECTS) as session:
        checked = await checked_filters(database, session, filters)
        found = await members_in_search(session, checked, limit=MOST_ITEMS + 1)
    if len(found) > MOST_ITEMS:
        raise ValidationFailed(errors=(FieldError("/q", "too_many", _TOO_MANY),))
    return found


async def group_incidents(database: Database, project_id: ProjectId, group_id: str) -> Members:
    """The unresolved incidents of the group, the oldest first.

    Raises:
        NotFound: the project has no such group.
        ValidationFailed: it has too many incidents.
    """
    wanted = GroupId(known_id(group_id))
    async with database.searching(project_id) as session:
        now = await database.now(session)
        if await read_group(session, project_id, wanted, now) is None:
            raise NotFound(f"No group of this project has the id {wanted}.")
        found = await members_of_group(
            SessionStatements(session), project_id, wanted, limit=MOST_ITEMS + 1
        )
    if len(found) > MOST_ITEMS:
        raise ValidationFailed(errors=(FieldError("/group_id", "too_many", _TOO_MANY),))
    return found


async def estimate_members(
    database: Database, project_id: ProjectId, members: Members, *, include_superseded: bool
) -> Estimate:
    """What a bulk repair of these incidents would do now."""
    async with database.searching(project_id) as session:
        now = await database.now(session)
        return await estimate(
            SessionStatements(session),
            project_id,
            members,
            now,
            include_superseded=include_superseded,
        )


async def _named(database: Database, project_id: ProjectId, ids: Sequence[str]) -> Members:
    """The named incidents. Raises: ValidationFailed naming the first that the project has not."""
    wanted = tuple(dict.fromkeys(IncidentId(known_id(one)) for one in ids))
    async with database.searching(project_id) as session:
        found = await members_of_ids(SessionStatements(session), project_id, wanted)
    for position, one in enumerate(ids):
        if known_id(one) not in found:
            message = "No incident of this project has this id."
            pointer = f"/incident_ids/{position}"
            raise ValidationFailed(errors=(FieldError(pointer, "not_found", message),))
    return [(incident_id, found[incident_id]) for incident_id in wanted]
