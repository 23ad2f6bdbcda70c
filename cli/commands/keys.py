"""`makegood key`: creates, lists and revokes a project's API keys, directly on the store."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.projects import Scopes
from cli.local_operations import cli_actor, find_project, operate
from cli.options import JsonFlag, ProjectArgument
from cli.output import print_notice, print_record, print_rows
from domain.projects import Scope

if TYPE_CHECKING:
    from domain.projects import Key
    from operations.composition import Operations
    from operations.credentials.api_keys import CreatedKey

app = typer.Typer(help="API keys of a project.", no_args_is_help=True)
COLUMNS = (
    "key_id",
    "label",
    "hint",
    "scopes",
    "created_at",
    "last_used_at",
    "expires_at",
    "revoked_at",
)


@app.command("create")
def create(
    project: ProjectArgument,
    label: Annotated[str, typer.Option(help="A name for the key: who or what uses it.")],
    scopes: Scopes = None,
    expires_in_days: Annotated[
        int | None, typer.Option(help="Days until the key expires. Default: never.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Create an API key and print it; it is not shown again. Default scope: send receipts and
    results.
    """
    from operations.responses.projects import KeyWithText

    wanted = scopes or [Scope.INGEST]
    created = operate(
        lambda operations: _create(operations, project, label, wanted, expires_in_days)
    )
    print_record(KeyWithText.of(created).to_json(), as_json=as_json)
    if not as_json:
        print_notice("Store the API key now: it is not shown again.")


@app.command("list")
def list_all(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """List a project's keys, including revoked ones."""
    from operations.responses.projects import KeyList

    answer = KeyList.of(operate(lambda operations: _list(operations, project))).to_json()
    print_rows(answer, answer["data"], COLUMNS, as_json=as_json)


@app.command("revoke")
def revoke(
    project: ProjectArgument,
    key_id: Annotated[
        str, typer.Argument(metavar="KEY_ID", help="The key's id, from `makegood key list`.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Revoke a key. Every API process refuses it within 5 seconds."""
    operate(lambda operations: _revoke(operations, project, key_id))
    print_record({"key_id": key_id, "revoked": True}, as_json=as_json)


async def _create(
    operations: "Operations",
    name_or_id: str,
    label: str,
    scopes: list[Scope],
    expires_in_days: int | None,
) -> "CreatedKey":
    project = await find_project(operations, name_or_id)
    return await operations.api_keys.create_key(
        project.id,
        label=label,
        scopes=scopes,
        expires_in_days=expires_in_days,
        actor=cli_actor(),
    )


async def _list(operations: "Operations", name_or_id: str) -> "list[Key]":
    project = await find_project(operations, name_or_id)
    return await operations.api_keys.list_keys(project.id)


async def _revoke(operations: "Operations", name_or_id: str, key_id: str) -> None:
    project = await find_project(operations, name_or_id)
    await operations.api_keys.revoke_key(project.id, key_id, actor=cli_actor())
