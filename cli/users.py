"""`makegood user`: one-time sign-in links for the console, and who has an account."""

from typing import TYPE_CHECKING

import typer

from cli.operator import cli_actor, read_sealer, with_store
from cli.options import JsonFlag
from cli.output import print_record, print_rows
from cli.settings_told import read_settings

if TYPE_CHECKING:
    from store.database import Database
    from store.sealing import Sealer

app = typer.Typer(help="People who sign in to the console.", no_args_is_help=True)


@app.command("link")
def link(as_json: JsonFlag = False) -> None:
    """Print a sign-in link that works once, also when the password is lost."""
    settings = read_settings()
    sealer = read_sealer(settings)
    token = with_store(settings, lambda database: create_login_link(database, sealer))
    print_record({"url": f"{settings.public_url_or_default}/login/link?token={token}"}, as_json=as_json)


@app.command("list")
def list_all(as_json: JsonFlag = False) -> None:
    """Everyone with an account."""
    rows = with_store(read_settings(), _list)
    print_rows({"data": rows}, rows, ("user_id", "email", "has_password"), as_json=as_json)


async def create_login_link(database: "Database", sealer: "Sealer") -> str:
    """The token of a new sign-in link, which is in the audit log."""
    from domain.audit import AuditAction, Subject, SubjectType
    from store import audit, users

    async with database.transaction() as session:
        now = await database.now(session)
        token = await users.create_login_link(session, now=now)
        subject = Subject(SubjectType.USER)
        await audit.record(session, sealer, cli_actor(), AuditAction.LOGIN_LINK_CREATED, now=now, subject=subject)
    return token


async def _list(database: "Database") -> list[dict[str, object]]:
    from store import users

    async with database.reading() as session:
        found = await users.list_users(session)
    return [{"user_id": one.user_id, "email": one.email, "has_password": one.has_password} for one in found]
