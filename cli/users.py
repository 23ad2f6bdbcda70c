"""`makegood user`: one-time sign-in links for the console, and who has an account."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from cli.operator import with_store
from cli.options import JsonFlag
from cli.output import CommandFailed, ExitCode, print_record, print_rows
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


@app.command("reset-totp")
def reset_totp(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Of the person, or the user id.")], as_json: JsonFlag = False
) -> None:
    """Turn off the authenticator app of somebody who lost it and the recovery codes too. Make sure that it is that person."""
    print_record(with_store(read_settings(), partial(_reset_totp, email)), as_json=as_json)


@app.command("list")
def list_all(as_json: JsonFlag = False) -> None:
    """Everyone with an account."""
    rows = with_store(read_settings(), _list)
    print_rows({"data": rows}, rows, ("user_id", "email", "has_password"), as_json=as_json)


async def _create_link(database: "Database") -> str:
    from store import users

    async with database.transaction() as session:
        return await users.create_login_link(session, now=await database.now(session))


async def _reset_totp(email_or_id: str, database: "Database") -> dict[str, object]:
    from store import factors, users

    async with database.transaction() as session:
        meant = {email_or_id, email_or_id.strip().lower()}
        found = next((one for one in await users.list_users(session) if meant & {one.user_id, one.email}), None)
        if found is None:
            raise CommandFailed(f"nobody has the address {email_or_id!r}: `makegood user list` shows all", ExitCode.NOT_FOUND)
        was_on = await factors.remove_totp(session, found.user_id)
    return {"user_id": found.user_id, "email": found.email, "totp_removed": was_on}


async def _list(database: "Database") -> list[dict[str, object]]:
    from store import users

    async with database.reading() as session:
        found = await users.list_users(session)
    return [{"user_id": one.user_id, "email": one.email, "has_password": one.has_password} for one in found]
