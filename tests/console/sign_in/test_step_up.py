"""Step-up authentication: which actions need a proof, and that they continue after it."""

import re
from datetime import timedelta

import httpx
import pyotp
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import text

from api.console.base import Console
from api.console.composition import ConsoleDependencies
from api.console.routes import console_router
from api.console.sign_in.step_up import SENSITIVE_ACTIONS
from domain.audit import Actor
from domain.projects import CreatedProject
from domain.security.login_backoff import CODE
from operations.people.composition import People
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import second_factor as factors
from store.people.users import list_users
from tests.console.conftest import EMAIL, PASSWORD, Visitor
from tests.console.people import ConsoleWorld
from tests.support.sources import stored_source

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

# Forms with their own proof, those of the sign-in, and those of signed links in mails.
OWN_PROOF = {"/login", "/login/link", "/login/code", "/join", "/account/totp/remove"} | {
    *("/login/passkey", "/login/passkey/options", "/login/code/options"),
    "/alerts/unsubscribe/{token}",
    "/alerts/acknowledge/{token}",
}
# Forms that need only a session: actions on incidents, and those that only remove rights.
ORDINARY = {
    "/logout",
    "/incidents/{incident_id}/reprocess",
    "/incidents/{incident_id}/acknowledge",
    "/incidents/{incident_id}/unacknowledge",
    "/incidents/{incident_id}/assign",
    "/incidents/{incident_id}/comments",
    "/incidents/{incident_id}/snooze",
    "/incidents/{incident_id}/reopen",
    "/events/{event_id}/deadline",
    "/incidents/{incident_id}/resolve",
    "/incidents/{incident_id}/stop-repair",
    "/events/{event_id}/payload",
    "/groups/{group_id}/mute",
    "/groups/{group_id}/unmute",
    "/groups/{group_id}/acknowledge",
    "/groups/{group_id}/resolve",
    "/bulk-repairs/new",
    *(f"/bulk-repairs/{{bulk_id}}/{act}" for act in ("pause", "resume", "abort")),
    "/projects/{project_id}/bulk-repairs",
    "/projects/{project_id}/holds",
    "/projects/{project_id}/holds/{hold_id}/remove",
    "/projects/{project_id}/repair-rules/{name}/arm",
    "/events/{event_id}/expire",
    "/events/{event_id}/restart",
    "/projects/{project_id}/deadline",
    "/projects/{project_id}/keys/{key_id}/revoke",
    "/projects/{project_id}/sources/{source_id}/check",
    "/projects/{project_id}/sources/{source_id}/pause",
    "/projects/{project_id}/sources/{source_id}/resume",
    "/projects/{project_id}/sources/{source_id}/remove",
    "/projects/{project_id}/destinations/{destination_id}/test",
    "/projects/{project_id}/repair-url/test",
    "/projects/{project_id}/start/hide",
    "/projects/{project_id}/start/show",
    "/projects/{project_id}/members/{user_id}/remove",
    "/projects/{project_id}/invitations/{invitation_id}/withdraw",
    "/account/sessions/end-others",
    "/account/sessions/{session_id}/end",
    "/views",
    "/views/{view_id}/remove",
    "/account/dates",
    # Begins a proof.
    "/account/proof/options",
}
# Tables that sensitive actions change.
CHANGED_TABLES = (
    *(
        "projects",
        "api_keys",
        "signing_secrets",
        "users",
        "totp_factors",
        "recovery_codes",
        "passkeys",
        "passkey_challenges",
        "members",
        "invitations",
        "sources",
        "alert_destinations",
        "repair_rules",
    ),
    "audit_log",
)


@pytest.fixture
async def stale(member: Visitor, database: Database, project: CreatedProject) -> Visitor:
    """A user who signed in more than 10 minutes ago."""
    database.clock.skew = timedelta(minutes=11)
    return member


async def send(visitor: Visitor, path: str, **fields: str) -> httpx.Response:
    """Submit a form with the token of the session."""
    page = (await visitor.open("/account/security")).text
    token = re.search(r'name="form_token" value="(\w+)"', page)
    assert token is not None
    return await visitor.client.post(path, data={"form_token": token[1], **fields})


async def submit_proof(
    visitor: Visitor, asked: httpx.Response, proof: str, *, path: str = ""
) -> httpx.Response:
    """Submit the step-up form with this proof, optionally to another path."""
    assert asks_for_proof(asked), asked.text
    action = re.search(r'<form method="post" action="([^"]*)"', asked.text)
    assert action is not None
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked.text))
    return await visitor.client.post(path or action[1], data={**hidden, "proof": proof})


def asks_for_proof(answer: httpx.Response) -> bool:
    return "Confirm it's you" in answer.text


def test_every_form_of_the_console_is_classified(parts: ConsoleDependencies) -> None:
    routes = [
        route for route in console_router(Console(parts)).routes if isinstance(route, APIRoute)
    ]
    forms = {route.path for route in routes if route.methods - {"GET", "HEAD"}}

    assert forms == {*SENSITIVE_ACTIONS, *OWN_PROOF, *ORDINARY}
    assert not set(SENSITIVE_ACTIONS) & (OWN_PROOF | ORDINARY)


async def test_every_sensitive_form_asks_first_and_changes_nothing(
    stale: Visitor, project: CreatedProject, database: Database
) -> None:
    before = await everything(database)
    # Enough fields for every action.
    fields = {
        "name": "new",
        "mode": "test",
        "label": "new",
        "email": EMAIL,
        "password": "another sentence to keep",
    }
    fields |= {
        "role": "viewer",
        "confirmation": project.project.name,
        "timeout_minutes": "5",
        "late_result": "note",
    }

    named = {"project_id": project.project.id, "user_id": "usr_none", "source_id": "src_none"}
    named |= {"destination_id": "dst_none", "passkey_id": "psk_none"}
    answers = {
        path: await send(stale, path.format(**named), **fields) for path in SENSITIVE_ACTIONS
    }

    assert [path for path, answer in answers.items() if not asks_for_proof(answer)] == []
    assert [
        path
        for path, answer in answers.items()
        if SENSITIVE_ACTIONS[path].description not in answer.text
    ] == []
    assert await everything(database) == before
    assert not any("another sentence to keep" in answer.text for answer in answers.values())


async def everything(database: Database) -> list[object]:
    async with database.reading() as session:
        return [
            (await session.execute(text(f"SELECT * FROM {table} ORDER BY 1"))).all()
            for table in CHANGED_TABLES
        ]


async def test_every_sensitive_form_names_a_page_that_exists(
    stale: Visitor, project: CreatedProject, database: Database, sealer: Sealer
) -> None:
    source = await stored_source(database, sealer, project.project.id)
    named = {"project_id": project.project.id, "source_id": source.id}
    pages = {one.page.format(**named) for one in SENSITIVE_ACTIONS.values()} - {"/account/totp"}

    assert [page for page in pages if (await stale.open(page)).status_code != 200] == []


async def test_proven_action_continues_and_the_next_one_does_not_ask(
    stale: Visitor, project: CreatedProject
) -> None:
    path = f"/projects/{project.project.id}/keys"

    asked = await send(stale, path, label="Production <app>", scopes="read")
    done = await submit_proof(stale, asked, PASSWORD)
    page = (await stale.open(done.headers["location"])).text
    next_one = await send(stale, path, label="another")

    assert done.status_code == 303
    assert "Production &lt;app&gt;" in page
    assert 'data-secret="API key"' in page
    assert next_one.status_code == 303


async def test_a_wrong_proof_changes_nothing_and_can_be_repeated(
    stale: Visitor, project: CreatedProject
) -> None:
    path = f"/projects/{project.project.id}/keys"

    asked = await send(stale, path, label="mine")
    wrong = await submit_proof(stale, asked, "a wrong guess")
    page = (await stale.open(f"/projects/{project.project.id}")).text
    right = await submit_proof(stale, wrong, PASSWORD)

    assert wrong.status_code == 422
    assert "mine" not in page
    assert right.status_code == 303


async def test_proof_attempts_are_rate_limited(
    stale: Visitor, project: CreatedProject, database: Database, sealer: Sealer
) -> None:
    await with_app(database, sealer)
    asked = await send(stale, f"/projects/{project.project.id}/keys", label="mine")

    answers = [
        (await submit_proof(stale, asked, "no code")).status_code for _ in range(CODE.free + 1)
    ]

    assert answers == [422] * CODE.free + [429]


async def with_app(database: Database, sealer: Sealer) -> str:
    """Set up an authenticator app for the only user. Returns its secret."""
    async with database.transaction() as session:
        (user,) = await list_users(session)
        before = await database.now(session) - timedelta(minutes=5)
        secret = await factors.begin_totp(session, sealer, user.user_id, now=before)
        await factors.confirm_totp(
            session, sealer, user.user_id, code=pyotp.TOTP(secret).at(before), now=before
        )
    return secret


async def test_user_with_an_app_must_give_a_code_not_the_password(
    stale: Visitor, project: CreatedProject, database: Database, sealer: Sealer
) -> None:
    secret = await with_app(database, sealer)
    asked = await send(stale, f"/projects/{project.project.id}/keys", label="mine")

    by_password = await submit_proof(stale, asked, PASSWORD)
    async with database.reading() as session:
        code = pyotp.TOTP(secret).at(await database.now(session))
    by_code = await submit_proof(stale, asked, code)

    assert (by_password.status_code, by_code.status_code) == (422, 303)


async def test_a_new_password_needs_a_proof(stale: Visitor) -> None:
    asked = await send(stale, "/login/password", email=EMAIL, password="another sentence to keep")

    wrong = await submit_proof(stale, asked, "a wrong guess")
    right = await submit_proof(stale, wrong, PASSWORD)

    assert (wrong.status_code, right.status_code, right.headers["location"]) == (
        422,
        303,
        "/incidents",
    )


async def test_an_invitation_is_no_proof(
    stale: Visitor, project: CreatedProject, world: ConsoleWorld
) -> None:
    """A session that is opened by an invitation keeps the time of the last proof."""
    path, before = f"/projects/{project.project.id}", stale.client.cookies["makegood_session"]
    people = People.build(world.parts.database, world.parts.sealer)
    token = await people.invitations.invite(
        project.project.id, email=EMAIL, role="owner", actor=Actor("usr_none")
    )

    taken = await stale.post("/join", page=f"/join?token={token}")

    assert (taken.status_code, taken.headers["location"]) == (303, "/projects")
    assert stale.client.cookies["makegood_session"] != before
    assert asks_for_proof(await send(stale, f"{path}/keys", label="mine"))


async def test_carried_fields_are_valid_for_their_own_action_only(
    stale: Visitor, project: CreatedProject
) -> None:
    path = f"/projects/{project.project.id}"
    asked = await send(stale, f"{path}/keys", label="mine")

    other = await submit_proof(stale, asked, PASSWORD, path=f"{path}/signing-secret")

    assert asks_for_proof(other)


async def test_a_proof_lasts_ten_minutes(
    member: Visitor, project: CreatedProject, database: Database
) -> None:
    path = f"/projects/{project.project.id}/keys"

    database.clock.skew = timedelta(minutes=9)
    within = await send(member, path, label="within")
    database.clock.skew = timedelta(minutes=10, seconds=1)
    after = await send(member, path, label="after")

    assert (within.status_code, asks_for_proof(after)) == (303, True)


async def test_form_without_its_token_is_rejected_before_the_proof(
    stale: Visitor, project: CreatedProject
) -> None:
    answer = await stale.client.post(
        f"/projects/{project.project.id}/keys", data={"form_token": "0" * 64, "proof": PASSWORD}
    )

    assert answer.status_code == 403


async def test_user_without_any_proof_sees_what_to_do(
    operator: Visitor, database: Database
) -> None:
    database.clock.skew = timedelta(minutes=11)

    answer = await send(operator, "/projects", name="new", mode="test")

    assert asks_for_proof(answer)
    assert "makegood user link" in answer.text
    assert 'name="proof"' not in answer.text
