"""Actions on members, sessions and sign-in are in the audit log with their actor."""

import json
import re
from datetime import timedelta

import pyotp
import pytest

from api.console.composition import ConsoleDependencies
from domain.ids import UserId
from domain.projects import CreatedProject
from domain.users import Role
from store.people import second_factor as factors
from tests.console.conftest import PASSWORD, Visitor
from tests.console.pages.test_audit import Json, log
from tests.console.people import ConsoleWorld, Person
from tests.console.sign_in.test_step_up import send, submit_proof

# Both databases are covered by the tests of the store.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

ADA = "ada@shop.example"


@pytest.fixture
async def owner(world: ConsoleWorld, project: CreatedProject) -> Person:
    return await world.member("owner", project.project.id, Role.OWNER)


async def invited(owner: Person, project: CreatedProject, *, email: str = ADA) -> str:
    """Invite a person. Returns the token of the link that the owner sees."""
    path = f"/projects/{project.project.id}"
    await owner.post(f"{path}/members", email=email, role="viewer")
    (token,) = re.findall(r"/join\?token=([\w-]+)</code>", (await owner.get(path)).text)
    return str(token)


@pytest.fixture
async def operator(signed_in_by_form: Visitor) -> Visitor:
    """The sign-in has its entry in the audit log."""
    return signed_in_by_form


def acts(entries: list[Json]) -> list[tuple[str, str, Json]]:
    return [(entry["action"], entry["actor"], entry["details"]) for entry in entries]


async def test_membership_changes_are_recorded_with_their_actor(
    world: ConsoleWorld, owner: Person, project: CreatedProject
) -> None:
    path, ada = f"/projects/{project.project.id}", await world.nobody()
    token = await invited(owner, project)
    await ada.post_anonymously("/join", token=token)
    ada_id = (await log(world.parts))[-1]["actor"]
    await owner.post(f"{path}/members/{ada_id}/role", role="operator")
    await owner.post(f"{path}/members/{ada_id}/role", role="operator")
    await owner.post(f"{path}/members/{ada_id}/remove")
    await invited(owner, project, email="bob@shop.example")
    (withdraw,) = re.findall(
        rf'action="({path}/invitations/\w+/withdraw)"', (await owner.get(path)).text
    )
    await owner.post(withdraw)

    entries = await log(world.parts)

    assert acts(entries) == [
        ("invitation_created", owner.user_id, {"role": "viewer"}),
        ("user_created", ada_id, {"by": "invitation"}),
        ("invitation_accepted", ada_id, {"role": "viewer", "before": None}),
        ("signed_in", ada_id, {"by": "invitation"}),
        ("role_changed", owner.user_id, {"role": "operator", "before": "viewer"}),
        ("role_revoked", owner.user_id, {"role": "operator"}),
        ("invitation_created", owner.user_id, {"role": "viewer"}),
        ("invitation_withdrawn", owner.user_id, {}),
    ]
    assert {entry["address"] for entry in entries} == {"127.0.0.1"}
    assert not re.search(f"shop.example|{token}", json.dumps(entries))


async def test_owner_sees_members_by_email_address(
    world: ConsoleWorld, owner: Person, project: CreatedProject
) -> None:
    ada = await world.member("ada", project.project.id, Role.VIEWER)
    await ada.post("/account/sessions/end-others")
    await owner.post(f"/projects/{project.project.id}/members/{ada.user_id}/role", role="operator")

    page = (await owner.get(f"/audit?project={project.project.id}")).text

    assert f'Role changed</span><span class="under"><span>User {ADA}</span>' in page
    fact = '<span class="fact"><span class="hint">'
    assert f"{fact}Before</span> viewer</span>{fact}Role</span> operator</span>" in page
    assert "Sessions ended</span>" not in page  # belongs to the installation, not to the project


async def test_ending_own_sessions_is_recorded(world: ConsoleWorld) -> None:
    person = await world.administrator()
    await world.browser(person.user_id)
    await world.browser(person.user_id)
    end = re.findall(r'action="(/account/sessions/\w+/end)"', (await person.get("/account")).text)[
        0
    ]
    await person.post(end)
    await person.post("/account/sessions/end-others")

    assert acts(await log(world.parts)) == [
        ("sessions_ended", person.user_id, {"which": "one", "ended": 1}),
        ("sessions_ended", person.user_id, {"which": "others", "ended": 1}),
    ]


async def test_failed_proofs_and_used_recovery_codes_are_recorded(
    member: Visitor, parts: ConsoleDependencies, project: CreatedProject
) -> None:
    path, clock = f"/projects/{project.project.id}/keys", parts.database.clock
    clock.skew = timedelta(minutes=11)
    asked = await send(member, path, label="mine")
    await submit_proof(member, asked, "a wrong guess")
    user_id = (await log(parts))[0]["actor"]
    async with parts.database.transaction() as session:
        now = await parts.database.now(session)
        totp = pyotp.TOTP(await factors.begin_totp(session, parts.sealer, UserId(user_id), now=now))
        codes = await factors.confirm_totp(
            session, parts.sealer, UserId(user_id), code=totp.at(now), now=now
        )
    assert codes is not None
    await submit_proof(member, asked, PASSWORD)  # a code is required now
    await submit_proof(member, asked, codes[0])

    *recorded, key = (await log(parts))[2:]
    assert acts(recorded) == [
        ("proof_failed", user_id, {"by": "password"}),
        ("proof_failed", user_id, {"by": "code"}),
        ("recovery_code_used", user_id, {"left": 9}),
    ]
    assert key["action"] == "key_created"
