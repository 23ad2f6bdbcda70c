"""`makegood user`: one-time sign-in links for the console, and who has an account."""

from typing import TYPE_CHECKING

import typer

from cli.operator import with_store
from cli.options import JsonFlag
from cli.output import print_record, print_rows
from cli.settings_told import read_settings

if TYPE_CHECKING:
    from store.database import Database

app = typer.Typer(help="People who sign in to the console.", no_args_is_help=True)


@app.command("link")
def link(as_json: JsonFlag = False) -> None:
    """Print a sign-in link that works once, also when the password is lost."""
    settings = read_settings()
    token = with_store(settings, _create_link)
    print_record({"url": f"{settings.public_url_or_default}/login/link?token={token}"}, as_json=as_json)


@app.command("list")
def list_all(as_json: JsonFlag = False) -> None:
    """Everyone with an account."""
    rows = with_store(read_settings(), _list)
    print_rows({"data": rows}, rows, ("user_id", "email", "has_password"), as_json=as_json)


async def _create_link(database: "Database") -> str:
    from store import users

    async with database.transaction() as session:
        return await users.create_login_link(session, now=await database.now(session))


async def _list(database: "Database") -> list[dict[str, object]]:
    from store import users

    async with database.reading() as session:
        found = await users.list_users(session)
    return [{"user_id": one.user_id, "email": one.email, "has_password": one.has_password} for one in found]
