"""What people do at the console about members, sessions and sign-in is in the audit log under their own name."""

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
from tests.console.people import Person, Town
from tests.console.sign_in.test_step_up import go_on, send

# What the store does on either engine has its tests there.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

ADA = "ada@shop.example"


@pytest.fixture
async def owner(town: Town, project: CreatedProject) -> Person:
    return await town.member("owner", project.project.id, Role.OWNER)


async def invited(owner: Person, project: CreatedProject, *, email: str = ADA) -> str:
    """The token of the link that the owner is shown."""
    path = f"/projects/{project.project.id}"
    await owner.post(f"{path}/members", email=email, role="viewer")
    (token,) = re.findall(r"/join\?token=([\w-]+)</code>", (await owner.get(path)).text)
    return str(token)


def acts(entries: list[Json]) -> list[tuple[str, str, Json]]:
    return [(entry["action"], entry["actor"], entry["details"]) for entry in entries]


async def test_members_come_and_go_under_the_names_of_those_who_did_it(
    town: Town, owner: Person, project: CreatedProject
) -> None:
    path, ada = f"/projects/{project.project.id}", await town.nobody()
    token = await invited(owner, project)
    await ada.post_anonymously("/join", token=token)
    ada_id = (await log(town.parts))[-1]["actor"]
    await owner.post(f"{path}/members/{ada_id}/role", role="operator")
    await owner.post(f"{path}/members/{ada_id}/role", role="operator")
    await owner.post(f"{path}/members/{ada_id}/remove")
    await invited(owner, project, email="bob@shop.example")
    (withdraw,) = re.findall(rf'action="({path}/invitations/\w+/withdraw)"', (await owner.get(path)).text)
    await owner.post(withdraw)

    entries = await log(town.parts)

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


async def test_owner_reads_of_his_members_with_their_addresses(town: Town, owner: Person, project: CreatedProject) -> None:
    ada = await town.member("ada", project.project.id, Role.VIEWER)
    await ada.post("/account/sessions/end-others")
    await owner.post(f"/projects/{project.project.id}/members/{ada.user_id}/role", role="operator")

    page = (await owner.get(f"/audit?project={project.project.id}")).text

    assert f'Role changed</span><span class="under"><span>User {ADA}</span>' in page
    assert 'hint">Before</span> viewer</span><span class="fact"><span class="hint">Role</span> operator</span>' in page
    assert "Sessions ended</span>" not in page  # the installation's, not the project's


async def test_ones_sessions_are_ended_in_ones_own_name(town: Town) -> None:
    person = await town.administrator()
    await town.browser(person.user_id)
    await town.browser(person.user_id)
    end = re.findall(r'action="(/account/sessions/\w+/end)"', (await person.get("/account")).text)[0]
    await person.post(end)
    await person.post("/account/sessions/end-others")

    assert acts(await log(town.parts)) == [
        ("sessions_ended", person.user_id, {"which": "one", "ended": 1}),
        ("sessions_ended", person.user_id, {"which": "others", "ended": 1}),
    ]


async def test_wrong_proofs_and_recovery_codes_given_for_them_are_told(
    member: Visitor, parts: ConsoleDependencies, project: CreatedProject
) -> None:
    path, clock = f"/projects/{project.project.id}/keys", parts.database.clock
    clock.skew = timedelta(minutes=11)
    asked = await send(member, path, label="mine")
    await go_on(member, asked, "a wrong guess")
    user_id = (await log(parts))[0]["actor"]
    async with parts.database.transaction() as session:
        now = await parts.database.now(session)
        totp = pyotp.TOTP(await factors.begin_totp(session, parts.sealer, UserId(user_id), now=now))
        codes = await factors.confirm_totp(session, parts.sealer, UserId(user_id), code=totp.at(now), now=now)
    assert codes is not None
    await go_on(member, asked, PASSWORD)  # which is not what is asked for any more
    await go_on(member, asked, codes[0])

    *told, key = (await log(parts))[2:]
    assert acts(told) == [
        ("proof_failed", user_id, {"by": "password"}),
        ("proof_failed", user_id, {"by": "code"}),
        ("recovery_code_used", user_id, {"left": 9}),
    ]
    assert key["action"] == "key_created"
