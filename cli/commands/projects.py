"""`makegood project`: creates, changes, suspends and deletes projects, directly on the store."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.local_operations import cli_actor, find_project, operate
from cli.options import JsonFlag, ProjectArgument, one_of
from cli.output import (
    CommandFailed,
    ExitCode,
    print_end_of_list,
    print_notice,
    print_record,
    print_rows,
)
from cli.overview.options import SilentAfterMinutes, SilentEventTypes, silence_changes
from domain.projects import Mode, Scope
from domain.receipts import DEFAULT_TIMEOUT_MINUTES
from domain.results import EarlyResults, LateResult

if TYPE_CHECKING:
    from domain.projects import Project
    from operations.composition import Operations
    from operations.credentials.signing_secrets import CreatedSigningSecret
    from operations.projects import DeletedProject
    from operations.responses.projects import ChangedProject, ProjectInRotation

app = typer.Typer(help="Projects and their settings.", no_args_is_help=True)
COLUMNS = (
    *("project_id", "name", "mode", "timeout_minutes"),
    *("repair_url", "alert_emails", "suspended"),
)


# Any: typer's options have no public type.
def _own_names(option: str, what: str) -> Any:
    """An option with names of the project's own sets."""
    return typer.Option(option, metavar="NAME", help=f"{what}; can be repeated. Replaces all.")


RepairUrl = Annotated[str | None, typer.Option(help="The app's repair endpoint, https.")]
AlertEmails = Annotated[
    list[str] | None,
    typer.Option("--alert-email", help="Recipient of incident alerts; can be repeated."),
]
TimeoutMinutes = Annotated[
    float | None, typer.Option(help="Default time in which a result must arrive.")
]
Scopes = Annotated[
    list[Scope] | None,
    typer.Option(
        "--scope",
        metavar="SCOPE",
        help=f"What the key may do; can be repeated. {one_of(Scope)} Default: ingest.",
    ),
]
Providers = Annotated[list[str] | None, _own_names("--provider", "A provider of its own")]
EventTypes = Annotated[list[str] | None, _own_names("--event-type", "One more event type")]
EffectTypes = Annotated[list[str] | None, _own_names("--effect-type", "One more effect")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A unique name.")],
    mode: Annotated[
        Mode, typer.Option(help="Test projects allow short timeouts and `receipt expire`.")
    ],
    repair_url: RepairUrl = None,
    alert_emails: AlertEmails = None,
    timeout_minutes: TimeoutMinutes = None,
    scopes: Scopes = None,
    as_json: JsonFlag = False,
) -> None:
    """Create a project and print its first API key and signing secret; neither is shown again."""
    from operations.responses.projects import CreatedProject

    timeout = DEFAULT_TIMEOUT_MINUTES if timeout_minutes is None else timeout_minutes
    created = operate(
        lambda operations: operations.projects.create_project(
            name=name,
            mode=mode,
            repair_url=repair_url,
            alert_emails=alert_emails or (),
            timeout_minutes=timeout,
            scopes=scopes or (Scope.INGEST,),
            actor=cli_actor(),
        )
    )
    print_record(CreatedProject.of(created).to_json(), as_json=as_json)
    if not as_json:
        print_notice("Store the API key and the signing secret now: they are not shown again.")


@app.command("list")
def list_all(as_json: JsonFlag = False) -> None:
    """List the newest 1,000 projects."""
    from operations.responses.projects import ProjectList

    listed = operate(lambda operations: operations.projects.list_projects())
    answer = ProjectList.of(listed).to_json()
    print_rows(answer, answer["data"], COLUMNS, as_json=as_json)
    print_end_of_list(answer["data"], "projects")


@app.command("show")
def show(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """Print a project's settings, and during a secret rotation the end of the signature overlap."""
    shown = operate(lambda operations: _show(operations, project))
    print_record(shown.to_json(), as_json=as_json)


@app.command("set")
def set_fields(
    project: ProjectArgument,
    name: Annotated[str | None, typer.Option(help="The new name.")] = None,
    repair_url: RepairUrl = None,
    no_repair_url: Annotated[
        bool, typer.Option("--no-repair-url", help="Remove the repair URL.")
    ] = False,
    alert_emails: AlertEmails = None,
    no_alert_emails: Annotated[
        bool, typer.Option("--no-alert-emails", help="Send no alert e-mails.")
    ] = False,
    timeout_minutes: TimeoutMinutes = None,
    late_result: Annotated[
        LateResult | None,
        typer.Option(help="What a late success without replay_id does to the incident."),
    ] = None,
    early_results: Annotated[
        EarlyResults | None,
        typer.Option(help="Whether a result that comes before its receipt is refused or held."),
    ] = None,
    snapshots: Annotated[
        bool | None,
        typer.Option("--snapshots/--no-snapshots", help="Store payloads, encrypted, for 30 days."),
    ] = None,
    acknowledge_minutes: Annotated[
        int | None, typer.Option(help="How long an acknowledgement lasts by default.")
    ] = None,
    silent_after_minutes: SilentAfterMinutes = None,
    silent_event_types: SilentEventTypes = None,
    providers: Providers = None,
    event_types: EventTypes = None,
    effect_types: EffectTypes = None,
    group_window_minutes: Annotated[
        float | None, typer.Option(help="How long a group takes another incident. 0: never.")
    ] = None,
    alert_window_minutes: Annotated[
        float | None, typer.Option(help="How long alerts about a group are gathered.")
    ] = None,
    no_names: Annotated[
        bool, typer.Option("--no-names", help="Remove all providers, types and effects of its own.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Change a project's settings. Settings that are not given stay as they are."""
    # JSON values, as in the body of REST's PATCH.
    given: dict[str, Any] = {
        "name": name,
        "repair_url": repair_url,
        "alert_emails": alert_emails,
        "timeout_minutes": timeout_minutes,
    }
    given |= {"late_result": late_result and late_result.value, "snapshots": snapshots}
    given |= {"early_results": early_results and early_results.value}
    given |= {"acknowledge_minutes": acknowledge_minutes}
    given |= {"providers": providers, "event_types": event_types, "effect_types": effect_types}
    given |= {"group_window_minutes": group_window_minutes}
    given |= {"alert_window_minutes": alert_window_minutes}
    changes = {field: value for field, value in given.items() if value is not None}
    changes |= silence_changes(silent_after_minutes, silent_event_types)
    changes |= {"repair_url": None} if no_repair_url else {}
    changes |= {"alert_emails": []} if no_alert_emails else {}
    changes |= {"providers": [], "event_types": [], "effect_types": []} if no_names else {}
    if not changes:
        raise CommandFailed(
            "nothing to change: give at least one setting, see `makegood project set --help`",
            ExitCode.USAGE,
        )
    changed = operate(lambda operations: _change(operations, project, changes))
    print_record(changed.to_json(), as_json=as_json)


@app.command("suspend")
def suspend(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """Refuse the project's requests (402) until it is resumed. Accepted receipts go on."""
    _act(lambda operations: _suspend(operations, project, is_suspended=True), as_json=as_json)


@app.command("resume")
def resume(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """Accept the project's requests again."""
    _act(lambda operations: _suspend(operations, project, is_suspended=False), as_json=as_json)


@app.command("delete")
def delete(
    project: ProjectArgument,
    confirm: Annotated[
        str,
        typer.Option(metavar="NAME", help="The project's name again: deletion cannot be undone."),
    ],
    end_open: Annotated[
        bool,
        typer.Option(
            "--end-open", help="Delete although receipts are open; they end with the project."
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete a project for good: revokes its keys, destroys its secrets and data key; the worker
    erases its receipts.
    """
    from operations.responses.projects import Deletion

    deleted = operate(lambda operations: _delete(operations, project, confirm, end_open=end_open))
    print_record(Deletion.of(deleted).to_json(), as_json=as_json)


@app.command("rotate-secret")
def rotate_secret(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """Add the next signing secret and print it once. Callbacks carry both signatures for 24 h, then
    only the new one.
    """
    from operations.responses.projects import SigningSecret

    created = operate(lambda operations: _rotate(operations, project))
    print_record(SigningSecret.of(created).to_json(), as_json=as_json)
    if not as_json:
        print_notice(
            "Store the signing secret now: it is not shown again. End the overlap early with"
            " `makegood project finish-rotation`."
        )


@app.command("finish-rotation")
def finish_rotation(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """End the signature overlap now, once the app has the new secret. Only the new secret signs
    from then on.
    """
    _act(lambda operations: _finish_rotation(operations, project), as_json=as_json)


def _act(action: "Callable[[Operations], Awaitable[Project]]", *, as_json: bool) -> None:
    """Run the action and print the project that it returns."""
    from operations.responses import projects as responses

    print_record(responses.Project.of(operate(action)).to_json(), as_json=as_json)


async def _show(operations: "Operations", name_or_id: str) -> "ProjectInRotation":
    from operations.responses.projects import ProjectInRotation

    project = await find_project(operations, name_or_id)
    ends_at = await operations.signing_secrets.read_rotation(project.id)
    return ProjectInRotation.of(project, ends_at)


async def _change(
    operations: "Operations", name_or_id: str, changes: Mapping[str, Any]
) -> "ChangedProject":
    from operations.responses.projects import ChangedProject

    project = await find_project(operations, name_or_id)
    changed = await operations.projects.change_project(project.id, dict(changes), actor=cli_actor())
    return ChangedProject.of(changed, await operations.sources.read_warnings(changed))


async def _suspend(operations: "Operations", name_or_id: str, *, is_suspended: bool) -> "Project":
    project = await find_project(operations, name_or_id)
    return await operations.projects.set_suspended(
        project.id, suspended=is_suspended, actor=cli_actor()
    )


async def _delete(
    operations: "Operations", name_or_id: str, confirmation: str, *, end_open: bool
) -> "DeletedProject":
    project = await find_project(operations, name_or_id)
    return await operations.projects.delete_project(
        project.id, confirmation=confirmation, end_open=end_open, actor=cli_actor()
    )


async def _rotate(operations: "Operations", name_or_id: str) -> "CreatedSigningSecret":
    project = await find_project(operations, name_or_id)
    return await operations.signing_secrets.rotate_signing_secret(project.id, actor=cli_actor())


async def _finish_rotation(operations: "Operations", name_or_id: str) -> "Project":
    project = await find_project(operations, name_or_id)
    return await operations.signing_secrets.finish_rotation(project.id, actor=cli_actor())
