"""The `makegood` command: registers all commands and turns failures into exit codes.

Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 not allowed. Heavy imports happen inside the
commands. A command that ends by itself never opens a Temporal client: the SDK can crash the process
while the interpreter exits.
"""

import sys
from typing import Annotated

import typer

from cli.alerts import command as destinations
from cli.commands import (
    audit,
    backup,
    incidents,
    keys,
    projects,
    receipts,
    results,
    services,
    signatures,
    trigger,
    users,
)
from cli.commands import info as about
from cli.commands import root_secret as secret_key
from cli.demo import command as demo
from cli.doctor import command as doctor
from cli.evidence import export as evidence_export
from cli.evidence import group as evidence
from cli.evidence import sent
from cli.groups import command as groups
from cli.lists import export as incident_export
from cli.lists import listing as incident_list
from cli.lists import views as incident_views
from cli.logs import command as logs
from cli.output import CommandFailed, print_notice
from cli.overview import command as overview
from cli.repair_url import command as repair_url
from cli.repairing import bulk, holds
from cli.repairing import rules as repair_rules
from cli.sources import command as sources
from cli.triage import command as triage
from cli.usage_errors import PlainUsageErrors

# Plain tracebacks: the framed ones print local variables, which can be secrets.
app = typer.Typer(
    name="makegood",
    cls=PlainUsageErrors,
    help="Detects payments whose effect never happened, and repairs them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        about.version()
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """The options of `makegood` itself. Each acts in its own callback."""
    del version


for _part in (services, logs, backup, doctor, demo, trigger, overview, about):
    _part.register(app)
evidence_export.register(receipts.app)
for _list in (incident_list, incident_export, incident_views):
    _list.register(incidents.app)
triage.register(incidents.app, receipts.app)
sent.register(receipts.app)
repair_url.register(projects.app)
projects.app.add_typer(repair_rules.app, name="rules")
for _name, _group in (
    ("project", projects.app),
    ("key", keys.app),
    ("secret", secret_key.app),
    ("user", users.app),
    ("incident", incidents.app),
    ("destination", destinations.app),
    ("group", groups.app),
    ("bulk", bulk.app),
    ("hold", holds.app),
    ("source", sources.app),
    ("receipt", receipts.app),
    ("result", results.app),
    ("signature", signatures.app),
    ("evidence", evidence.app),
    ("audit", audit.app),
):
    app.add_typer(_group, name=_name)


def main() -> None:
    """Run the command line and exit the process."""
    try:
        app(prog_name="makegood")
    except CommandFailed as failure:
        print_notice(f"makegood: {failure}")
        sys.exit(int(failure.code))


if __name__ == "__main__":
    main()
