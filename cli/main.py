"""The `makegood` command: puts the commands of the other files under one name and turns failures into exit codes.

0 ok, 1 failed, 2 usage, 3 not found, 4 not allowed. Nothing heavy is imported before a command needs it, and no command
that ends by itself opens a Temporal client: its process could die by a signal (Temporal's SDK, while the interpreter ends).
"""

import sys

import typer

from cli.commands import audit, backup, incidents, keys, projects, receipts, results, services, signatures, trigger, users
from cli.commands import info as about
from cli.commands import root_secret as secret_key
from cli.demo import run as demo
from cli.doctor import run as doctor
from cli.output import CommandFailed, tell

# Plain tracebacks: the framed ones print the values of variables, secrets among them.
app = typer.Typer(
    name="makegood",
    help="A customer paid and the effect never happened: Makegood catches it and puts it right.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _part in (services, backup, doctor, demo, trigger, about):
    _part.register(app)
for _name, _group in (
    ("project", projects.app),
    ("key", keys.app),
    ("secret", secret_key.app),
    ("user", users.app),
    ("incident", incidents.app),
    ("receipt", receipts.app),
    ("result", results.app),
    ("signature", signatures.app),
    ("audit", audit.app),
):
    app.add_typer(_group, name=_name)


def main() -> None:
    """Run the command line; ends the process."""
    try:
        app(prog_name="makegood")
    except CommandFailed as failure:
        tell(f"makegood: {failure}")
        sys.exit(int(failure.code))


if __name__ == "__main__":
    main()
