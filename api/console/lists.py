"""What the two lists have in common: their rows, filters, tabs and pages."""

from collections.abc import Mapping, Sequence
from typing import Any

from api.console import filters
from api.console.console import Console
from api.console.filters import ListAddress
from api.operations import ListFilters

ROWS = 25
# The REST shape of an answer: JSON, so its values are of any JSON type.
Json = Mapping[str, Any]


def filters_for(address: ListAddress) -> ListFilters:
    """What the list's address asks of the store."""
    chosen = address.chosen
    return ListFilters(
        state=address.state,
        provider=chosen.get("provider"),
        event_type=chosen.get("event_type"),
        effect_type=chosen.get("effect_type"),
        internal_reference=chosen.get("internal_reference"),
        created_after=address.created_after,
        created_before=address.created_before,
        q=chosen.get("q"),
    )


async def list_values(console: Console, address: ListAddress, page: Json, *, tabs: Sequence[str]) -> dict[str, object]:
    """What both list templates need beside their rows."""
    projects = await all_projects(console)
    return {
        "address_of": address,
        "tabs": tabs,
        "projects": projects,
        "project_names": {project["project_id"]: project["name"] for project in projects},
        "providers": filters.PROVIDERS,
        "event_types": filters.EVENT_TYPES,
        "effect_types": filters.EFFECT_TYPES,
        "counts": await console.operations.counts(address.chosen.get("project")),
        "has_more": page["has_more"],
        "next_cursor": page["next_cursor"],
    }


async def all_projects(console: Console) -> list[Json]:
    """Every project, by name."""
    answer = await console.operations.list_projects()
    return sorted(answer["data"], key=lambda project: str(project["name"]).lower())
