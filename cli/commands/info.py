"""`makegood config`, `openapi` and `version`: print settings, API document and versions. They open
no store.
"""

from typing import TYPE_CHECKING

import typer

from cli.options import JsonFlag
from cli.output import format_value, print_json, print_record
from cli.settings import read_own_settings, read_settings
from operations.instance.versions import installed_versions

if TYPE_CHECKING:
    from config.settings import Settings


def register(app: typer.Typer) -> None:
    """Put the commands under the application."""
    app.command("config")(config)
    app.command("openapi")(openapi)
    app.command("version")(version)


def config(as_json: JsonFlag = False) -> None:
    """Print every setting with its value and source; secrets are masked."""
    rows = effective_settings(read_settings(), own=read_own_settings())
    if as_json:
        return print_json({"settings": rows})
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        typer.echo(f"{row['name']:<{width}}  {format_value(row['value'])}  ({row['source']})")


def openapi(as_json: JsonFlag = True) -> None:
    """Print the API's OpenAPI 3.1 document, as `/openapi.json` serves it. The output is always
    JSON.
    """
    from api.rest.openapi import document

    del as_json

    print_json(document(read_settings().public_url_or_default))


def version(as_json: JsonFlag = False) -> None:
    """Print the version of Makegood and of its main dependencies."""
    versions = installed_versions()
    if as_json:
        return print_record(versions, as_json=True)
    typer.echo(
        f"makegood {versions['makegood']} (Python {versions['python']}, temporalio"
        f" {versions['temporalio']})"
    )


def effective_settings(settings: "Settings", *, own: "Settings") -> list[dict[str, object]]:
    """A row for each setting: its variable, its value (secrets masked) and its source.

    `own` are the settings without those of the instance that runs in the data directory.
    """
    from config.settings import SECRET_FIELDS, environment_name

    rows: list[dict[str, object]] = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        is_own = getattr(own, name) == value
        source = "environment" if name in own.model_fields_set else "default"
        if name in SECRET_FIELDS:
            shown: object = None if value is None else "********"
        else:
            shown = settings.public_url_or_default if name == "public_url" else _plain(value)
        rows.append(
            {
                "name": environment_name(name),
                "value": shown,
                "source": source if is_own else "instance",
            }
        )
    return rows


def _plain(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case tuple():
            return [_plain(item) for item in value]
        case _:
            return str(value)
