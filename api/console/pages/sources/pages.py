"""The list of a project's sources, the page to add one, and the page of one source."""

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import PROJECT_OWNER, PROJECT_VIEWER, RouteSpec
from api.console.base import Console, project_path
from api.console.dependencies import CurrentViewer
from api.console.pages.sources.expectations import EXPECTS, line_of, write_lines
from api.console.sign_in.sessions import Viewer
from api.console.ui import source_labels
from api.console.ui.source_picture import draw_days
from api.console.ui.source_queries import shown_report, source_rows
from api.console.ui.source_setup import setup_steps
from domain.errors import Refusal
from domain.projects import Project
from domain.receipts import Provider
from domain.sources.source import DEFAULT_EVERY_MINUTES, ShopifyIdentity, Source, SourceKind
from operations.names import accepted_effect_types
from operations.sources.removed_types import still_expected
from operations.sources.rules import event_types, secret_field
from operations.sources.sources import SourceWithGaps

# The values of a form's fields, as typed or as stored.
Typed = Mapping[str, object]
# What is expected of a new source, until somebody changes it.
FIRST_EXPECTS = {
    Provider.STRIPE: "checkout.session.completed access_unlock\ninvoice.paid credit_grant",
    Provider.SHOPIFY: "orders/paid access_unlock",
}


class SourcePages:
    """Pages of sources. `api.console.pages.sources.forms` shows them again with errors."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        sources = "/projects/{project_id}/sources"
        return (
            ("GET", sources, self.listing, PROJECT_VIEWER),
            ("GET", f"{sources}/new", self.new, PROJECT_OWNER),
            ("GET", f"{sources}/{{source_id}}", self.one, PROJECT_VIEWER),
        )

    async def listing(self, request: Request, viewer: CurrentViewer, project_id: str) -> Response:
        project = await self._operations.projects.read_project(project_id)
        values = {
            "project": project,
            "role": viewer.access.role_in(project.id),
            "rows": await source_rows(
                self._operations.sources, self._console.parts.database, project_id
            ),
            "kinds": tuple(source_labels.KIND_DETAILS),
        }
        return await self._console.render_page(
            request,
            viewer,
            page="sources.html",
            section="projects",
            values=values,
            region="_sources.html",
        )

    async def new(self, request: Request, viewer: CurrentViewer, project_id: str) -> Response:
        project = await self._operations.projects.read_project(project_id)
        kind = request.query_params.get("kind", "")
        if kind not in tuple(SourceKind):
            return self._console.sessions.redirect(f"{sources_path(project_id)}#add")
        return await self.new_page(
            request, viewer, project, kind=SourceKind(kind), typed=_first_values(SourceKind(kind))
        )

    async def one(
        self, request: Request, viewer: CurrentViewer, project_id: str, source_id: str
    ) -> Response:
        found = await self._operations.sources.read_source(project_id, source_id)
        return await self.page(request, viewer, found, typed=_settings(found.source))

    async def new_page(
        self,
        request: Request,
        viewer: Viewer,
        project: Project,
        *,
        kind: SourceKind,
        typed: Typed,
        refusal: Refusal | None = None,
    ) -> Response:
        """The page to add a source of this kind, with what was typed and why it was refused."""
        values = {
            "project": project,
            "kind": kind.value,
            "steps": setup_steps(kind),
            "event_types": event_types(kind, project),
            "accepted": _accepted(kind, project),
            "typed": typed,
            "problems": problems_of(refusal),
            "identities": source_labels.IDENTITIES,
            "secret_name": secret_field(kind),
        }
        return await self._render(request, viewer, "source_new.html", values, refusal)

    async def page(
        self,
        request: Request,
        viewer: Viewer,
        found: SourceWithGaps,
        *,
        typed: Typed,
        refusal: Refusal | None = None,
    ) -> Response:
        """The page of one source. Only owners see its form."""
        source = found.source
        project = await self._operations.projects.read_project(source.project_id)
        day = request.query_params.get("day", "")
        shown = await shown_report(self._operations.sources, source, day)
        values = {
            "project": project,
            "role": viewer.access.role_in(project.id),
            "source": source,
            "warnings": still_expected(project, [source]),
            "gaps": found.gaps,
            "steps": setup_steps(source.kind),
            "event_types": sorted({one.event_type for one in source.expects}),
            "hook_url": self._hook_url(source),
            "report": shown,
            "picture": draw_days(shown.days),
            "accepted": _accepted(source.kind, project),
            "typed": typed,
            "problems": problems_of(refusal),
            "identities": source_labels.IDENTITIES,
            "secret_name": secret_field(source.kind),
        }
        return await self._render(request, viewer, "source.html", values, refusal)

    def _hook_url(self, source: Source) -> str:
        """The address that the provider calls. Empty for a source that lists."""
        if not source.kind.is_webhook:
            return ""
        return f"{self._console.parts.public_url.rstrip('/')}/hooks/{source.id}"

    async def _render(
        self,
        request: Request,
        viewer: Viewer,
        page: str,
        values: Mapping[str, object],
        refusal: Refusal | None,
    ) -> Response:
        status = 200 if refusal is None else 422
        return await self._console.render_page(
            request, viewer, page=page, section="projects", values=values, status=status
        )


def sources_path(project_id: str) -> str:
    """The address of the list of a project's sources."""
    return f"{project_path(project_id)}/sources"


def problems_of(refusal: Refusal | None) -> dict[str, str]:
    """The messages of a refusal by field. The key is empty for a message without a field."""
    if refusal is None:
        return {}
    found: dict[str, str] = {}
    for error in refusal.errors:
        name = error.pointer.strip("/").split("/")[0]
        message = line_of(error) if name == EXPECTS else error.message
        found[name] = f"{found[name]} {message}" if name in found else message
    return found or {"": refusal.detail}


def _accepted(kind: SourceKind, project: Project) -> Mapping[str, Sequence[str]]:
    """What the project accepts in a line of the expected events, by what it is."""
    return {
        "Event types": event_types(kind, project),
        "Effect types": accepted_effect_types(project),
    }


def _first_values(kind: SourceKind) -> Typed:
    """What the form of a new source shows."""
    return {
        "name": source_labels.kind_label(kind),
        "expects": FIRST_EXPECTS[kind.provider],
        "every_minutes": DEFAULT_EVERY_MINUTES,
        "identity": ShopifyIdentity.OBJECT_ID.value,
    }


def _settings(source: Source) -> Typed:
    """The stored settings as the form's fields."""
    return {
        "name": source.name,
        "expects": write_lines(source.expects),
        "every_minutes": source.every_minutes,
        "silent_after_minutes": source.silent_after_minutes,
        "identity": str(source.identity),
    }
