"""`makegood incident`: shows incidents and runs operator actions on them, directly on the store."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from cli.local_operations import cli_actor, operate
from cli.options import JsonFlag
from cli.output import print_json, print_record
from domain.wording.harm import harm_of
from domain.wording.states import reason_label, state_label

if TYPE_CHECKING:
    from domain.incidents import Incident
    from domain.projects import Project
    from domain.receipts import Receipt
    from operations.composition import Operations

app = typer.Typer(help="Incidents: payments whose effect is missing.", no_args_is_help=True)
IncidentArgument = Annotated[
    str, typer.Argument(metavar="INCIDENT_ID", help="The incident's id, inc_…")
]


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


def _act(action: "Callable[[Operations], Awaitable[Incident]]", *, as_json: bool) -> None:
    """Run the action and print the incident that it returns."""
    from operations.responses import incidents as responses

    print_record(responses.Incident.of(operate(action)).to_json(), as_json=as_json)
