"""The export of the list of incidents, and the forms of saved views."""

from dataclasses import replace
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.console.access import SIGNED_IN, RouteSpec
from api.console.base import Console
from api.console.dependencies import CurrentViewer, FormFields
from api.console.pages.incident_list.page import incident_address
from api.console.pages.list_page import own_projects
from api.console.ui.incident_tabs import TABS
from api.console.ui.list_queries import list_filters
from api.console.ui.rendering import HEADERS
from domain.errors import FieldError, ValidationFailed
from operations.listing.export import MEDIA_TYPES, ExportFormat, attachment


class IncidentViewPages:
    """The export, and the saved views."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            ("GET", "/incidents/export", self.export, SIGNED_IN),
            ("POST", "/views", self.save, SIGNED_IN),
            ("POST", "/views/{view_id}/remove", self.remove, SIGNED_IN),
        )

    async def export(self, request: Request, viewer: CurrentViewer) -> Response:
        """Every row of the list at the same query, as a file."""
        query = dict(request.query_params)
        name = query.pop("format", ExportFormat.CSV)
        if name not in set(ExportFormat):
            error = FieldError("/format", "unknown_value", "Must be csv or jsonl.")
            raise ValidationFailed(errors=(error,))
        chosen = ExportFormat(name)
        projects = await own_projects(self._console, viewer)
        address = incident_address(query, projects, viewer)
        database = self._console.parts.database
        async with database.reading() as session:
            filters = await list_filters(database, session, address, viewer)
        parts = await self._operations.exports.export_incidents(
            replace(filters, also=TABS[address.tab].search),
            chosen,
            sort=address.sort,
            asked_by=viewer.user_id,
        )
        headers = {**HEADERS, **attachment(chosen)}
        return StreamingResponse(parts, media_type=MEDIA_TYPES[chosen], headers=headers)

    async def save(self, viewer: CurrentViewer, fields: FormFields) -> Response:
        """Save the list at the given query under a name."""
        projects = await own_projects(self._console, viewer)
        query = dict(parse_qsl(fields.get("query", "")))
        query.pop("cursor", None)
        address = incident_address(query, projects, viewer)
        action = self._operations.saved_views.save_view(
            viewer.user_id,
            viewer.access,
            name=fields.get("name", ""),
            query=address.query,
            project_id=fields.get("project") or None,
        )
        return await self._console.perform(
            viewer, action, success="View saved.", back=self._console.return_path(fields)
        )

    async def remove(self, viewer: CurrentViewer, fields: FormFields, view_id: str) -> Response:
        action = self._operations.saved_views.remove_view(viewer.user_id, viewer.access, view_id)
        return await self._console.perform(
            viewer, action, success="View removed.", back=self._console.return_path(fields)
        )
