"""`makegood destination`: adds, tests, changes and removes alert destinations, on the store.

The target of a destination, such as its URL, is read from the variable or an option. No command
prints a URL or a key.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.local_operations import cli_actor, operate_on_project
from cli.options import JsonFlag, ProjectArgument, one_of, read_replacement
from cli.output import CommandFailed, ExitCode, print_record, print_rows
from domain.alerts import AlertChannel, AlertEvent

if TYPE_CHECKING:
    from domain.projects import Project
    from operations.composition import Operations

app = typer.Typer(help="Alert destinations: where alerts go.", no_args_is_help=True)
COLUMNS = ("id", "kind", "label", "address", "state", "last_sent_at", "last_error")
_VARIABLE = "MAKEGOOD_DESTINATION_TARGET"
DestinationArgument = Annotated[
    str,
    typer.Argument(
        metavar="DESTINATION_ID",
        help="The destination's id, from `makegood destination list`.",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        envvar=_VARIABLE,
        show_envvar=True,
        help="The e-mail address, the URL, or PagerDuty's routing key. Prefer the variable for what"
        " is secret: options stay in the shell's history.",
    ),
]
Event = Annotated[
    list[str] | None,
    typer.Option("--event", help=f"{one_of(AlertEvent)} Can be repeated. Without it: all of them."),
]
Label = Annotated[str | None, typer.Option(help="A name for people.")]


@app.command("list")
def list_all(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """List the alert destinations of a project, with their health."""
    from operations.responses.alert_destinations import AlertDestinationList

    listed = operate_on_project(
        project, lambda operations, found: operations.destinations.list_destinations(found.id)
    )
    answer = AlertDestinationList.of(listed).to_json()
    print_rows(answer, answer["data"], COLUMNS, as_json=as_json)


@app.command("add")
def add(
    project: ProjectArgument,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=one_of(AlertChannel))],
    target: Target = None,
    label: Label = None,
    event: Event = None,
    as_json: JsonFlag = False,
) -> None:
    """Add an alert destination. The secret of a webhook is printed once."""
    from operations.responses.alert_destinations import CreatedAlertDestination

    content = {"kind": kind, "label": label, "events": event or None, **_target(kind, target)}
    added = operate_on_project(
        project,
        lambda operations, found: operations.destinations.add_destination(
            found.id, content, actor=cli_actor()
        ),
    )
    print_record(CreatedAlertDestination.of(added).to_json(), as_json=as_json)


@app.command("set")
def set_fields(
    project: ProjectArgument,
    destination_id: DestinationArgument,
    label: Label = None,
    event: Event = None,
    all_events: Annotated[
        bool, typer.Option("--all-events", help="Send all events there.")
    ] = False,
    replace_target: Annotated[
        bool,
        typer.Option(
            "--replace-target",
            help=f"Replace the URL or the key by {_VARIABLE}, or without it by the first line of"
            " standard input.",
        ),
    ] = False,
    disable: Annotated[
        bool | None,
        typer.Option("--disable/--enable", help="Send nothing there, or send there again."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Change what is named."""
    from operations.responses.alert_destinations import AlertDestination

    if event and all_events:
        raise CommandFailed("--event and --all-events exclude each other.", ExitCode.USAGE)
    target = read_replacement("target", _VARIABLE) if replace_target else None
    changes: dict[str, Any] = {} if label is None else {"label": label or None}
    if event or all_events:
        changes["events"] = event or None
    if disable is not None:
        changes["disabled"] = disable

    async def act(operations: "Operations", found: "Project") -> Any:
        listed = await operations.destinations.list_destinations(found.id)
        kinds = (one.channel for one in listed if one.id == destination_id)
        new_target = {} if target is None else _target(next(kinds, ""), target)
        return await operations.destinations.change_destination(
            found.id, destination_id, {**changes, **new_target}, actor=cli_actor()
        )

    print_record(AlertDestination.of(operate_on_project(project, act)).to_json(), as_json=as_json)


@app.command("test")
def send_test(
    project: ProjectArgument, destination_id: DestinationArgument, as_json: JsonFlag = False
) -> None:
    """Send a test alert now, and print what the other side said. Exits 1 if it failed."""
    from operations.responses.alert_destinations import AlertDestinationTest

    tried = operate_on_project(
        project,
        lambda operations, found: operations.destinations.test_destination(
            found.id, destination_id, actor=cli_actor()
        ),
    )
    answer = AlertDestinationTest.of(tried).to_json()
    print_record(answer, as_json=as_json)
    if not answer["ok"]:
        raise CommandFailed(f"the test failed: {answer['detail']}")


@app.command("remove")
def remove(
    project: ProjectArgument, destination_id: DestinationArgument, as_json: JsonFlag = False
) -> None:
    """Remove an alert destination. Its unsent alerts are not sent."""
    from operations.responses.alert_destinations import RemovedAlertDestination

    removed = operate_on_project(
        project,
        lambda operations, found: operations.destinations.remove_destination(
            found.id, destination_id, actor=cli_actor()
        ),
    )
    print_record(RemovedAlertDestination.of(removed).to_json(), as_json=as_json)


def _target(kind: str, target: str | None) -> dict[str, str]:
    """The field of REST that the target of this kind has. An unknown kind has none."""
    from operations.alerts.inputs import TARGET_FIELDS

    name = TARGET_FIELDS.get(kind)
    return {} if name is None or target is None else {name: target}
