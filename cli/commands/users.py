"""`makegood user`: who may sign in to the console, what each may do in which project, and an end to sessions."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cli.local_operations import Json, build_operations, cli_actor, find_project, read_sealer, with_store
from cli.options import JsonFlag, ProjectArgument
from cli.output import print_end_of_list, print_record, print_rows
from cli.settings import read_settings
from domain.users import Role

if TYPE_CHECKING:
    from operations.people.composition import People
    from store.db.database import Database

_T = TypeVar("_T")
app = typer.Typer(help="People who sign in to the console, and what they may do.", no_args_is_help=True)

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="A person, by e-mail or id.")]
OptionalUser = Annotated[str | None, typer.Argument(metavar="[USER]", help="By e-mail or id; absent: the first administrator.")]
EmailArgument = Annotated[str, typer.Argument(metavar="EMAIL", help="The address that the person signs in with.")]
Administrator = Annotated[bool, typer.Option("--administrator", help="Owner of every project, with the installation's pages.")]
RoleArgument = Annotated[Role, typer.Argument(help="viewer reads; operator also acts on incidents; owner changes the project.")]


@app.command("link")
def link(user: OptionalUser = None, as_json: JsonFlag = False) -> None:
    """Print a sign-in link that works once, also when the password is lost."""
    token = _do(lambda people: people.accounts.create_link(user, actor=cli_actor()))
    print_record({"url": _link(token)}, as_json=as_json)


@app.command("list")
def list_all(as_json: JsonFlag = False) -> None:
    """The newest 1,000 people with an account, with the role in each project."""
    answer = _do(lambda people: people.accounts.list_users())
    columns = ("user_id", "email", "has_password", "administrator", "roles")
    print_rows(answer, answer["data"], columns, as_json=as_json)
    print_end_of_list(answer["data"], "users")


@app.command("create")
def create(email: EmailArgument, administrator: Administrator = False, as_json: JsonFlag = False) -> None:
    """Make an account and print the link that signs it in first; it belongs to no project yet."""
    made = dict(_do(lambda people: people.accounts.create_user(email, is_administrator=administrator, actor=cli_actor())))
    url = _link(made.pop("token"))
    print_record({**made, "url": url}, as_json=as_json)


@app.command("grant")
def grant(user: UserArgument, project: ProjectArgument, role: RoleArgument, as_json: JsonFlag = False) -> None:
    """Give a person a role in a project, in the place of the one that he had; he signs in again."""
    print_record(
        _do_in(project, lambda people, project_id: people.members.grant(project_id, user, role.value, actor=cli_actor())),
        as_json=as_json,
    )


@app.command("revoke")
def revoke(user: UserArgument, project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """Remove a person from a project; its last owner stays."""
    print_record(
        _do_in(project, lambda people, project_id: people.members.revoke(project_id, user, actor=cli_actor())), as_json=as_json
    )


@app.command("promote")
def promote(user: UserArgument, as_json: JsonFlag = False) -> None:
    """Make a person administrator: owner of every project."""
    print_record(
        _do(lambda people: people.accounts.set_administrator(user, is_administrator=True, actor=cli_actor())), as_json=as_json
    )


@app.command("demote")
def demote(user: UserArgument, as_json: JsonFlag = False) -> None:
    """Make a person administrator no longer; the last one stays."""
    print_record(
        _do(lambda people: people.accounts.set_administrator(user, is_administrator=False, actor=cli_actor())), as_json=as_json
    )


@app.command("delete")
def delete(user: UserArgument, as_json: JsonFlag = False) -> None:
    """Delete an account with its memberships and sessions; timelines keep what it did."""
    print_record(_do(lambda people: people.accounts.delete_user(user, actor=cli_actor())), as_json=as_json)


@app.command("reset-totp")
def reset_totp(user: UserArgument, as_json: JsonFlag = False) -> None:
    """Turn off the authenticator app of somebody who lost it and the recovery codes too. Make sure that it is that person."""
    print_record(_do(lambda people: people.accounts.reset_totp(user, actor=cli_actor())), as_json=as_json)


@app.command("sessions")
def sessions(user: UserArgument, as_json: JsonFlag = False) -> None:
    """Where a person is signed in."""
    answer = _do(lambda people: people.sessions.list_sessions_of(user))
    print_rows(answer, answer["data"], ("id", "seen_at", "created_at", "address", "user_agent"), as_json=as_json)


@app.command("sign-out")
def sign_out(user: UserArgument, as_json: JsonFlag = False) -> None:
    """End every session of a person, and every sign-in link that waits for him."""
    print_record(_do(lambda people: people.sessions.end_sessions_of(user, actor=cli_actor())), as_json=as_json)


def _link(token: str) -> str:
    return f"{read_settings().public_url_or_default}/login/link?token={token}"


def _do(action: "Callable[[People], Awaitable[_T]]") -> _T:
    from operations.people.composition import People

    settings = read_settings()
    sealer = read_sealer(settings)

    async def act(database: "Database") -> _T:
        return await action(People.build(database, sealer))

    return with_store(settings, act)


def _do_in(name_or_id: str, action: "Callable[[People, str], Awaitable[Json]]") -> Json:
    """The action on the project that is meant."""
    from operations.people.composition import People

    settings = read_settings()

    async def act(database: "Database") -> Json:
        project = await find_project(build_operations(settings, database), name_or_id)
        return await action(People.build(database, read_sealer(settings)), str(project["project_id"]))

    return with_store(settings, act)
