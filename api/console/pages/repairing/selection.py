"""The selection of a bulk repair, as an address or a form of the console has it.

Selected incidents are the repeated parameter `incident`, or the text `incident_ids`; those of a
group are `group`. Otherwise the parameters are those of the list of incidents.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from api.console.pages.incident_list.page import incident_address
from api.console.sign_in.sessions import Viewer
from api.console.ui.filters import ListAddress
from api.console.ui.incident_tabs import TABS
from api.console.ui.list_queries import list_filters
from domain.ids import ProjectId
from domain.projects import Project
from domain.repairing.bulk import Plan
from store.db.database import Database
from store.receipts.queries import ListFilters

PLAN_FIELDS = ("first", "then", "per_minute", "stop_at_failed_percent")
_DIGITS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Selection:
    """The incidents that were selected: by id, by their group, or by the filters of `address`."""

    project_id: ProjectId | None
    incident_ids: tuple[str, ...]
    group_id: str | None
    address: ListAddress

    @property
    def fields(self) -> dict[str, str]:
        """The selection as hidden fields of a form."""
        if self.incident_ids:
            return {"incident_ids": " ".join(self.incident_ids)}
        if self.group_id:
            return {"group": self.group_id}
        return {**self.address.chosen, "state": self.address.tab}

    @property
    def query(self) -> str:
        """The selection as the query of an address, with its project."""
        project = {"project": self.project_id} if self.project_id else {}
        return urlencode(project | self.fields)

    async def filters(self, database: Database, viewer: Viewer) -> ListFilters | None:
        """The filters of the list; None for selected incidents and for a group.

        Raises: ValidationFailed for a refused search.
        """
        if self.incident_ids or self.group_id:
            return None
        async with database.reading() as session:
            filters = await list_filters(database, session, self.address, viewer)
        return replace(filters, also=TABS[self.address.tab].search)

    def body(self, typed: Mapping[str, str]) -> dict[str, Any]:  # Any: JSON values
        """The body of REST's POST, with what was typed."""
        plan = {name: _whole(typed[name]) for name in PLAN_FIELDS if typed.get(name, "").strip()}
        named: dict[str, Any] = {"group_id": self.group_id} if self.group_id else {}
        if self.incident_ids:
            named = {"incident_ids": list(self.incident_ids)}
        return {
            **named,
            "reason": typed.get("reason", "").strip(),
            "plan": plan,
            "include_superseded": typed.get("include_superseded") == "on",
        }


def selection_of_query(request: Request, projects: Sequence[Project], viewer: Viewer) -> Selection:
    """The selection of an address."""
    query = request.query_params
    ids = [*query.getlist("incident"), *query.get("incident_ids", "").replace(",", " ").split()]
    return _selection(dict(query), ids, projects, viewer)


def selection_of_form(
    fields: Mapping[str, str], projects: Sequence[Project], viewer: Viewer
) -> Selection:
    """The selection of a form. Its repeated fields are one text."""
    text = f"{fields.get('incident', '')} {fields.get('incident_ids', '')}"
    return _selection(fields, text.replace(",", " ").split(), projects, viewer)


def default_plan() -> dict[str, int]:
    """What the form shows first."""
    plan = Plan()
    return {name: getattr(plan, name) for name in PLAN_FIELDS}


def _selection(
    given: Mapping[str, str], ids: Sequence[str], projects: Sequence[Project], viewer: Viewer
) -> Selection:
    address = incident_address(given, projects, viewer)
    named = address.chosen.get("project") or (projects[0].id if len(projects) == 1 else None)
    project_id = None if named is None else ProjectId(named)
    group_id = given.get("group", "").strip() or None
    return Selection(project_id, tuple(dict.fromkeys(ids)), group_id, address)


def _whole(text: str) -> int | str:
    """The number typed. Other text is returned as it is, for the shared validation to reject."""
    return int(text) if _DIGITS.fullmatch(text.strip()) else text
