"""Every action on people has an audit entry. If the entry cannot be written, the action fails."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pyotp
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from domain.audit import Actor
from domain.errors import NotFound, Refusal
from domain.ids import UserId
from domain.projects import CreatedProject
from domain.users import Role
from operations.audit import AuditOperations
from operations.audit_writer import AuditWriter
from operations.people.composition import People
from operations.responses.audit import AuditList
from store.audit.log import AuditFilters
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import invitations, members, passkeys, sessions, users
from store.people import second_factor as factors
from tests.api.conftest import Unwritable
from tests.support.passkeys import new_passkey

OLGA = Actor("usr_olga", address="192.0.2.7", request_id="req_1")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cast:
    """The people by name, and the tokens and ids of open invitations."""

    people: People
    project_id: str
    ids: dict[str, UserId]
    invited: dict[str, tuple[str, str]]
    token: str  # of one of `sam`'s sessions

    async def end_one_of_sam(self) -> None:
        await self.people.sessions.end_session(
            self.ids["sam"], await self.a_session_of_sam(), actor=OLGA
        )

    async def a_session_of_sam(self) -> str:
        listed = await self.people.sessions.list_sessions(self.ids["sam"], token=self.token)
        return next(one.id for one in listed if not one.is_this)


def at(name: str) -> str:
    return f"{name}@shop.example"


ROLES = {
    "olga": Role.OWNER,
    "ada": Role.OPERATOR,
    "max": Role.VIEWER,
    "mia": Role.VIEWER,
    "eve": Role.OWNER,
}
OF_PROJECT = True
Act = Callable[[Cast], Awaitable[object]]
# The action, its subject by name (None: not known before), whether it belongs to the project, and
# its details.
Entry = tuple[str, str | None, bool, Json]
ACTS: dict[str, tuple[Act, list[Entry]]] = {
    "an administrator's account": (
        lambda c: c.people.accounts.create_user(at("new"), is_administrator=True, actor=OLGA),
        [
            ("user_created", None, False, {}),
            ("administrator_granted", None, False, {}),
            ("login_link_created", None, False, {}),
        ],
    ),
    "an account": (
        lambda c: c.people.accounts.create_user(at("newer"), is_administrator=False, actor=OLGA),
        [("user_created", None, False, {}), ("login_link_created", None, False, {})],
    ),
    "a link": (
        lambda c: c.people.accounts.create_link(at("bob"), actor=OLGA),
        [("login_link_created", "bob", False, {})],
    ),
    "an administrator": (
        lambda c: c.people.accounts.set_administrator(at("bob"), is_administrator=True, actor=OLGA),
        [("administrator_granted", "bob", False, {})],
    ),
    "no administrator": (
        lambda c: c.people.accounts.set_administrator(
            at("eve"), is_administrator=False, actor=OLGA
        ),
        [("administrator_revoked", "eve", False, {})],
    ),
    "a role": (
        lambda c: c.people.members.grant(c.project_id, at("bob"), "viewer", actor=OLGA),
        [("role_granted", "bob", OF_PROJECT, {"role": "viewer"})],
    ),
    "another role": (
        lambda c: c.people.members.change_role(c.project_id, c.ids["ada"], "viewer", actor=OLGA),
        [("role_changed", "ada", OF_PROJECT, {"role": "viewer", "before": "operator"})],
    ),
    "another role, by name": (
        lambda c: c.people.members.grant(c.project_id, at("ada"), "owner", actor=OLGA),
        [("role_changed", "ada", OF_PROJECT, {"role": "owner", "before": "viewer"})],
    ),
    "a removal": (
        lambda c: c.people.members.remove_member(c.project_id, c.ids["max"], actor=OLGA),
        [("role_revoked", "max", OF_PROJECT, {"role": "operator"})],
    ),
    "a removal, by name": (
        lambda c: c.people.members.revoke(c.project_id, at("mia"), actor=OLGA),
        [("role_revoked", "mia", OF_PROJECT, {"role": "viewer"})],
    ),
    "an invitation": (
        lambda c: c.people.invitations.invite(
            c.project_id, email=at("zoe"), role="operator", actor=OLGA
        ),
        [("invitation_created", None, OF_PROJECT, {"role": "operator"})],
    ),
    "an invitation withdrawn": (
        lambda c: c.people.invitations.withdraw(c.project_id, c.invited["dan"][1], actor=OLGA),
        [("invitation_withdrawn", "dan's invitation", OF_PROJECT, {})],
    ),
    "one session ended": (
        lambda c: c.end_one_of_sam(),
        [("sessions_ended", "sam", False, {"which": "one", "ended": 1})],
    ),
    "other sessions ended": (
        lambda c: c.people.sessions.end_sessions(c.ids["sam"], but_for=c.token, actor=OLGA),
        [("sessions_ended", "sam", False, {"which": "others", "ended": 1})],
    ),
    "all sessions ended": (
        lambda c: c.people.sessions.end_sessions_of(at("sam"), actor=OLGA),
        [("sessions_ended", "sam", False, {"which": "all", "ended": 1})],
    ),
    "a second factor reset": (
        lambda c: c.people.accounts.reset_totp(at("sam"), actor=OLGA),
        [("second_factor_reset", "sam", False, {})],
    ),
    "passkeys removed": (
        lambda c: c.people.passkeys.remove_passkeys(at("sam"), actor=OLGA),
        [("passkeys_reset", "sam", False, {"removed": 1})],
    ),
    "an account deleted": (
        lambda c: c.people.accounts.delete_user(at("eve"), actor=OLGA),
        [
            ("role_revoked", "eve", OF_PROJECT, {"role": "owner"}),
            ("user_deleted", "eve", False, {}),
        ],
    ),
}
# The same for accepting an invitation. The invited person is the actor, at the request's address.
TAKEN: dict[str, tuple[Act, list[Entry]]] = {
    "a new account": (
        lambda c: c.people.invitations.join(c.invited["tom"][0], as_user=None, actor=OLGA),
        [
            ("user_created", None, False, {"by": "invitation"}),
            (
                "invitation_accepted",
                "tom's invitation",
                OF_PROJECT,
                {"role": "operator", "before": None},
            ),
        ],
    ),
    "a known one": (
        lambda c: c.people.invitations.join(c.invited["max"][0], as_user=c.ids["max"], actor=OLGA),
        [
            (
                "invitation_accepted",
                "max's invitation",
                OF_PROJECT,
                {"role": "operator", "before": "viewer"},
            )
        ],
    ),
}


@pytest.fixture
async def cast(database: Database, sealer: Sealer, project: CreatedProject) -> Cast:
    """An owner, members and administrators; `sam` with an authenticator app, a passkey and three
    sessions; three invited people.
    """
    ids, invited, project_id = {}, {}, project.project.id
    async with database.transaction() as session:
        now = await database.now(session)
        for name in (*ROLES, "bob", "sam"):
            ids[name] = (await users.create_user(session, email=at(name), now=now)).user_id
        for name, role in ROLES.items():
            await members.grant(
                session, project_id=project_id, user_id=ids[name], role=role, now=now
            )
        for name in ("eve", "sam"):
            await members.promote(session, ids[name], now=now)
        secret = await factors.begin_totp(session, sealer, ids["sam"], now=now)
        await factors.confirm_totp(
            session, sealer, ids["sam"], code=pyotp.TOTP(secret).at(now), now=now
        )
        await passkeys.add_passkey(session, ids["sam"], new_passkey(), name="Phone", now=now)
        tokens = [
            await sessions.open_session(session, user_id=ids["sam"], now=now) for _ in range(3)
        ]
        for name in ("dan", "tom", "max"):
            invited[name] = await invitations.invite(
                session,
                project_id=project_id,
                email=at(name),
                role=Role.OPERATOR,
                invited_by=ids["olga"],
                now=now,
            )
    return Cast(People.build(database, sealer), project_id, ids, invited, tokens[0])


async def log_of(database: Database, sealer: Sealer) -> list[Json]:
    """The whole log, oldest first."""
    page = await AuditOperations(database, AuditWriter(database, sealer), sealer=sealer).list_audit(
        AuditFilters(project_id=None), limit=100
    )
    return list(reversed(AuditList.of(page).to_json()["data"]))


def entry_of(cast: Cast, entry: Json) -> Entry:
    """An entry in the form of the tables above."""
    names: dict[str, str | None] = {user_id: name for name, user_id in cast.ids.items()}
    names |= {
        invitation_id: f"{name}'s invitation" for name, (_, invitation_id) in cast.invited.items()
    }
    assert entry["subject_type"] == (
        "invitation" if entry["action"].startswith("invitation") else "user"
    )
    assert entry["project_id"] in (None, cast.project_id)
    return (
        entry["action"],
        names.get(entry["subject_id"]),
        entry["project_id"] is not None,
        entry["details"],
    )


async def test_each_act_leaves_its_entries_without_any_value_of_a_person(
    cast: Cast, database: Database, sealer: Sealer
) -> None:
    found: dict[str, list[Entry]] = {}
    for name, (act, _) in {**TAKEN, **ACTS}.items():
        before = len(await log_of(database, sealer))
        await act(cast)
        found[name] = [entry_of(cast, entry) for entry in (await log_of(database, sealer))[before:]]

    log = await log_of(database, sealer)
    by_taker, by_olga = log[: len(TAKEN) + 1], log[len(TAKEN) + 1 :]
    assert found == {name: entries for name, (_, entries) in {**TAKEN, **ACTS}.items()}
    assert [entry["actor"] for entry in by_taker] == [by_taker[0]["subject_id"]] * 2 + [
        cast.ids["max"]
    ]
    assert {entry["actor"] for entry in by_olga} == {OLGA.id}
    assert {(entry["address"], entry["request_id"]) for entry in log} == {
        (OLGA.address, OLGA.request_id)
    }
    assert "shop.example" not in json.dumps(log)
    assert not [token for token, _ in cast.invited.values() if token in json.dumps(log)]


async def test_act_whose_entry_cannot_be_written_does_not_happen(
    cast: Cast, database: Database, unwritable_log: Unwritable
) -> None:
    before = await rows_of(database)

    async with unwritable_log():
        for act, _ in {**TAKEN, **ACTS}.values():
            with pytest.raises(DBAPIError):
                await act(cast)

    assert await rows_of(database) == before


async def test_what_changes_nothing_and_what_is_refused_leaves_no_entry(
    cast: Cast, database: Database, sealer: Sealer
) -> None:
    people, project_id = cast.people, cast.project_id
    await people.members.grant(project_id, at("ada"), "operator", actor=OLGA)
    await people.accounts.set_administrator(at("eve"), is_administrator=True, actor=OLGA)
    await people.accounts.set_administrator(at("bob"), is_administrator=False, actor=OLGA)
    await people.accounts.reset_totp(at("bob"), actor=OLGA)
    await people.passkeys.remove_passkeys(at("bob"), actor=OLGA)
    refused: list[Awaitable[object]] = [
        people.members.revoke(project_id, at("bob"), actor=OLGA),
        people.invitations.withdraw(project_id, "inv_none", actor=OLGA),
        people.invitations.join("no token", as_user=None, actor=OLGA),
        people.invitations.join(cast.invited["max"][0], as_user=cast.ids["bob"], actor=OLGA),
        people.accounts.create_user(at("bob"), is_administrator=True, actor=OLGA),
        people.sessions.end_session(cast.ids["bob"], await cast.a_session_of_sam(), actor=OLGA),
    ]
    for act in refused:
        with pytest.raises(Refusal):
            await act

    assert await log_of(database, sealer) == []


async def test_deleted_account_is_gone_but_not_from_the_log(
    cast: Cast, database: Database, sealer: Sealer
) -> None:
    await cast.people.accounts.delete_user(at("ada"), actor=OLGA)

    with pytest.raises(NotFound):
        await cast.people.accounts.create_link(cast.ids["ada"], actor=OLGA)
    assert {entry["subject_id"] for entry in await log_of(database, sealer)} == {cast.ids["ada"]}


async def rows_of(database: Database) -> list[list[Any]]:
    """The stored rows that actions on people change."""
    names = (
        "users",
        "members",
        "administrators",
        "invitations",
        "sessions",
        "login_links",
        "totp_factors",
        "passkeys",
        "audit_log",
    )
    async with database.reading() as session:
        return [
            sorted((await session.execute(text(f"SELECT * FROM {name}"))).all(), key=repr)
            for name in names
        ]
