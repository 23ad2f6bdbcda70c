"""`makegood source`: adds, checks, changes and removes sources of a project, directly on the store.

`add` reads a secret from the variable or an option, `set` only with `--replace-secret`. No
command prints it.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.local_operations import cli_actor, operate_on_project
from cli.options import JsonFlag, ProjectArgument, one_of, read_replacement
from cli.output import CommandFailed, print_record, print_rows
from cli.sources.options import (
    VARIABLE,
    EveryMinutes,
    Expect,
    Identity,
    ReplaceSecret,
    Secret,
    SilentAfterMinutes,
    SourceArgument,
    given_fields,
)
from domain.sources.source import SourceKind
from operations.sources.expectation_lines import read_line

if TYPE_CHECKING:
    from domain.projects import Project
    from operations.composition import Operations

app = typer.Typer(help="Sources: what watches a payment provider.", no_args_is_help=True)
COLUMNS = ("id", "kind", "name", "state", "last_event_at", "last_listed_at", "problem")


@app.command("add")
def add(
    project: ProjectArgument,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=one_of(SourceKind))],
    name: Annotated[str, typer.Option(help="A name for the source.")],
    expect: Expect = None,
    secret: Secret = None,
    every_minutes: EveryMinutes = None,
    silent_after_minutes: SilentAfterMinutes = None,
    shop_domain: Annotated[
        str | None, typer.Option(help="Of Shopify: the shop, name.myshopify.com.")
    ] = None,
    account: Annotated[
        str | None, typer.Option(help="Of stripe_api: the connected account to list, acct_….")
    ] = None,
    identity: Identity = None,
    as_json: JsonFlag = False,
) -> None:
    """Add a source. Events at the provider from now on are expected."""
    from operations.responses.sources import Source

    content = {
        "kind": kind,
        "name": name,
        "expects": [read_line(text) for text in expect or ()],
        "shop_domain": shop_domain,
        "account": account,
        **given_fields(kind, secret, every_minutes, silent_after_minutes, identity),
    }
    added = operate_on_project(
        project,
        lambda operations, found: operations.sources.add_source(
            found.id, content, actor=cli_actor()
        ),
    )
    print_record(Source.of(added).to_json(), as_json=as_json)


@app.command("list")
def list_all(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """List the sources of a project, with their health."""
    from operations.responses.sources import SourceList

    listed = operate_on_project(
        project, lambda operations, found: operations.sources.list_sources(found.id)
    )
    answer = SourceList.of(listed).to_json()
    print_rows(answer, answer["data"], COLUMNS, as_json=as_json)


@app.command("show")
def show(project: ProjectArgument, source_id: SourceArgument, as_json: JsonFlag = False) -> None:
    """Print a source, its health and its gaps."""
    from operations.responses.sources import FullSource

    read = operate_on_project(
        project, lambda operations, found: operations.sources.read_source(found.id, source_id)
    )
    print_record(FullSource.of(read).to_json(), as_json=as_json)


@app.command("set")
def set_fields(
    project: ProjectArgument,
    source_id: SourceArgument,
    name: Annotated[str | None, typer.Option(help="The new name.")] = None,
    expect: Expect = None,
    replace_secret: ReplaceSecret = False,
    every_minutes: EveryMinutes = None,
    silent_after_minutes: SilentAfterMinutes = None,
    never_silent: Annotated[
        bool, typer.Option("--never-silent", help="Send no alert about silence.")
    ] = False,
    identity: Identity = None,
    as_json: JsonFlag = False,
) -> None:
    """Change what is named. `--expect` replaces all expectations."""
    secret = read_replacement("secret", VARIABLE) if replace_secret else None

    async def act(operations: "Operations", found: "Project") -> Any:
        kind = (await operations.sources.read_source(found.id, source_id)).source.kind
        changes = given_fields(kind, secret, every_minutes, silent_after_minutes, identity)
        if name is not None:
            changes["name"] = name
        if expect:
            changes["expects"] = [read_line(text) for text in expect]
        if never_silent:
            changes["silent_after_minutes"] = None
        return await operations.sources.change_source(
            found.id, source_id, changes, actor=cli_actor()
        )

    _print_changed(operate_on_project(project, act), as_json=as_json)


@app.command("pause")
def pause(project: ProjectArgument, source_id: SourceArgument, as_json: JsonFlag = False) -> None:
    """Pause a source. It expects and lists nothing until it is resumed."""
    _print_changed(_set_paused(project, source_id, is_paused=True), as_json=as_json)


@app.command("resume")
def resume(project: ProjectArgument, source_id: SourceArgument, as_json: JsonFlag = False) -> None:
    """Resume a paused source. A listing goes on where it was."""
    _print_changed(_set_paused(project, source_id, is_paused=False), as_json=as_json)


@app.command("check")
def check(project: ProjectArgument, source_id: SourceArgument, as_json: JsonFlag = False) -> None:
    """Ask the provider for one event with the source's key, and list now.

    Exits 1 if it failed. Of a webhook: what it received last.
    """
    from operations.responses.sources import SourceCheck

    checked = operate_on_project(
        project,
        lambda operations, found: operations.sources.check_source(
            found.id, source_id, actor=cli_actor()
        ),
    )
    answer = SourceCheck.of(checked).to_json()
    print_record(answer, as_json=as_json)
    if not answer["ok"]:
        raise CommandFailed(f"the check failed: {answer['detail']}")


@app.command("report")
def report(
    project: ProjectArgument,
    source_id: SourceArgument,
    day: Annotated[
        str | None, typer.Option(help="One of the last 40 days (UTC), YYYY-MM-DD. Default: today.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print the events at the provider on a day, and what the app reported of them."""
    from operations.responses.sources import SourceReport

    made = operate_on_project(
        project, lambda operations, found: operations.sources.report(found.id, source_id, day)
    )
    print_record(SourceReport.of(made).to_json(), as_json=as_json)


@app.command("remove")
def remove(project: ProjectArgument, source_id: SourceArgument, as_json: JsonFlag = False) -> None:
    """Remove a source and its secret. Receipts and incidents that it made stay."""
    from operations.responses.sources import RemovedSource

    removed = operate_on_project(
        project,
        lambda operations, found: operations.sources.remove_source(
            found.id, source_id, actor=cli_actor()
        ),
    )
    print_record(RemovedSource.of(removed).to_json(), as_json=as_json)


# Any: a changed source, whose type is slow to import.
def _set_paused(project: str, source_id: str, *, is_paused: bool) -> Any:
    return operate_on_project(
        project,
        lambda operations, found: operations.sources.change_source(
            found.id, source_id, {"paused": is_paused}, actor=cli_actor()
        ),
    )


def _print_changed(changed: Any, *, as_json: bool) -> None:
    from operations.responses.sources import ChangedSource

    print_record(ChangedSource.of(changed).to_json(), as_json=as_json)
