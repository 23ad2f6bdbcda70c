"""Access control: every address of the console against every role, and forms of other sites.

The tables are compared with the router, so that every address has a row and every row an address.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.responses import Response

from api.console.access import AccessRule
from api.console.composition import ConsoleDependencies
from domain.ids import BulkId, EventId, IncidentId
from domain.projects import CreatedProject
from domain.repairing.bulk import Plan
from domain.users import Role
from store.repairing.bulk_repairs import NewBulkRepair, add_bulk_repair
from tests.console.pages.test_mailbox import mail
from tests.console.people import ANONYMOUS_TOKEN, ConsoleWorld, Person
from tests.support.given import Story

# Both databases are covered by the tests of the store.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

# The lowest access level of each address.
GET = {
    "/": "user",
    "/static/{name}": "anyone",
    "/rail": "user",
    "/login": "anyone",
    "/login/link": "anyone",
    "/login/password": "user",
    "/login/code": "anyone",
    "/login/oidc": "anyone",
    "/login/oidc/callback": "anyone",
    "/join": "anyone",
    "/account": "user",
    "/account/security": "user",
    "/account/totp": "user",
    "/account/totp/qr.svg": "user",
    "/account/passkeys/new": "user",
    "/incidents": "user",
    "/incidents/export": "user",
    "/incidents/{incident_id}": "viewer",
    "/groups/{group_id}": "viewer",
    "/events": "user",
    "/events/{event_id}": "viewer",
    "/events/{event_id}/evidence": "owner",
    "/overview": "user",
    "/events/{event_id}/repairs/{replay_id}": "viewer",
    "/bulk-repairs": "user",
    "/bulk-repairs/new": "user",
    "/bulk-repairs/{bulk_id}": "viewer",
    "/projects": "user",
    "/projects/{project_id}": "viewer",
    "/projects/{project_id}/start": "viewer",
    "/alerts/unsubscribe/{token}": "link",
    "/alerts/acknowledge/{token}": "link",
    "/projects/{project_id}/sources": "viewer",
    "/projects/{project_id}/sources/new": "owner",
    "/projects/{project_id}/sources/{source_id}": "viewer",
    **dict.fromkeys(("/instance", "/instance/users"), "administrator"),
    "/audit": "owner of what is chosen",
    "/mailbox": "administrator",
    "/mailbox/{name}": "administrator",
    "/mailbox/{name}/html": "administrator",
}


def of_each(path: str, acts: str, needs: str) -> dict[str, str]:
    """The addresses of the acts on an object, which need the same role."""
    return {f"{path}/{act}": needs for act in acts.split()}


PROJECT = "/projects/{project_id}"
POST = {
    "/login": "anyone",
    **of_each("/login", "link code", "anyone"),
    "/login/password": "user",
    "/join": "anyone",
    **of_each("/account", "totp totp/confirm totp/remove recovery-codes", "user"),
    **of_each("/login", "code/options passkey passkey/options", "anyone"),
    **of_each("/account", "dates passkeys passkeys/begin proof/options", "user"),
    **of_each("/account/passkeys", "{passkey_id}/rename {passkey_id}/remove", "user"),
    **of_each("/account/sessions", "end-others {session_id}/end", "user"),
    "/views": "user",
    "/views/{view_id}/remove": "user",
    **of_each("/groups/{group_id}", "mute unmute acknowledge resolve", "operator"),
    **of_each("/incidents/{incident_id}", "reprocess acknowledge unacknowledge", "operator"),
    **of_each("/incidents/{incident_id}", "assign comments snooze reopen resolve", "operator"),
    "/incidents/{incident_id}/stop-repair": "operator",
    **of_each("/events/{event_id}", "deadline expire restart", "operator"),
    "/events/{event_id}/payload": "owner",
    "/bulk-repairs/new": "user",
    **of_each("/bulk-repairs/{bulk_id}", "pause resume abort", "operator"),
    **of_each(PROJECT, "bulk-repairs holds holds/{hold_id}/remove", "operator"),
    **of_each(PROJECT, "delete keys signing-secret sources destinations repair-rules", "owner"),
    "/projects/{project_id}/repair-rules/{name}/arm": "operator",
    "/projects": "administrator",
    "/projects/{project_id}": "owner",
    **of_each(PROJECT, "start/hide start/show", "viewer"),
    **of_each(PROJECT, "start/key repair-url/test", "owner"),
    **of_each(PROJECT, "suspend resume", "administrator"),
    "/audit/export": "owner of what is chosen",
    **of_each(PROJECT, "keys/{key_id}/revoke signing-secret/finish deadline", "owner"),
    "/projects/{project_id}/sources/{source_id}": "owner",
    **of_each("/projects/{project_id}/sources/{source_id}", "check pause resume remove", "owner"),
    "/projects/{project_id}/destinations/{destination_id}": "owner",
    **of_each(f"{PROJECT}/destinations/{{destination_id}}", "test disable enable remove", "owner"),
    **of_each("/alerts", "unsubscribe/{token} acknowledge/{token}", "link"),
    **of_each(PROJECT, "members members/{user_id}/role members/{user_id}/remove", "owner"),
    "/projects/{project_id}/invitations/{invitation_id}/withdraw": "owner",
    "/logout": "user",
}
ROWS = [(method, *row) for method, of in (("GET", GET), ("POST", POST)) for row in of.items()]
# Allowed, but not found: no identity provider, no app or passkey that is being set up, no payload;
# the source, the repair and the links in mails are unknown ones.
NOTHING_THERE = {("POST", "/events/{event_id}/payload"), ("GET", "/account/passkeys/new")} | {
    ("GET", path)
    for path in ("/login/oidc", "/login/oidc/callback", "/account/totp", "/account/totp/qr.svg")
}
OF_NOTHING = (
    *("/projects/{project_id}/sources/{source_id}", "/events/{event_id}/repairs/{replay_id}"),
    *("/alerts/unsubscribe/{token}", "/alerts/acknowledge/{token}"),
)
NOTHING_THERE |= {(method, path) for method in ("GET", "POST") for path in OF_NOTHING}
ROLES = ("viewer", "operator", "owner")
UNKNOWN = {
    **{"token": "none", "name": "nobody", "session_id": "0" * 16},
    **{"project_id": "prj_none", "key_id": "key_none", "destination_id": "dst_none"},
    **{"user_id": "usr_none", "invitation_id": "inv_none", "view_id": "view_none"},
    **{"source_id": "src_none", "event_id": "evt_none", "incident_id": "inc_none"},
    **{"replay_id": "rpl_none", "group_id": "grp_none", "bulk_id": "blk_none"},
    **{"hold_id": "hld_none", "passkey_id": "psk_none"},
}
HOSTILE: Mapping[str, Mapping[str, str]] = {
    "another site": {"Sec-Fetch-Site": "cross-site"},
    "a neighbour of this host": {"Sec-Fetch-Site": "same-site"},
    "a foreign origin": {"Origin": "https://evil.example"},
    "a hidden origin": {"Origin": "null"},
    "a malformed origin": {"Origin": "http://["},
}


class Objects(NamedTuple):
    """The objects that addresses name."""

    project: CreatedProject
    event_id: EventId
    incident_id: IncidentId
    group_id: str
    mail: str
    bulk_id: BulkId

    def path(self, template: str) -> str:
        """The address with ids of this project. Ids that a form would change are unknown ones."""
        name = "console.css" if template.startswith("/static") else self.mail
        own = {
            "project_id": self.project.project.id,
            "event_id": self.event_id,
            "incident_id": self.incident_id,
            "group_id": self.group_id,
            "bulk_id": self.bulk_id,
            "name": name,
        }
        chosen = f"?project={self.project.project.id}" if template == "/audit" else ""
        return template.format(**{**UNKNOWN, **own}) + chosen

    def fields(self, template: str) -> dict[str, str]:
        """The fields that a form needs to be processed."""
        return {"project": self.project.project.id} if template == "/audit/export" else {}


@pytest.fixture
async def objects(story: Story, project: CreatedProject, tmp_path: Path) -> Objects:
    event_id, incident_id = await story.opened()
    group_id = (await story.rows("incidents", event_id))[0]["group_id"]
    new = NewBulkRepair("outage", "usr_1", Plan(), False, [(incident_id, event_id)])
    async with story.database.transaction() as session:
        bulk_id = await add_bulk_repair(session, project.project.id, new, story.at)
    return Objects(project, event_id, incident_id, group_id, mail(tmp_path / "mailbox"), bulk_id)


def expected(needs: str, who: str) -> str:
    if (
        needs in ("anyone", "link")
        or (needs == "user" and who != "nobody")
        or who == "administrator"
    ):
        return "in"
    if who == "nobody":
        return "sign in"
    if needs == "administrator":
        return "not allowed"
    if needs == "owner of what is chosen":
        # The filter names the project. For all others it is not found.
        return "in" if who == "owner" else "not found"
    if who == "other_tenant":
        return "not found"
    return "in" if ROLES.index(who) >= ROLES.index(needs) else "not allowed"


def outcome(answer: httpx.Response) -> str:
    match answer.status_code:
        case 303 if answer.headers["location"].partition("?")[
            0
        ] == "/login" and answer.request.url.path not in (
            "/logout",
            "/login/code",
        ):
            return "sign in"
        case 200 | 303 | 422:
            return "in"
        case 403:
            return "not allowed"
        case 404:
            return "not found"
    return str(answer.status_code)


async def ask(person: Person, method: str, path: str, needs: str, **fields: str) -> httpx.Response:
    if method == "GET":
        return await person.get(path)
    # Attempts are counted for each email address.
    return await (
        person.post_anonymously(path, email=person.email)
        if needs in ("anyone", "link")
        else person.post(path, **fields)
    )


def test_every_address_is_in_the_table(world: ConsoleWorld) -> None:
    routes = [route for route in world.router.routes if isinstance(route, APIRoute)]

    assert len(routes) == len(world.router.routes)
    assert sorted(
        (method, route.path) for route in routes for method in route.methods or ()
    ) == sorted((method, path) for method, path, _ in ROWS)


def test_every_address_has_one_access_rule(world: ConsoleWorld) -> None:
    routes = [route for route in world.router.routes if isinstance(route, APIRoute)]
    rules = {
        f"{method} {route.path}": [one for one in route.dependencies if isinstance(one, AccessRule)]
        for route in routes
        for method in route.methods or ()
    }

    assert len(rules) == len(ROWS)
    assert [address for address, found in rules.items() if len(found) != 1] == []


def test_address_without_an_access_rule_is_not_served(world: ConsoleWorld) -> None:
    async def page() -> Response:
        return Response()

    with pytest.raises(LookupError, match="/new has no access rule"):
        world.router.add_api_route("/new", page, methods=["GET"])

    assert "/new" not in [getattr(route, "path", "") for route in world.router.routes]


async def test_each_role_has_the_access_of_the_table(
    world: ConsoleWorld, objects: Objects, story: Story, other_project: CreatedProject
) -> None:
    project_id = objects.project.project.id
    people = {
        "nobody": await world.nobody(),
        "other_tenant": await world.member("other_tenant", other_project.project.id, Role.OWNER),
        **{role.value: await world.member(role.value, project_id, role) for role in Role},
        "administrator": await world.administrator(),
    }

    wrong = {}
    for who, person in people.items():
        for method, path, needs in ROWS:
            answer = await ask(person, method, objects.path(path), needs, **objects.fields(path))
            right = expected(needs, who)
            if right == "in" and (method, path) in NOTHING_THERE:
                right = "not found"
            if outcome(answer) != right and not (path == "/logout" and who == "nobody"):
                wrong[who, method, path] = (outcome(answer), right)
        if who == "viewer":
            assert await story.timeline(objects.event_id) == ["deadline_passed", "incident_opened"]
            assert await story.rows("repairs", objects.event_id) == []

    assert not wrong


async def test_object_of_another_project_is_answered_like_an_unknown_one(
    world: ConsoleWorld, objects: Objects, other_project: CreatedProject
) -> None:
    other = await world.member("other_tenant", other_project.project.id, Role.OWNER)

    for method, path, needs in ROWS:
        if needs in ROLES:
            foreign = await ask(other, method, objects.path(path), needs)
            unknown = await ask(other, method, path.format(**UNKNOWN), needs)
            assert (foreign.status_code, foreign.content) == (404, unknown.content), path
            assert foreign.headers == unknown.headers


async def test_lists_and_counts_hold_only_own_projects(
    world: ConsoleWorld, objects: Objects, other_project: CreatedProject
) -> None:
    other = await world.member("other_tenant", other_project.project.id, Role.OWNER)
    viewer = await world.member("viewer", objects.project.project.id, Role.VIEWER)

    for path in ("/events", "/incidents", "/projects", "/rail"):
        for narrowed in ("", f"?project={objects.project.project.id}", "?q=order"):
            theirs, own = (
                (await other.get(path + narrowed)).text,
                (await viewer.get(path + narrowed)).text,
            )
            shown = {
                "/events": objects.event_id,
                # By cause, unless there is a search.
                "/incidents": objects.event_id if "q=" in narrowed else objects.group_id,
                "/projects": ">shop<",
                "/rail": '"count">1<',
            }[path]

            assert shown not in theirs
            assert shown in own


async def test_page_offers_the_actions_of_the_role(world: ConsoleWorld, objects: Objects) -> None:
    project_id = objects.project.project.id
    page = {}
    for role in Role:
        person = await world.member(role.value, project_id, role)
        page[role] = (await person.get(f"/events/{objects.event_id}")).text + (
            await person.get(f"/projects/{project_id}")
        ).text

    assert [f"/incidents/{objects.incident_id}/reprocess" in page[role] for role in Role] == [
        False,
        True,
        True,
    ]
    assert [f"/projects/{project_id}/keys" in page[role] for role in Role] == [False, False, True]
    assert [objects.project.key.hint in page[role] for role in Role] == [False, False, True]


async def test_form_of_another_session_or_site_is_rejected(
    world: ConsoleWorld, objects: Objects, story: Story
) -> None:
    administrator = await world.administrator()
    other = await world.browser(administrator.user_id)

    wrong = {}
    for path, needs in POST.items():
        right = ANONYMOUS_TOKEN if needs == "anyone" else administrator.form_token
        # The signed link in the address is the authority, instead of a form token.
        tokens = {"no token": ("", {}), "another session's": (other.form_token, {})}
        tried = {} if needs == "link" else tokens
        tried |= {name: (right, dict(headers)) for name, headers in HOSTILE.items()}
        for name, (token, headers) in tried.items():
            answer = await administrator.client.post(
                objects.path(path), data={"form_token": token}, headers=headers
            )
            is_shown = administrator.form_token in answer.text
            if answer.status_code != 403 or "not accepted" not in answer.text or is_shown:
                wrong[path, name] = answer.status_code

    assert not wrong
    assert await story.timeline(objects.event_id) == ["deadline_passed", "incident_opened"]
    assert (await administrator.get("/account")).text.count("<tr>") == 3


async def test_form_of_this_site_is_accepted(world: ConsoleWorld, objects: Objects) -> None:
    administrator = await world.administrator()
    own = {"Sec-Fetch-Site": "same-origin", "Origin": world.parts.public_url}

    path = objects.path("/incidents/{incident_id}/acknowledge")
    answer = await administrator.client.post(
        path, data={"form_token": administrator.form_token}, headers=own
    )

    assert answer.status_code == 303


async def test_form_behind_a_proxy_is_accepted_by_the_public_name(
    parts: ConsoleDependencies, world: ConsoleWorld
) -> None:
    """The proxy may have changed the Host header."""
    behind = ConsoleWorld(replace(parts, public_url="http://console.example"), world.stack)
    administrator = await behind.administrator()
    own = {"Origin": "http://console.example", "Host": "10.0.0.7:8000"}

    answer = await administrator.client.post(
        "/logout", data={"form_token": administrator.form_token}, headers=own
    )

    assert answer.status_code == 303
