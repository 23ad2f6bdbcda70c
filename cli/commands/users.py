"""`makegood user`: manages console accounts, roles and sessions, directly on the store."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cli.local_operations import (
    build_operations,
    cli_actor,
    find_project,
    read_sealer,
    with_store,
)
from cli.options import JsonFlag, ProjectArgument
from cli.output import print_end_of_list, print_record, print_rows
from cli.settings import read_settings
from domain.users import Role

if TYPE_CHECKING:
    from domain.ids import ProjectId
    from operations.people.composition import People
    from operations.people.members import Membership
    from store.db.database import Database

_T = TypeVar("_T")
app = typer.Typer(help="Users of the console and their roles.", no_args_is_help=True)

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="A user, by e-mail or id.")]
OptionalUser = Annotated[
    str | None,
    typer.Argument(metavar="USER", help="By e-mail or id. Default: the first administrator."),
]
EmailArgument = Annotated[
    str, typer.Argument(metavar="EMAIL", help="The address that the user signs in with.")
]
Administrator = Annotated[
    bool,
    typer.Option(
        "--administrator", help="Owner of every project, with access to the installation's pages."
    ),
]
RoleArgument = Annotated[
    Role,
    typer.Argument(
        help="viewer: read; operator: also act on incidents; owner: also change the project."
    ),
]


@app.command("link")
def link(user: OptionalUser = None, as_json: JsonFlag = False) -> None:
    """Print a sign-in link that works once, for example after a lost password."""
    token = _with_people(lambda people: people.accounts.create_link(user, actor=cli_actor()))
    print_record({"url": _link(token)}, as_json=as_json)


@app.command("list")
def list_all(as_json: JsonFlag = False) -> None:
    """List the newest 1,000 users with their role in each project."""
    from operations.responses.people import UserList

    answer = UserList.of(_with_people(lambda people: people.accounts.list_users())).to_json()
    columns = ("user_id", "email", "has_password", "administrator", "roles")
    print_rows(answer, answer["data"], columns, as_json=as_json)
    print_end_of_list(answer["data"], "users")


@app.command("create")
def create(
    email: EmailArgument, administrator: Administrator = False, as_json: JsonFlag = False
) -> None:
    """Create an account without projects, and print its first sign-in link."""
    from operations.responses.people import CreatedUser

    created = _with_people(
        lambda people: people.accounts.create_user(
            email, is_administrator=administrator, actor=cli_actor()
        )
    )
    shown = CreatedUser.of(created.user, is_administrator=administrator, url=_link(created.token))
    print_record(shown.to_json(), as_json=as_json)


@app.command("grant")
def grant(
    user: UserArgument, project: ProjectArgument, role: RoleArgument, as_json: JsonFlag = False
) -> None:
    """Give a user a role in a project, replacing the previous one. They must sign in again."""
    _change_membership(
        project,
        lambda people, project_id: people.members.grant(project_id, user, role, actor=cli_actor()),
        as_json=as_json,
    )


@app.command("revoke")
def revoke(user: UserArgument, project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """Remove a user from a project. The last owner cannot be removed."""
    _change_membership(
        project,
        lambda people, project_id: people.members.revoke(project_id, user, actor=cli_actor()),
        as_json=as_json,
    )


@app.command("promote")
def promote(user: UserArgument, as_json: JsonFlag = False) -> None:
    """Make a user an administrator: owner of every project."""
    _set_administrator(user, is_administrator=True, as_json=as_json)


@app.command("demote")
def demote(user: UserArgument, as_json: JsonFlag = False) -> None:
    """Remove administrator rights from a user. The last administrator cannot be demoted."""
    _set_administrator(user, is_administrator=False, as_json=as_json)


@app.command("delete")
def delete(user: UserArgument, as_json: JsonFlag = False) -> None:
    """Delete an account with its memberships and sessions. Timelines keep its actions."""
    from operations.responses.people import User

    deleted = _with_people(lambda people: people.accounts.delete_user(user, actor=cli_actor()))
    print_record(User.of(deleted).to_json(), as_json=as_json)


@app.command("reset-totp")
def reset_totp(user: UserArgument, as_json: JsonFlag = False) -> None:
    """Turn off the authenticator app of a user who also lost the recovery codes. Verify the user's
    identity first. Their passkeys stay.
    """
    from operations.responses.people import UserWithoutTotp

    reset = _with_people(lambda people: people.accounts.reset_totp(user, actor=cli_actor()))
    print_record(UserWithoutTotp.of(reset).to_json(), as_json=as_json)


@app.command("remove-passkeys")
def remove_passkeys(user: UserArgument, as_json: JsonFlag = False) -> None:
    """Remove all passkeys of a user who lost them. Verify the user's identity first. Without an
    authenticator app, they then sign in by password or link alone.
    """
    from operations.responses.people import UserWithoutPasskeys

    removed = _with_people(lambda people: people.passkeys.remove_passkeys(user, actor=cli_actor()))
    print_record(UserWithoutPasskeys.of(removed).to_json(), as_json=as_json)


@app.command("sessions")
def sessions(user: UserArgument, as_json: JsonFlag = False) -> None:
    """List a user's sessions."""
    from operations.responses.people import SessionList

    listed = _with_people(lambda people: people.sessions.list_sessions_of(user))
    answer = SessionList.of(listed).to_json()
    print_rows(
        answer,
        answer["data"],
        ("id", "seen_at", "created_at", "address", "user_agent"),
        as_json=as_json,
    )


@app.command("sign-out")
def sign_out(user: UserArgument, as_json: JsonFlag = False) -> None:
    """End all sessions of a user and revoke their unused sign-in links."""
    from operations.responses.people import SignedOutUser

    ended = _with_people(lambda people: people.sessions.end_sessions_of(user, actor=cli_actor()))
    print_record(SignedOutUser.of(ended).to_json(), as_json=as_json)


def _link(token: str) -> str:
    return f"{read_settings().public_url_or_default}/login/link?token={token}"


def _set_administrator(user: str, *, is_administrator: bool, as_json: bool) -> None:
    from operations.responses.people import UserRights

    changed = _with_people(
        lambda people: people.accounts.set_administrator(
            user, is_administrator=is_administrator, actor=cli_actor()
        )
    )
    shown = UserRights.of(changed, is_administrator=is_administrator)
    print_record(shown.to_json(), as_json=as_json)


def _with_people(action: "Callable[[People], Awaitable[_T]]") -> _T:
    from operations.people.composition import People

    settings = read_settings()
    sealer = read_sealer(settings)

    async def act(database: "Database") -> _T:
        return await action(People.build(database, sealer))

    return with_store(settings, act)


def _change_membership(
    name_or_id: str,
    action: "Callable[[People, ProjectId], Awaitable[Membership]]",
    *,
    as_json: bool,
) -> None:
    """Run the action with the id of the named project, and print the new membership."""
    from operations.people.composition import People
    from operations.responses.people import UserInProject

    settings = read_settings()

    async def act(database: "Database") -> "Membership":
        project = await find_project(build_operations(settings, database), name_or_id)
        return await action(People.build(database, read_sealer(settings)), project.id)

    changed = with_store(settings, act)
    print_record(UserInProject.of(changed).to_json(), as_json=as_json)
