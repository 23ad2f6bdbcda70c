"""Members of a project: invitations, roles, removal. A project keeps its last owner."""

import re

import httpx
import pytest

from domain.projects import CreatedProject
from domain.users import Role
from tests.console.people import ConsoleWorld, Person

# Both databases are covered by the tests of the store.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

ADA = "ada@shop.example"


async def invite(
    owner: Person, project: CreatedProject, *, email: str = ADA, role: str = "operator"
) -> str:
    """Invite a person. Returns the token of the link, which is shown once."""
    path = f"/projects/{project.project.id}"
    await owner.post(f"{path}/members", email=email, role=role)
    shown, again = (await owner.get(path)).text, (await owner.get(path)).text
    (token,) = re.findall(r"http://makegood\.example/join\?token=([\w-]+)</code>", shown)
    assert token not in again
    return str(token)


@pytest.fixture
async def owner(world: ConsoleWorld, project: CreatedProject) -> Person:
    return await world.member("owner", project.project.id, Role.OWNER)


async def test_invitation_creates_an_account_and_a_member_once(
    world: ConsoleWorld, owner: Person, project: CreatedProject
) -> None:
    token = await invite(owner, project)
    ada, late = await world.nobody(), await world.nobody()

    offered = await ada.get(f"/join?token={token}")
    taken = await ada.post_anonymously("/join", token=token)
    again = await late.post_anonymously("/join", token=token)

    assert f"{ADA} is invited as operator" in offered.text
    assert (taken.status_code, taken.headers["location"]) == (303, "/login/password")
    assert (await ada.get(f"/projects/{project.project.id}")).status_code == 200
    assert (
        "You have the operator role in this project"
        in (await ada.get(f"/projects/{project.project.id}")).text
    )
    assert (again.status_code, late.token) == (422, "")
    assert "no longer valid" in again.text


async def test_invitation_grants_nothing_before_it_is_accepted(
    world: ConsoleWorld, owner: Person, project: CreatedProject
) -> None:
    await invite(owner, project)

    page = (await owner.get(f"/projects/{project.project.id}")).text

    assert re.search(rf"{ADA}<span class=\"under\">Invited, expires", page)
    assert "Member since" in page
    assert page.count("/role") == 1


async def test_invitation_of_an_existing_account_is_accepted_only_by_that_account(
    world: ConsoleWorld, owner: Person, project: CreatedProject, other_project: CreatedProject
) -> None:
    """Another holder of the link gets neither the account nor the membership."""
    ada = await world.member("ada", other_project.project.id, Role.VIEWER)
    token = await invite(owner, project)
    holder = await world.nobody()

    refused: list[httpx.Response] = [
        await holder.post_anonymously("/join", token=token),
        await owner.post_anonymously("/join", token=token),
    ]
    before = ada.token
    taken = await ada.post_anonymously("/join", token=token)

    assert [answer.status_code for answer in refused] == [422, 422]
    assert "sign in as them" in refused[0].text
    assert holder.token == ""
    assert taken.status_code == 303
    assert ada.token not in ("", before)
    assert (await ada.get(f"/projects/{project.project.id}")).status_code == 200


@pytest.mark.parametrize("how", ["withdrawn", "invited again", "owner gone"])
async def test_invalidated_invitation_is_refused(
    world: ConsoleWorld, owner: Person, project: CreatedProject, how: str
) -> None:
    token, path = await invite(owner, project), f"/projects/{project.project.id}"
    match how:
        case "withdrawn":
            (withdraw,) = re.findall(
                rf'action="({path}/invitations/\w+/withdraw)"', (await owner.get(path)).text
            )
            await owner.post(withdraw)
        case "invited again":
            assert await invite(owner, project) != token
        case _:
            administrator = await world.administrator()
            await world.member("second", project.project.id, Role.OWNER)
            await administrator.post(f"{path}/members/{owner.user_id}/role", role="operator")
    ada = await world.nobody()

    answer = await ada.post_anonymously("/join", token=token)

    assert (answer.status_code, ada.token) == (422, "")


async def test_invitation_never_lowers_a_role(
    world: ConsoleWorld, owner: Person, project: CreatedProject
) -> None:
    token = await invite(owner, project, email=owner.email, role="viewer")

    await owner.post_anonymously("/join", token=token)

    assert 'id="members"' in (await owner.get(f"/projects/{project.project.id}")).text


async def test_deleted_project_is_gone_for_its_members_who_stay_signed_in(
    world: ConsoleWorld, owner: Person, project: CreatedProject, other_project: CreatedProject
) -> None:
    path, token = f"/projects/{project.project.id}", await invite(owner, project)
    viewer = await world.member("viewer", project.project.id, Role.VIEWER)
    elsewhere = await world.member("elsewhere", other_project.project.id, Role.OWNER)
    ada = await world.nobody()

    deleted = await owner.post(f"{path}/delete", confirmation=project.project.name)

    assert (deleted.status_code, deleted.headers["location"]) == (303, "/projects")
    for person, lists in ((owner, False), (viewer, False), (elsewhere, True)):
        page = await person.get("/projects")
        assert (page.status_code, project.project.id in page.text) == (200, False)
        assert (other_project.project.id in page.text) is lists
        assert (await person.get(path)).status_code == 404
    assert (await ada.post_anonymously("/join", token=token)).status_code == 422
    assert ada.token == ""


async def test_last_owner_cannot_be_removed(
    world: ConsoleWorld, owner: Person, project: CreatedProject
) -> None:
    path = f"/projects/{project.project.id}/members"
    administrator = await world.administrator()

    for action, role in (
        (f"{path}/{owner.user_id}/remove", ""),
        (f"{path}/{owner.user_id}/role", "viewer"),
    ):
        await administrator.post(action, role=role)
        assert "last owner" in (await administrator.get(f"/projects/{project.project.id}")).text
    await world.member("second", project.project.id, Role.OWNER)
    await administrator.post(f"{path}/{owner.user_id}/remove")

    assert owner.email not in (await administrator.get(f"/projects/{project.project.id}")).text


@pytest.mark.parametrize(
    ("field", "value", "message"), [("email", "nobody", "no"), ("role", "root", "A role is one of")]
)
async def test_invalid_invitation_is_reported(
    owner: Person, project: CreatedProject, field: str, value: str, message: str
) -> None:
    path = f"/projects/{project.project.id}"

    await owner.post(f"{path}/members", **({"email": ADA, "role": "viewer"} | {field: value}))

    page = (await owner.get(path)).text
    assert 'class="notice bad"' in page
    assert ("Must be an e-mail address" in page) is (field == "email")
    assert message in page


async def test_only_roles_of_members_can_be_changed(
    world: ConsoleWorld, owner: Person, project: CreatedProject
) -> None:
    """Owners cannot find out who has an account, and cannot add users without an invitation."""
    outsider = await world.administrator()
    path = f"/projects/{project.project.id}"

    notices = []
    for user_id in (outsider.user_id, "usr_none"):
        await owner.post(f"{path}/members/{user_id}/role", role="viewer")
        notices.append(
            re.findall(r'class="notice bad".*?</div>', (await owner.get(path)).text, re.DOTALL)
        )

    assert notices[0] == notices[1]
    assert "no such member" in notices[0][0]
