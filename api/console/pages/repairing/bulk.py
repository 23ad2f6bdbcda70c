"""Bulk repairs: the list, the page to start one, the progress of one, and its buttons."""

from collections.abc import Mapping
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import (
    BULK_OPERATOR,
    BULK_VIEWER,
    PROJECT_OPERATOR,
    SIGNED_IN,
    RouteSpec,
)
from api.console.base import Console
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.pages.list_page import own_projects, project_names
from api.console.pages.repairing.selection import (
    Selection,
    default_plan,
    selection_of_form,
    selection_of_query,
)
from api.console.sign_in.cookies import Notice
from api.console.sign_in.sessions import Viewer
from domain.errors import Refusal
from domain.projects import Project
from domain.repairing.bulk import MOST_ITEMS, BulkRepair
from domain.users import Role
from operations.lists import MAXIMUM_LIMIT
from store.repairing.delays import LATE_AFTER

# A dry run needs a reason as the body has one, and shows none.
UNTYPED_REASON = "-"


class BulkRepairPages:
    """The pages and forms of bulk repairs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        one = "/bulk-repairs/{bulk_id}"
        return (
            ("GET", "/bulk-repairs", self.listing, SIGNED_IN),
            ("GET", "/bulk-repairs/new", self.new, SIGNED_IN),
            ("POST", "/bulk-repairs/new", self.new_of_form, SIGNED_IN),
            ("POST", "/projects/{project_id}/bulk-repairs", self.start, PROJECT_OPERATOR),
            ("GET", one, self.one, BULK_VIEWER),
            ("POST", f"{one}/pause", self.pause, BULK_OPERATOR),
            ("POST", f"{one}/resume", self.resume, BULK_OPERATOR),
            ("POST", f"{one}/abort", self.abort, BULK_OPERATOR),
        )

    async def listing(self, request: Request, viewer: CurrentViewer) -> Response:
        cursor = request.query_params.get("cursor") or None
        page = await self._operations.bulk_repairs.list_bulk_repairs(
            None, cursor=cursor, within=viewer.access.projects
        )
        projects = {bulk.project_id for bulk in page.rows}
        values = {
            "rows": page.rows,
            "cursor": cursor,
            "next_cursor": page.next_cursor,
            "project_names": await project_names(self._console, viewer, (), projects),
        }
        return await self._console.render_page(
            request,
            viewer,
            page="bulk_repairs.html",
            section="bulk",
            values=values,
            region="_bulk_repairs.html",
        )

    async def new(self, request: Request, viewer: CurrentViewer) -> Response:
        projects = await own_projects(self._console, viewer)
        selection = selection_of_query(request, projects, viewer)
        return await self._new_page(request, viewer, projects, selection, typed={})

    async def new_of_form(
        self, request: Request, viewer: CurrentViewer, fields: FormFields
    ) -> Response:
        """The same page, for a selection that is too long for an address. It starts nothing.

        The button of the list of incidents is `selected`: it is for marked incidents alone.
        """
        projects = await own_projects(self._console, viewer)
        selection = selection_of_form(fields, projects, viewer)
        if fields.get("selected") and not selection.incident_ids:
            notice = Notice("bad", "Select the incidents to repair.")
            back = self._console.return_path(fields)
            return self._console.sessions.redirect(back, viewer=viewer, notice=notice)
        return await self._new_page(request, viewer, projects, selection, typed={})

    async def start(
        self,
        request: Request,
        viewer: CurrentViewer,
        fields: FormFields,
        actor: CurrentActor,
        project_id: str,
    ) -> Response:
        projects = await own_projects(self._console, viewer)
        selection = selection_of_form({**fields, "project": project_id}, projects, viewer)
        try:
            filters = await selection.filters(self._console.parts.database, viewer)
            started = await self._operations.bulk_repairs.start(
                project_id, selection.body(fields), actor=actor, filters=filters
            )
        except Refusal as refusal:
            return await self._new_page(
                request, viewer, projects, selection, typed=fields, refusal=refusal
            )
        notice = Notice("good", "Started. The first repairs begin within seconds.")
        return self._console.sessions.redirect(
            f"/bulk-repairs/{started.id}", viewer=viewer, notice=notice
        )

    async def one(self, request: Request, viewer: CurrentViewer, bulk_id: str) -> Response:
        cursor = request.query_params.get("cursor") or None
        found = await self._operations.bulk_repairs.read_bulk_repair(
            None, bulk_id, MAXIMUM_LIMIT, cursor
        )
        bulk = found.bulk
        role = viewer.access.role_in(bulk.project_id)
        values = {
            "bulk": bulk,
            "items": found.items.rows,
            "cursor": cursor,
            "next_cursor": found.items.next_cursor,
            "project": await self._operations.projects.read_project(bulk.project_id),
            "may_operate": role is not None and role.allows(Role.OPERATOR),
            "is_late": _is_late(bulk, self._console.parts.now()),
        }
        return await self._console.render_page(
            request,
            viewer,
            page="bulk_repair.html",
            section="bulk",
            values=values,
            region="_bulk_repair.html",
        )

    async def pause(self, viewer: CurrentViewer, actor: CurrentActor, bulk_id: str) -> Response:
        action = self._operations.bulk_repairs.pause(None, bulk_id, actor=actor)
        success = "Paused. Nothing more begins until somebody resumes it."
        return await self._console.perform(
            viewer, action, success=success, back=f"/bulk-repairs/{bulk_id}"
        )

    async def resume(self, viewer: CurrentViewer, actor: CurrentActor, bulk_id: str) -> Response:
        action = self._operations.bulk_repairs.resume(None, bulk_id, actor=actor)
        success = "Resumed. It goes on where it was paused."
        return await self._console.perform(
            viewer, action, success=success, back=f"/bulk-repairs/{bulk_id}"
        )

    async def abort(self, viewer: CurrentViewer, actor: CurrentActor, bulk_id: str) -> Response:
        action = self._operations.bulk_repairs.abort(None, bulk_id, actor=actor)
        success = "Aborted. Nothing more begins. What it has begun runs on."
        return await self._console.perform(
            viewer, action, success=success, back=f"/bulk-repairs/{bulk_id}"
        )

    async def _new_page(
        self,
        request: Request,
        viewer: Viewer,
        projects: list[Project],
        selection: Selection,
        *,
        typed: Mapping[str, str],
        refusal: Refusal | None = None,
    ) -> Response:
        """The page to start one: the dry run, the reason and the plan."""
        operated = [one for one in projects if _may_operate(viewer, one)]
        project = next((one for one in operated if one.id == selection.project_id), None)
        estimate, status = None, 200 if refusal is None else 422
        if project is not None:
            body = selection.body(typed) | {"plan": {}, "reason": UNTYPED_REASON}
            try:
                filters = await selection.filters(self._console.parts.database, viewer)
                estimate = await self._operations.bulk_repairs.estimate(
                    project.id, body, filters=filters
                )
            except Refusal as problem:
                refusal = refusal or problem
        values = {
            "projects": operated,
            "project": project,
            "selection": selection,
            "estimate": estimate,
            "most": MOST_ITEMS,
            "typed": {"reason": "", "include_superseded": "", **default_plan(), **typed},
            "problems": _problems(refusal),
        }
        return await self._console.render_page(
            request,
            viewer,
            page="bulk_repair_new.html",
            section="bulk",
            values=values,
            status=status,
        )


def _is_late(bulk: BulkRepair, now: datetime) -> bool:
    """Whether no worker takes its steps."""
    has_ended = bulk.has_ended and bulk.counts.repairing == 0
    return not has_ended and (bulk.stepped_at or bulk.created_at) < now - LATE_AFTER


def _may_operate(viewer: Viewer, project: Project) -> bool:
    role = viewer.access.role_in(project.id)
    return role is not None and role.allows(Role.OPERATOR)


def _problems(refusal: Refusal | None) -> dict[str, str]:
    """The messages of a refusal by field of the form. The key is empty for any other."""
    if refusal is None:
        return {}
    found: dict[str, str] = {}
    for error in refusal.errors:
        steps = error.pointer.strip("/").split("/")
        name = steps[1] if steps[0] == "plan" and len(steps) > 1 else steps[0]
        name = "" if name in ("q", "incident_ids") else name
        found[name] = error.message
    return found or {"": refusal.detail}
