"""Who may come in, decided before a page or form runs: the session, where the form came from, and the role in the project.

Every address of the console is declared with what it needs; one that is not cannot be served. A project that a person does not
belong to is answered like one that does not exist, and so is everything in it.
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
# A browser says so of a page of our own, and of an address that was typed in.
OWN_SITE = ("same-origin", "none")


class Needs(Enum):
    """What an address asks of whoever comes; the roles are those in the project that the address belongs to."""

    NOBODY = "nobody in particular"
    USER = "a session"
    VIEWER = Role.VIEWER
    OPERATOR = Role.OPERATOR
    OWNER = Role.OWNER
    ADMINISTRATOR = "an administrator"


class Guard:
    """Admits a request to a page, or raises; made once per process."""

    def __init__(self, database: Database, sessions: Sessions, *, public_url: str) -> None:
        self._database = database
        self._sessions = sessions
        self._public_host = urlsplit(public_url).netloc.lower()

    async def admit(self, request: Request, needs: Needs) -> None:
        """Nothing when the request may go on; `request.state.viewer` is then who asks, where somebody had to sign in.

        Raises:
            SignInNeeded: nobody is signed in.
            FormRejected: the form has not this session's token, or is sent from another site.
            NotFound: the person does not belong to the project, or there is no such thing.
            Forbidden: the person's role is too low.
        """
        is_form = request.method not in SAFE_METHODS
        if is_form:
            self._check_origin(request)
        if needs is Needs.NOBODY:
            if is_form:
                await self._sessions.anonymous_form(request)
            return
        viewer = await self._sessions.viewer(request)
        if is_form:
            await self._sessions.form(request, viewer)
        await self._check_needs(needs, viewer, request.path_params)
        request.state.viewer = viewer

    def _check_origin(self, request: Request) -> None:
        """A browser says which site a form is on; a client that says nothing must have the form's token all the same."""
        site = request.headers.get("Sec-Fetch-Site")
        if site is not None and site not in OWN_SITE:
            raise FormRejected
        origin = request.headers.get("Origin")
        own_hosts = (request.headers.get("Host", "").lower(), self._public_host)
        if origin is not None and _host(origin) not in own_hosts:
            raise FormRejected

    async def _check_needs(self, needs: Needs, viewer: Viewer, named: Mapping[str, str]) -> None:
        if isinstance(needs.value, Role):
            await self._check_role(needs.value, viewer, named)
        elif needs is Needs.ADMINISTRATOR and not viewer.access.is_administrator:
            raise Forbidden("Only an administrator of this installation can open this.")

    async def _check_role(self, needed: Role, viewer: Viewer, named: Mapping[str, str]) -> None:
        project_id, missing = await self._project(named)
        if viewer.access.is_administrator:
            return
        role = None if project_id is None else viewer.access.role_in(project_id)
        if role is None:
            raise NotFound(missing)
        if not role.allows(needed):
            raise Forbidden(f"You are {role.value} in this project; this takes {needed.value}. An owner can change your role.")

    async def _project(self, named: Mapping[str, str]) -> tuple[ProjectId | None, str]:
        """The project that an address belongs to, and what is said where there is none: the same words as the page's own."""
        async with self._database.reading() as session:
            match named:
                case {"project_id": project_id}:
                    return ProjectId(project_id), "There is no such project."
                case {"event_id": event_id}:
                    found = await members.project_of_event(session, EventId(known_id(event_id)))
                    return found, "There is no such event."
                case {"incident_id": incident_id}:
                    found = await members.project_of_incident(session, IncidentId(known_id(incident_id)))
                    return found, "There is no such incident."
        raise LookupError("an address that needs a role names no project, event or incident")


def _host(origin: str) -> str | None:
    """The host and port that an Origin names; None when it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
