"""`makegood incident list`: the incidents that a search finds, with their references and ages."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from cli.lists.options import (
    OldestFlag,
    SortOption,
    StateOption,
    ViewOption,
    chosen_filters,
    chosen_order,
)
from cli.lists.views import with_view
from cli.local_operations import find_project_id, operate
from cli.options import CursorOption, JsonFlag, LimitOption, ProjectOption, SearchOption
from cli.output import print_rows
from domain.incidents import IncidentState
from domain.values.durations import coarse_duration
from domain.values.text import one_line
from domain.wording.harm import harm_title
from domain.wording.states import RESOLVED, STATES, reason_label, state_label

if TYPE_CHECKING:
    from domain.ids import ProjectId
    from domain.incidents import Incident
    from operations.composition import Operations
    from store.db.paging import Page
    from store.receipts.queries import IncidentRow

COLUMNS = (
    "id",
    "state",
    "age",
    "internal_reference",
    "project",
    "harm",
    "reason",
    "error",
    "amount",
    "currency",
    "event_id",
    "opened_at",
    "acknowledged_by",
    "assignee",
)
ERROR_CHARACTERS = 80
# The colours of states on a terminal.
STYLES = {
    "state": {
        STATES[IncidentState.OPEN]: "bold red",
        STATES[IncidentState.REPAIRING]: "yellow",
        **dict.fromkeys(RESOLVED.values(), "green"),
    }
}


def register(incidents: typer.Typer) -> None:
    """Put the command into the group of incidents."""
    incidents.command("list")(list_some)


def list_some(
    project: ProjectOption = None,
    state: StateOption = None,
    search: SearchOption = None,
    view: ViewOption = None,
    sort: SortOption = None,
    oldest: OldestFlag = False,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List incidents, newest first without --sort or --oldest."""
    from operations.responses.incidents import IncidentList

    order = chosen_order(sort, oldest=oldest)

    async def act(operations: "Operations") -> "tuple[Page[IncidentRow], dict[ProjectId, str]]":
        nonlocal order
        filters = chosen_filters(await find_project_id(operations, project), state, search)
        if view is not None:
            filters, of_view = await with_view(operations, filters, view)
            order = order or of_view
        page = await operations.incidents.list_incidents(filters, limit, cursor, sort=order)
        shown = {row.receipt.project_id for row in page.rows}
        projects = await operations.projects.list_projects(shown)
        return page, {one.id: one.name for one in projects}

    page, names = operate(act)
    answer = IncidentList.of(page).to_json()
    rows = [
        {
            **fields,
            "state": state_label(row.incident.state, row.incident.resolution),
            "harm": harm_title(row.receipt.effect_type, row.incident.reason),
            "reason": reason_label(row.incident.reason),
            "age": _age(row.incident.opened_at),
            "internal_reference": row.receipt.internal_reference,
            "project": names.get(row.receipt.project_id),
            "error": _error(row.incident),
        }
        for row, fields in zip(page.rows, answer["data"], strict=True)
    ]
    print_rows(answer, rows, COLUMNS, as_json=as_json, styles=STYLES)


def _age(opened_at: datetime) -> str:
    return coarse_duration((datetime.now(UTC) - opened_at).total_seconds())


def _error(incident: "Incident") -> str | None:
    """The code and the beginning of the message. None without an error."""
    parts = filter(None, (incident.error_code, incident.error_message))
    return one_line(": ".join(parts), longest=ERROR_CHARACTERS) or None
