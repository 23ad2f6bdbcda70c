"""Checks access before a page or form runs: the session, the origin of a form, and the role in the
project.

Every address of the console declares its access level. An address without one cannot be served.
A project that the viewer is not a member of is answered like one that does not exist.
"""

from collections.abc import Mapping
from enum import Enum
from urllib.parse import urlsplit

from starlette.requests import Request

from api.console.sign_in.sessions import FormRejected, Sessions, Viewer
from domain.errors import Forbidden, NotFound
from domain.ids import EventId, IncidentId, ProjectId
from domain.users import Role
from operations.validation import known_id
from store.db.database import Database
from store.people import members

SAFE_METHODS = ("GET", "HEAD")
# The values of Sec-Fetch-Site for our own pages and for an address that was typed in.
OWN_SITE = ("same-origin", "none")


class AccessLevel(Enum):
    """What an address requires. Roles are those in the project that the address belongs to."""

    PUBLIC = "nothing"
    SIGNED_IN = "a session"
    VIEWER = Role.VIEWER
    OPERATOR = Role.OPERATOR
    OWNER = Role.OWNER
    ADMINISTRATOR = "an administrator"


class Guard:
    """Admits a request to a page, or raises. Created once per process."""

    def __init__(self, database: Database, sessions: Sessions, *, public_url: str) -> None:
        self._database = database
        self._sessions = sessions
        self._public_host = urlsplit(public_url).netloc.lower()

    async def admit(self, request: Request, level: AccessLevel) -> None:
        """Check the request. Sets `request.state.viewer`, except for public addresses.

        Raises:
            SignInNeeded: nobody is signed in.
            FormRejected: the form lacks this session's token, or was sent from another site.
            NotFound: the viewer is not a member of the project, or there is no such object.
            Forbidden: the viewer's role is too low.
        """
        is_form = request.method not in SAFE_METHODS
        if is_form:
            self._check_origin(request)
        if level is AccessLevel.PUBLIC:
            if is_form:
                await self._sessions.anonymous_form(request)
            return
        viewer = await self._sessions.viewer(request)
        if is_form:
            await self._sessions.form(request, viewer)
        await self._check_level(level, viewer, request.path_params)
        request.state.viewer = viewer

    def _check_origin(self, request: Request) -> None:
        """Reject a form from another site.

        A client that sends neither header still needs the form token.
        """
        site = request.headers.get("Sec-Fetch-Site")
        if site is not None and site not in OWN_SITE:
            raise FormRejected
        origin = request.headers.get("Origin")
        own_hosts = (request.headers.get("Host", "").lower(), self._public_host)
        if origin is not None and _host(origin) not in own_hosts:
            raise FormRejected

    async def _check_level(
        self, level: AccessLevel, viewer: Viewer, path_params: Mapping[str, str]
    ) -> None:
        if isinstance(level.value, Role):
            await self._check_role(level.value, viewer, path_params)
        elif level is AccessLevel.ADMINISTRATOR and not viewer.access.is_administrator:
            raise Forbidden("Only administrators of this installation can open this page.")

    async def _check_role(
        self, needed: Role, viewer: Viewer, path_params: Mapping[str, str]
    ) -> None:
        project_id, missing = await self._project(path_params)
        if viewer.access.is_administrator:
            return
        role = None if project_id is None else viewer.access.role_in(project_id)
        if role is None:
            raise NotFound(missing)
        if not role.allows(needed):
            roles = f"Your role in this project is {role.value}. This requires {needed.value}."
            raise Forbidden(f"{roles} An owner can change your role.")

    async def _project(self, path_params: Mapping[str, str]) -> tuple[ProjectId | None, str]:
        """The project of an address, and the text of its 404: the same as the page's own."""
        async with self._database.reading() as session:
            match path_params:
                case {"project_id": project_id}:
                    return ProjectId(project_id), "There is no such project."
                case {"event_id": event_id}:
                    found = await members.project_of_event(session, EventId(known_id(event_id)))
                    return found, "There is no such event."
                case {"incident_id": incident_id}:
                    found = await members.project_of_incident(
                        session, IncidentId(known_id(incident_id))
                    )
                    return found, "There is no such incident."
        raise LookupError("an address that requires a role has no project, event or incident")


def _host(origin: str) -> str | None:
    """Host and port of an Origin header. None if it is malformed."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
