"""The checklist of a project: its steps tick themselves, each with code to copy.

The code holds the reader's own address, and a key that a button makes on the spot. Like every
secret, the key is shown once: in the code of the page after the button was pressed.
"""

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import PROJECT_OWNER, PROJECT_VIEWER, RouteSpec
from api.console.base import Console, error_message, project_path
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.sign_in.cookies import Notice, Secret
from api.console.sign_in.sessions import Viewer
from api.console.ui.start.snippets import LANGUAGES, SnippetFacts, snippets_of
from api.console.ui.start.steps import shown_steps
from domain.errors import Refusal
from domain.projects import Project, Scope
from domain.values.timestamps import to_iso
from operations.onboarding.checklist import Checklist

KEY_LABEL = "Getting started"
API_KEY, SIGNING_SECRET = "API key", "Signing secret"


class StartPages:
    """The page of the checklist, and its forms."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        start = "/projects/{project_id}/start"
        return (
            ("GET", start, self.page, PROJECT_VIEWER),
            ("POST", f"{start}/key", self.create_key, PROJECT_OWNER),
            ("POST", f"{start}/hide", self.hide, PROJECT_VIEWER),
            ("POST", f"{start}/show", self.show, PROJECT_VIEWER),
        )

    async def page(self, request: Request, viewer: CurrentViewer, project_id: str) -> Response:
        project = await self._operations.projects.read_project(project_id)
        checklist = await self._operations.checklists.read_checklist(project.id)
        hidden = await self._operations.checklists.hidden(viewer.user_id, [project.id])
        language = request.query_params.get("language", "")
        values = {
            "project": project,
            "role": viewer.access.role_in(project.id),
            "steps": shown_steps(checklist),
            "checklist": checklist,
            "is_hidden": project.id in hidden,
            "languages": LANGUAGES,
            "language": language if language in LANGUAGES else next(iter(LANGUAGES)),
            "snippets": snippets_of(self._facts(request, viewer, project, checklist)),
            "has_mailbox": self._console.parts.mailbox_path is not None
            and viewer.access.is_administrator,
        }
        return await self._console.render_page(
            request,
            viewer,
            page="start.html",
            section="projects",
            values=values,
            region="_start.html",
        )

    async def create_key(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, project_id: str
    ) -> Response:
        try:
            created = await self._operations.api_keys.create_key(
                project_id,
                label=KEY_LABEL,
                scopes=[Scope.INGEST],
                expires_in_days=None,
                actor=actor,
            )
        except Refusal as refusal:
            notice = Notice("bad", error_message(refusal))
        else:
            text = "API key created. It is in the code below, and is not shown again."
            notice = Notice("good", text, (Secret(API_KEY, created.api_key),))
        language = fields.get("language", "")
        chosen = f"?language={language}" if language in LANGUAGES else ""
        return self._console.sessions.redirect(
            f"{start_path(project_id)}{chosen}", viewer=viewer, notice=notice
        )

    async def hide(self, viewer: CurrentViewer, project_id: str) -> Response:
        action = self._operations.checklists.set_hidden(project_id, viewer.user_id, is_hidden=True)
        success = "Other pages do not show you this checklist any more."
        return await self._console.perform(
            viewer, action, success=success, back=project_path(project_id)
        )

    async def show(self, viewer: CurrentViewer, project_id: str) -> Response:
        action = self._operations.checklists.set_hidden(project_id, viewer.user_id, is_hidden=False)
        success = "Other pages show you this checklist until it is done."
        return await self._console.perform(
            viewer, action, success=success, back=start_path(project_id)
        )

    def _facts(
        self, request: Request, viewer: Viewer, project: Project, checklist: Checklist
    ) -> SnippetFacts:
        notice = self._console.sessions.notice(request, viewer)
        shown = {} if notice is None else {one.label: one.text for one in notice.secrets}
        unresolved = checklist.open_incident
        return SnippetFacts(
            url=self._console.parts.public_url.rstrip("/"),
            project=project.name,
            livemode=project.livemode,
            occurred_at=to_iso(project.created_at),
            number=checklist.incidents + 1,
            api_key=shown.get(API_KEY),
            signing_secret=shown.get(SIGNING_SECRET),
            open_event_id=None if unresolved is None else unresolved.event_id,
        )


def start_path(project_id: str) -> str:
    """The address of the project's checklist."""
    return f"{project_path(project_id)}/start"
