"""`makegood incident`: lists incidents and runs operator actions on them, directly on the store."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from cli.local_operations import cli_actor, find_project_id, operate
from cli.options import CursorOption, JsonFlag, LimitOption, ProjectOption, one_of
from cli.output import print_json, print_record, print_rows
from domain.incidents import IncidentState
from domain.values.text import one_line
from domain.wording.harm import harm_of
from domain.wording.states import reason_label, state_label

if TYPE_CHECKING:
    from domain.ids import ProjectId
    from domain.incidents import Incident
    from domain.projects import Project
    from domain.receipts import Receipt
    from operations.composition import Operations
    from store.db.paging import Page
    from store.receipts.queries import IncidentRow

app = typer.Typer(help="Incidents: payments whose effect is missing.", no_args_is_help=True)
COLUMNS = (
    "id",
    "state",
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
IncidentArgument = Annotated[
    str, typer.Argument(metavar="INCIDENT_ID", help="The incident's id, inc_…")
]


@app.command("list")
def list_some(
    project: ProjectOption = None,
    state: Annotated[
        list[IncidentState] | None,
        typer.Option(
            metavar="STATE", help=f"Only in this state; can be repeated. {one_of(IncidentState)}"
        ),
    ] = None,
    q: Annotated[
        str | None, typer.Option("--search", help="Only where an id or reference matches.")
    ] = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List incidents, newest first."""
    from operations.responses.incidents import IncidentList
    from store.receipts.queries import ListFilters

    async def act(operations: "Operations") -> "tuple[Page[IncidentRow], dict[ProjectId, str]]":
        project_id = await find_project_id(operations, project)
        filters = ListFilters(project_id=project_id, states=tuple(state or ()), q=q)
        page = await operations.incidents.list_incidents(filters, limit=limit, cursor=cursor)
        shown = {row.receipt.project_id for row in page.rows}
        projects = await operations.projects.list_projects(shown)
        return page, {one.id: one.name for one in projects}

    page, names = operate(act)
    answer = IncidentList.of(page).to_json()
    rows = [
        {
            **fields,
            "state": state_label(row.incident.state, fields["resolution"]),
            "harm": harm_of(
                row.receipt.effect_type, row.receipt.event_type, row.incident.reason
            ).title,
            "reason": reason_label(row.incident.reason),
            "internal_reference": row.receipt.internal_reference,
            "project": names.get(row.receipt.project_id),
            "error": _error(row.incident),
        }
        for row, fields in zip(page.rows, answer["data"], strict=True)
    ]
    print_rows(answer, rows, COLUMNS, as_json=as_json)


@app.command("show")
def show(incident_id: IncidentArgument, as_json: JsonFlag = False) -> None:
    """Print one incident with the project and the reference that it belongs to."""
    from operations.responses import incidents as responses

    async def act(operations: "Operations") -> "tuple[Incident, Receipt, Project]":
        incident = await operations.incidents.read_incident(None, incident_id)
        event = await operations.events.read_event(None, incident.event_id)
        project = await operations.projects.read_project(event.receipt.project_id)
        return incident, event.receipt, project

    incident, receipt, project = operate(act)
    fields = responses.Incident.of(incident).to_json()
    if as_json:
        return print_json(fields)
    words = {
        "harm": harm_of(receipt.effect_type, receipt.event_type, incident.reason).sentence,
        "internal_reference": receipt.internal_reference,
        "project": project.name,
        "state": state_label(incident.state, fields["resolution"]),
        "reason": reason_label(incident.reason),
    }
    del fields["state"], fields["reason"], fields["resolution"]
    print_record({**words, **fields}, as_json=False)


@app.command("reprocess")
def reprocess(
    incident_id: IncidentArgument,
    confirm: Annotated[
        bool,
        typer.Option(
            "--confirm", help="Also if a later event, such as a refund, makes it doubtful."
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Call the app's repair URL, signed, so that it applies the effect. Prints the running repair
    if there is one.
    """
    from operations.responses.incidents import RepairRequested

    replay_id = operate(
        lambda operations: operations.incidents.reprocess(
            None, incident_id, actor=cli_actor(), confirm=confirm
        )
    )
    requested = RepairRequested(replay_id=replay_id, incident_id=incident_id)
    print_record(requested.to_json(), as_json=as_json)


@app.command("stop-repair")
def stop_repair(incident_id: IncidentArgument, as_json: JsonFlag = False) -> None:
    """Stop the running repair: no further call begins, and the incident is open again."""
    _act(
        lambda operations: operations.incidents.stop_repair(None, incident_id, actor=cli_actor()),
        as_json=as_json,
    )


@app.command("resolve")
def resolve(
    incident_id: IncidentArgument,
    reason: Annotated[str, typer.Option(help="Why; recorded in the timeline.")],
    as_json: JsonFlag = False,
) -> None:
    """Resolve an incident manually."""
    _act(
        lambda operations: operations.incidents.resolve(
            None, incident_id, reason=reason, actor=cli_actor()
        ),
        as_json=as_json,
    )


def _error(incident: "Incident") -> str | None:
    """The code and the beginning of the message. None without an error."""
    parts = filter(None, (incident.error_code, incident.error_message))
    return one_line(": ".join(parts), longest=ERROR_CHARACTERS) or None


def _act(action: "Callable[[Operations], Awaitable[Incident]]", *, as_json: bool) -> None:
    """Run the action and print the incident that it returns."""
    from operations.responses import incidents as responses

    print_record(responses.Incident.of(operate(action)).to_json(), as_json=as_json)
