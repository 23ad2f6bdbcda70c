"""The access rules: what an address of the console requires, checked before its page or form runs.

Every route has one `AccessRule` (`routes` of each page). Its checks run in this order:

1. A form comes from this site (`check_origin`).
2. Somebody is signed in, except at public addresses and those of signed links.
3. A form carries the token of the session.
4. The viewer's role allows the address. A project that the viewer is not a member of is answered
   like one that does not exist.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Path
from fastapi.params import Depends as Dependency
from starlette.requests import Request
from starlette.responses import Response

from api.console.dependencies import (
    SAFE_METHODS,
    AnonymousFields,
    CheckedFields,
    CurrentViewer,
    console_of,
)
from api.console.sign_in.forms import FormRejected
from domain.errors import Forbidden, NotFound
from domain.ids import BulkId, EventId, GroupId, IncidentId, ProjectId
from domain.users import Role
from operations.validation import known_id
from store.people import members

# The values of Sec-Fetch-Site for our own pages and for an address that was typed in.
OWN_SITE = ("same-origin", "none")


class AccessRule(Dependency):
    """The dependency that admits a request to its route, or raises."""


# The handler of a page or form. Its parameters are dependencies and path parameters.
Handler = Callable[..., Awaitable[Response]]
# Method, path, handler and access rule.
RouteSpec = tuple[str, str, Handler, AccessRule]


@dataclass(frozen=True, slots=True)
class NamedProject:
    """The project that an address belongs to. None if there is no such object.

    `missing` is the text of its 404: the same as the page's own.
    """

    project_id: ProjectId | None
    missing: str


FindProject = Callable[..., Awaitable[NamedProject]]


async def check_origin(request: Request) -> None:
    """Reject a form from another site.

    A client that sends neither header still needs the form token. Raises: FormRejected.
    """
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in OWN_SITE:
        raise FormRejected
    origin = request.headers.get("Origin")
    public_host = _host(console_of(request).parts.public_url)
    own_hosts = (request.headers.get("Host", "").lower(), public_host)
    if origin is not None and _host(origin) not in own_hosts:
        raise FormRejected


async def allow_anyone(_: AnonymousFields) -> None:
    """A public address. Its form carries the token of a cookie. Raises: FormRejected."""


async def allow_link() -> None:
    """An address whose signed token is the authority: it needs no cookie and no form token."""


async def require_session(_: CheckedFields) -> None:
    """An address of every user. Raises: SignInNeeded, FormRejected."""


async def require_administrator(viewer: CurrentViewer, _: CheckedFields) -> None:
    """An address of the installation. Raises: SignInNeeded, FormRejected, Forbidden."""
    if not viewer.access.is_administrator:
        raise Forbidden("Only administrators of this installation can open this page.")


async def find_project(project_id: Annotated[str, Path()]) -> NamedProject:
    return NamedProject(ProjectId(project_id), "There is no such project.")


async def find_project_of_event(request: Request, event_id: Annotated[str, Path()]) -> NamedProject:
    async with console_of(request).parts.database.reading() as session:
        found = await members.project_of_event(session, EventId(known_id(event_id)))
    return NamedProject(found, "There is no such event.")


async def find_project_of_incident(
    request: Request, incident_id: Annotated[str, Path()]
) -> NamedProject:
    async with console_of(request).parts.database.reading() as session:
        found = await members.project_of_incident(session, IncidentId(known_id(incident_id)))
    return NamedProject(found, "There is no such incident.")


async def find_project_of_group(request: Request, group_id: Annotated[str, Path()]) -> NamedProject:
    async with console_of(request).parts.database.reading() as session:
        found = await members.project_of_group(session, GroupId(known_id(group_id)))
    return NamedProject(found, "There is no such group.")


async def find_project_of_bulk(request: Request, bulk_id: Annotated[str, Path()]) -> NamedProject:
    async with console_of(request).parts.database.reading() as session:
        found = await members.project_of_bulk_repair(session, BulkId(known_id(bulk_id)))
    return NamedProject(found, "There is no such bulk repair.")


def require_role(role: Role, *, find: FindProject = find_project) -> AccessRule:
    """The rule of an address of a project. `find` is the dependency that finds the project.

    The rule raises:
        SignInNeeded, FormRejected.
        NotFound: the viewer is not a member of the project, or there is no such object.
        Forbidden: the viewer's role is too low.
    """

    async def require(
        viewer: CurrentViewer, _: CheckedFields, named: Annotated[NamedProject, Depends(find)]
    ) -> None:
        if viewer.access.is_administrator:
            return
        own = None if named.project_id is None else viewer.access.role_in(named.project_id)
        if own is None:
            raise NotFound(named.missing)
        if not own.allows(role):
            roles = f"Your role in this project is {own.value}. This requires {role.value}."
            raise Forbidden(f"{roles} An owner can change your role.")

    return AccessRule(require)


ANYONE = AccessRule(allow_anyone)
BY_LINK = AccessRule(allow_link)
SIGNED_IN = AccessRule(require_session)
ADMINISTRATOR = AccessRule(require_administrator)
PROJECT_VIEWER = require_role(Role.VIEWER)
PROJECT_OPERATOR = require_role(Role.OPERATOR)
PROJECT_OWNER = require_role(Role.OWNER)
EVENT_VIEWER = require_role(Role.VIEWER, find=find_project_of_event)
EVENT_OPERATOR = require_role(Role.OPERATOR, find=find_project_of_event)
EVENT_OWNER = require_role(Role.OWNER, find=find_project_of_event)
INCIDENT_VIEWER = require_role(Role.VIEWER, find=find_project_of_incident)
INCIDENT_OPERATOR = require_role(Role.OPERATOR, find=find_project_of_incident)
BULK_VIEWER = require_role(Role.VIEWER, find=find_project_of_bulk)
BULK_OPERATOR = require_role(Role.OPERATOR, find=find_project_of_bulk)
GROUP_VIEWER = require_role(Role.VIEWER, find=find_project_of_group)
GROUP_OPERATOR = require_role(Role.OPERATOR, find=find_project_of_group)


def _host(url: str) -> str | None:
    """Host and port of a URL, or of an Origin header. None if it is malformed."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return None
