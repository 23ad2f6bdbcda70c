"""`makegood project`: make, list, show, change, suspend, resume and delete projects, on the store itself."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.local_operations import Json, cli_actor, find_project, operate
from cli.options import JsonFlag, ProjectArgument
from cli.output import CommandFailed, ExitCode, print_end_of_list, print_record, print_rows, tell
from domain.results import LateResult

if TYPE_CHECKING:
    from operations.composition import Operations

app = typer.Typer(help="Projects: what is watched, and how.", no_args_is_help=True)
COLUMNS = ("project_id", "name", "mode", "timeout_minutes", "repair_url", "alert_emails", "suspended")


class Mode(StrEnum):
    """Whether a project is for trying out or for earnest."""

    TEST = "test"
    LIVE = "live"


class ScopeName(StrEnum):
    """What an API key may do."""

    INGEST = "ingest"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


RepairUrl = Annotated[str | None, typer.Option(help="The app's repair endpoint, https.")]
AlertEmails = Annotated[list[str] | None, typer.Option("--alert-email", help="Who is told of incidents; repeat it for more.")]
TimeoutMinutes = Annotated[float | None, typer.Option(help="How long a result may take, unless a receipt says otherwise.")]
Scopes = Annotated[list[ScopeName] | None, typer.Option("--scope", help="What the key may do; repeat it. Default: ingest.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of your choice, used by no other project.")],
    mode: Annotated[Mode, typer.Option(help="A test project takes short timeouts and `receipt expire`.")],
    repair_url: RepairUrl = None,
    alert_emails: AlertEmails = None,
    timeout_minutes: TimeoutMinutes = None,
    scopes: Scopes = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a project with its first API key and its signing secret; both are shown now and never again."""
    fields: dict[str, Any] = {"name": name, "mode": mode.value, "repair_url": repair_url}  # JSON values
    fields["alert_emails"] = list(alert_emails or ())
    fields["scopes"] = [scope.value for scope in scopes or (ScopeName.INGEST,)]
    if timeout_minutes is not None:
        fields["timeout_minutes"] = timeout_minutes
    made = operate(lambda operations: operations.projects.create_project(**fields, actor=cli_actor()))
    print_record(made, as_json=as_json)
    if not as_json:
        tell("Keep the API key and the signing secret now: they are not shown again.")


@app.command("list")
def list_all(as_json: JsonFlag = False) -> None:
    """The newest 1,000 projects."""
    answer = operate(lambda operations: operations.projects.list_projects())
    print_rows(answer, answer["data"], COLUMNS, as_json=as_json)
    print_end_of_list(answer["data"], "projects")


@app.command("show")
def show(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """One project with its settings, and until when its callbacks carry both signatures while the secret is rotated."""
    print_record(operate(lambda operations: _show(operations, project)), as_json=as_json)


@app.command("set")
def set_fields(
    project: ProjectArgument,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    repair_url: RepairUrl = None,
    no_repair_url: Annotated[bool, typer.Option("--no-repair-url", help="Remove the repair URL.")] = False,
    alert_emails: AlertEmails = None,
    no_alert_emails: Annotated[bool, typer.Option("--no-alert-emails", help="Tell nobody by mail.")] = False,
    timeout_minutes: TimeoutMinutes = None,
    late_result: Annotated[LateResult | None, typer.Option(help="What a late success without replay_id does.")] = None,
    snapshots: Annotated[
        bool | None, typer.Option("--snapshots/--no-snapshots", help="Keep payloads, encrypted, 30 days.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Change a project's settings; what is not named stays."""
    # JSON values, as the PATCH of REST would carry them.
    given: dict[str, Any] = {
        "name": name,
        "repair_url": repair_url,
        "alert_emails": alert_emails,
        "timeout_minutes": timeout_minutes,
    }
    given |= {"late_result": late_result and late_result.value, "snapshots": snapshots}
    changes = {field: value for field, value in given.items() if value is not None}
    changes |= {"repair_url": None} if no_repair_url else {}
    changes |= {"alert_emails": []} if no_alert_emails else {}
    if not changes:
        raise CommandFailed("nothing to change: name a setting, see `makegood project set --help`", ExitCode.USAGE)
    print_record(operate(lambda operations: _change(operations, project, changes)), as_json=as_json)


@app.command("suspend")
def suspend(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """Refuse what the project sends (402) until it is resumed; receipts already accepted are still watched."""
    print_record(operate(lambda operations: _suspend(operations, project, is_suspended=True)), as_json=as_json)


@app.command("resume")
def resume(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """Take what the project sends again."""
    print_record(operate(lambda operations: _suspend(operations, project, is_suspended=False)), as_json=as_json)


@app.command("delete")
def delete(
    project: ProjectArgument,
    confirm: Annotated[str, typer.Option(metavar="NAME", help="The project's name once more: there is no way back.")],
    end_open: Annotated[bool, typer.Option("--end-open", help="Also when receipts have not ended: end them with it.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete a project for good: its keys are refused, its secrets and data key destroyed, its receipts erased by the worker."""
    print_record(operate(lambda operations: _delete(operations, project, confirm, end_open=end_open)), as_json=as_json)


@app.command("rotate-secret")
def rotate_secret(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """Add the next signing secret, shown now and never again; callbacks carry both signatures for 24 h, then its own alone."""
    print_record(operate(lambda operations: _rotate(operations, project)), as_json=as_json)
    if not as_json:
        tell("Keep the signing secret now: it is not shown again. `makegood project finish-rotation` ends the overlap sooner.")


@app.command("finish-rotation")
def finish_rotation(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """End a rotation's overlap now: sign with the next secret alone, once the app knows it."""
    print_record(operate(lambda operations: _finish_rotation(operations, project)), as_json=as_json)


async def _show(operations: "Operations", name_or_id: str) -> Json:
    project = await find_project(operations, name_or_id)
    rotation = await operations.signing_secrets.read_rotation(project["project_id"])
    return {**project, "signature_overlap_ends_at": rotation["overlap_ends_at"]}


async def _change(operations: "Operations", name_or_id: str, changes: Mapping[str, Any]) -> Json:
    project = await find_project(operations, name_or_id)
    return await operations.projects.change_project(project["project_id"], dict(changes), actor=cli_actor())


async def _suspend(operations: "Operations", name_or_id: str, *, is_suspended: bool) -> Json:
    project = await find_project(operations, name_or_id)
    return await operations.projects.set_suspended(project["project_id"], suspended=is_suspended, actor=cli_actor())


async def _delete(operations: "Operations", name_or_id: str, confirmation: str, *, end_open: bool) -> Json:
    project = await find_project(operations, name_or_id)
    return await operations.projects.delete_project(
        project["project_id"], confirmation=confirmation, end_open=end_open, actor=cli_actor()
    )


async def _rotate(operations: "Operations", name_or_id: str) -> Json:
    project = await find_project(operations, name_or_id)
    return await operations.signing_secrets.rotate_signing_secret(project["project_id"], actor=cli_actor())


async def _finish_rotation(operations: "Operations", name_or_id: str) -> Json:
    project = await find_project(operations, name_or_id)
    return await operations.signing_secrets.finish_rotation(project["project_id"], actor=cli_actor())
