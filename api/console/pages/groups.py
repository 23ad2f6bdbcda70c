"""The list of incidents by group, the page of one group, and the actions on all its incidents."""

from collections.abc import Awaitable, Mapping
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import GROUP_OPERATOR, GROUP_VIEWER, RouteSpec
from api.console.base import Console, error_message
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.pages.list_page import lack_receipts, own_projects, project_names
from api.console.pages.project.checklists import only_project_to_start
from api.console.sign_in.cookies import Notice
from api.console.sign_in.sessions import Viewer
from api.console.ui.group_address import (
    FIRST_STAGE,
    STAGES,
    GroupPageAddress,
    read_group_list_address,
)
from domain.errors import Refusal
from domain.ids import ProjectId
from domain.users import Role
from domain.values.timestamps import to_iso
from operations.groups.groups import GroupAct
from store.receipts.groups import queries
from store.receipts.groups.queries import GroupFilters

ROWS = 25
LONGEST_REASON = 2_048
# The choices of the form, in hours.
MUTES = {"1": "1 hour", "4": "4 hours", "24": "1 day", "168": "7 days"}


class GroupPages:
    """Groups: the list, and the page of one with its actions.

    `api.console.pages.incidents` shows the list at its own address.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        one = "/groups/{group_id}"
        return (
            ("GET", one, self.one, GROUP_VIEWER),
            ("POST", f"{one}/mute", self.mute, GROUP_OPERATOR),
            ("POST", f"{one}/unmute", self.unmute, GROUP_OPERATOR),
            ("POST", f"{one}/acknowledge", self.acknowledge, GROUP_OPERATOR),
            ("POST", f"{one}/resolve", self.resolve, GROUP_OPERATOR),
        )

    async def listing(self, request: Request, viewer: Viewer) -> Response:
        """The groups of the viewer's projects, the one with the newest incident first."""
        address = read_group_list_address(request.query_params)
        project_id = None if address.project is None else ProjectId(address.project)
        filters = GroupFilters(
            project_id, within=viewer.access.projects, is_unresolved=STAGES[address.stage]
        )
        database = self._console.parts.database
        async with database.searching(viewer.user_id) as session:
            now = await database.now(session)
            page = await queries.list_groups(
                session, filters, now, limit=ROWS, cursor=address.cursor
            )
        projects = await own_projects(self._console, viewer)
        named = {group.project_id for group in page.rows}
        listed = [one for one in projects if address.project in (None, one.id)]
        is_first = not page.rows and address.stage == FIRST_STAGE
        values = {
            "groups": page.rows,
            "next_cursor": page.next_cursor,
            "no_receipts": not page.rows and await lack_receipts(self._console, viewer, listed),
            "is_known": address.project is None or bool(listed),
            "to_start": await only_project_to_start(
                self._console, viewer, listed if is_first else ()
            ),
            "address_of": address,
            "stages": tuple(STAGES),
            "projects": projects,
            "views": await self._operations.saved_views.list_views(
                viewer.user_id, viewer.access.projects
            ),
            "project_names": await project_names(self._console, viewer, projects, named),
            "counts": await self._console.counts(viewer, project_id=address.project),
        }
        return await self._render(request, viewer, "groups", values)

    async def one(self, request: Request, viewer: CurrentViewer, group_id: str) -> Response:
        cursor = request.query_params.get("cursor") or None
        group = await self._operations.groups.read_group(None, group_id)
        page = await self._operations.groups.list_incidents(None, group_id, ROWS, cursor)
        project = await self._operations.projects.read_project(group.project_id)
        role = viewer.access.role_in(group.project_id)
        values = {
            "group": group,
            "project": project,
            "rows": page.rows,
            "next_cursor": page.next_cursor,
            "address_of": GroupPageAddress(group.id, cursor),
            "may_operate": role is not None and role.allows(Role.OPERATOR),
            "mutes": MUTES,
            "form_token": viewer.form_token,
        }
        return await self._render(request, viewer, "group", values)

    async def mute(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, group_id: str
    ) -> Response:
        hours = fields.get("hours", "")
        until = self._console.parts.now() + timedelta(hours=int(hours) if hours in MUTES else 1)
        content = {"until": to_iso(until)}
        action = self._operations.groups.mute(None, group_id, content, actor=actor)
        return await self._perform(viewer, group_id, action, "The group is muted. Incidents: {}.")

    async def unmute(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, group_id: str
    ) -> Response:
        del fields
        action = self._operations.groups.unmute(None, group_id, actor=actor)
        return await self._perform(viewer, group_id, action, "The group alerts again.")

    async def acknowledge(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, group_id: str
    ) -> Response:
        del fields
        action = self._operations.groups.acknowledge(None, group_id, actor=actor)
        return await self._perform(viewer, group_id, action, "Incidents acknowledged: {}.")

    async def resolve(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, group_id: str
    ) -> Response:
        reason = fields.get("reason", "").strip()[:LONGEST_REASON]
        if not reason:
            notice = Notice("bad", "Enter a reason. It is kept on each timeline.")
            return self._console.sessions.redirect(_path(group_id), viewer=viewer, notice=notice)
        action = self._operations.groups.resolve(None, group_id, reason, actor=actor)
        return await self._perform(viewer, group_id, action, "Incidents resolved manually: {}.")

    async def _perform(
        self, viewer: Viewer, group_id: str, action: Awaitable[GroupAct], success: str
    ) -> Response:
        """Run the action. The notice has the number of incidents, and says if some are left."""
        try:
            act = await action
        except Refusal as refusal:
            notice = Notice("bad", error_message(refusal))
        else:
            left = "" if act.complete else " There were too many for one time: repeat the action."
            notice = Notice("good", f"{success.format(f'{act.changed:,}')}{left}")
        return self._console.sessions.redirect(_path(group_id), viewer=viewer, notice=notice)

    async def _render(
        self, request: Request, viewer: Viewer, name: str, values: Mapping[str, object]
    ) -> Response:
        return await self._console.render_page(
            request,
            viewer,
            page=f"{name}.html",
            section="incidents",
            values=values,
            region=f"_{name}.html",
        )


def _path(group_id: str) -> str:
    return str(GroupPageAddress(group_id, None))
