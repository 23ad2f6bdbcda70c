"""Projects: the list, and the page of one project with its settings.

The forms for its API keys and signing secret are in `credentials`, those for members in `members`.
"""

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import ADMINISTRATOR, PROJECT_OWNER, PROJECT_VIEWER, SIGNED_IN, RouteSpec
from api.console.base import Console, error_message, project_path, saved_notice
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.pages.list_page import own_projects
from api.console.pages.project.checklists import unfinished_checklist
from api.console.pages.project.settings_form import (
    SECTIONS,
    Typed,
    settings_changes,
    settings_fields,
    typed_settings,
    words,
)
from api.console.pages.repairing.rules import rules_text
from api.console.sign_in.cookies import Notice, Secret
from api.console.sign_in.sessions import Viewer
from domain.alerts import AlertEvent
from domain.errors import RateLimited, Refusal, Unavailable
from domain.ids import ProjectId
from domain.overview.summary import Activity
from domain.projects import Mode, Project, Scope
from domain.users import Role
from operations.names import known_effect_types
from store.db.paging import LISTED_AT_MOST

KEY_LIFETIMES = (30, 90, 365)  # days


class ProjectPages:
    """The pages and forms of projects."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            ("GET", "/projects", self.listing, SIGNED_IN),
            ("GET", "/projects/{project_id}", self.one, PROJECT_VIEWER),
            ("POST", "/projects", self.create, ADMINISTRATOR),
            ("POST", "/projects/{project_id}", self.save, PROJECT_OWNER),
            ("POST", "/projects/{project_id}/delete", self.delete, PROJECT_OWNER),
        )

    async def listing(self, request: Request, viewer: CurrentViewer) -> Response:
        return await self._list_page(request, viewer, typed={}, refusal=None)

    async def one(self, request: Request, viewer: CurrentViewer, project_id: str) -> Response:
        project = await self._operations.projects.read_project(project_id)
        return await self._page(
            request, viewer, project, typed=settings_fields(project), refusal=None
        )

    async def create(
        self, request: Request, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor
    ) -> Response:
        try:
            created = await self._operations.projects.create_project(
                name=fields.get("name", "").strip(),
                mode=fields.get("mode", Mode.TEST),
                actor=actor,
                repair_url=fields.get("repair_url", "").strip() or None,
                alert_emails=words(fields.get("alert_emails", "")),
            )
        except Refusal as refusal:
            return await self._list_page(request, viewer, typed=fields, refusal=refusal)
        secrets = (
            Secret("API key", created.api_key),
            Secret("Signing secret", created.signing_secret),
        )
        text = "Project created. Copy both secrets now: they are not shown again."
        return self._console.sessions.redirect(
            f"{project_path(created.project.id)}/start",
            viewer=viewer,
            notice=Notice("good", text, secrets),
        )

    async def save(
        self,
        request: Request,
        viewer: CurrentViewer,
        fields: FormFields,
        actor: CurrentActor,
        project_id: str,
    ) -> Response:
        project = await self._operations.projects.read_project(project_id)
        changes = settings_changes(fields, project)
        try:
            changed = await self._operations.projects.change_project(
                project_id, changes, actor=actor
            )
        except Refusal as refusal:
            typed = typed_settings(project, changes, fields)
            return await self._page(request, viewer, project, typed=typed, refusal=refusal)
        section = fields.get("section", "")
        back = project_path(project_id) + (f"#{section}" if section in SECTIONS else "")
        notice = saved_notice(await self._operations.sources.read_warnings(changed))
        return self._console.sessions.redirect(back, viewer=viewer, notice=notice)

    async def delete(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, project_id: str
    ) -> Response:
        confirmation, end_open = (
            fields.get("confirmation", "").strip(),
            fields.get("end_open") == "on",
        )
        try:
            gone = await self._operations.projects.delete_project(
                project_id, confirmation=confirmation, end_open=end_open, actor=actor
            )
        except Refusal as refusal:
            notice = Notice("bad", error_message(refusal))
            return self._console.sessions.redirect(
                project_path(project_id), viewer=viewer, notice=notice
            )
        notice = Notice(
            "good", f"{gone.name} is deleted. Calls with its API keys fail within 5 seconds."
        )
        return self._console.sessions.redirect("/projects", viewer=viewer, notice=notice)

    async def _list_page(
        self, request: Request, viewer: Viewer, *, typed: Typed, refusal: Refusal | None
    ) -> Response:
        listed = await own_projects(self._console, viewer, with_destinations=True)
        ends_at = LISTED_AT_MOST if len(listed) >= LISTED_AT_MOST else None
        values = {
            "projects": listed,
            "activity": await self._activity(viewer, listed),
            "ends_at": ends_at,
            "typed": typed,
            "problems": _problems(refusal),
        }
        return await self._console.render_page(
            request,
            viewer,
            page="projects.html",
            section="projects",
            values=values,
            status=_status(refusal),
        )

    async def _page(
        self,
        request: Request,
        viewer: Viewer,
        project: Project,
        *,
        typed: Typed,
        refusal: Refusal | None,
    ) -> Response:
        role = viewer.access.role_in(project.id)
        early = await self._operations.early_results.list_early_results(project.id)
        rules = await self._operations.repair_rules.read_rules(project.id)
        found = await self._operations.overview.read_receiving([project.id])
        values: dict[str, object] = {
            "project": project,
            "role": role,
            "early": early,
            "activity": found.activities[project.id],
            "watches": found.watches,
            "holds": await self._operations.holds.list_holds(project.id),
            "rules": rules,
            "rules_text": rules_text(rules),
            "may_operate": role is not None and role.allows(Role.OPERATOR),
            "effect_types": known_effect_types([project]),
            "checklist": await unfinished_checklist(self._console, viewer, project.id),
        }
        if role is Role.OWNER:
            people = await self._console.people.members.list_members(project.id)
            values |= {
                "typed": typed,
                "problems": _problems(refusal),
                "keys": await self._operations.api_keys.list_keys(project.id),
                "now": self._console.parts.now(),
                "scopes": tuple(Scope),
                "lifetimes": KEY_LIFETIMES,
                "overlap_ends_at": await self._operations.signing_secrets.read_rotation(project.id),
                "members": people.members,
                "invitations": people.invitations,
                "roles": tuple(Role),
                "events": tuple(AlertEvent),
            }
        return await self._console.render_page(
            request,
            viewer,
            page="project.html",
            section="projects",
            values=values,
            status=_status(refusal),
        )

    async def _activity(
        self, viewer: Viewer, listed: Sequence[Project]
    ) -> Mapping[ProjectId, Activity]:
        """Whether receipts come, by project; empty if reading it takes too long."""
        try:
            return await self._operations.overview.read_activity(
                [project.id for project in listed], asked_by=viewer.user_id
            )
        except (Unavailable, RateLimited):
            return {}


def _problems(refusal: Refusal | None) -> dict[str, str]:
    """The messages of a refusal by field. The key is empty for a message without a field."""
    if refusal is None:
        return {}
    by_field = {error.pointer.strip("/").split("/")[0]: error.message for error in refusal.errors}
    return by_field or {"": refusal.detail}


def _status(refusal: Refusal | None) -> int:
    return 200 if refusal is None else 422
