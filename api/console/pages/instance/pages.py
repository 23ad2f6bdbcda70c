"""The pages of the installation: what its checks find, its versions, its users."""

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import ADMINISTRATOR, RouteSpec
from api.console.base import Console
from api.console.dependencies import CurrentViewer
from api.console.pages.instance.examination import Examination
from operations.instance.findings import Verdict
from operations.instance.versions import installed_versions
from store.db.paging import LISTED_AT_MOST


class InstancePages:
    """The pages of administrators about the installation. They change nothing."""

    def __init__(self, console: Console) -> None:
        self._console = console
        examine = console.parts.examine
        self._examination = None if examine is None else Examination(examine, now=console.parts.now)

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            ("GET", "/instance", self.health, ADMINISTRATOR),
            ("GET", "/instance/users", self.users, ADMINISTRATOR),
        )

    async def health(self, request: Request, viewer: CurrentViewer) -> Response:
        examined = None if self._examination is None else await self._examination.latest()
        findings = () if examined is None else examined.findings
        counts = {
            verdict.value: sum(finding.verdict is verdict for _, finding in findings)
            for verdict in Verdict
        }
        values = {
            "examined": examined,
            "is_examined": self._examination is not None,
            "found": counts,
            "versions": installed_versions(),
            "database": self._console.parts.database.dialect,
            "public_url": self._console.parts.public_url,
        }
        return await self._console.render_page(
            request,
            viewer,
            page="instance.html",
            section="instance",
            values=values,
            region="_instance.html",
        )

    async def users(self, request: Request, viewer: CurrentViewer) -> Response:
        listed = await self._console.people.accounts.list_users()
        ends_at = LISTED_AT_MOST if len(listed) >= LISTED_AT_MOST else None
        values = {"users": listed, "ends_at": ends_at}
        return await self._console.render_page(
            request, viewer, page="users.html", section="instance", values=values
        )
