"""What all pages share: the frame of a page and the result of an action.

An action (a POST) calls one function of `Operations`, as REST does. It answers with a redirect and
a notice. The access rule of its route has been checked before.
"""

import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict, fields
from urllib.parse import quote

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.console.composition import ConsoleDependencies
from api.console.sign_in.cookies import Notice
from api.console.sign_in.flow import SignInFlow
from api.console.sign_in.passkeys import PasskeyCeremonies
from api.console.sign_in.return_path import FIRST_PAGE, safe_return_path
from api.console.sign_in.self_service_audit import SelfServiceAudit
from api.console.sign_in.sessions import Sessions, Viewer
from api.console.sign_in.step_up import StepUpAuth
from api.console.ui.rendering import Pages, Values, is_htmx_request
from api.http.path_prefix import prefix_of
from domain.errors import RateLimited, Refusal, TooSlow, Unavailable
from domain.ids import ProjectId
from operations.people.composition import People
from store.receipts.queries import Counts

_CODE = re.compile(r"`([^`]*)`")


class Console:
    """The dependencies, templates, cookies and sign-in of the console.

    All pages share one instance.
    """

    def __init__(self, parts: ConsoleDependencies) -> None:
        self.parts = parts
        self.operations = parts.operations
        self.people = People.build(parts.database, parts.sealer)
        self.sessions = Sessions(parts)
        self.self_service_audit = SelfServiceAudit(parts)
        self.passkeys = PasskeyCeremonies(parts, self.self_service_audit)
        party = self.passkeys.party
        self.pages = Pages(
            parts.now,
            path_prefix=prefix_of(parts.public_url),
            passkey_origin="" if party is None else party.origin,
        )
        self.sign_in_flow = SignInFlow(parts, self.sessions, self.passkeys, self.self_service_audit)
        self.step_up = StepUpAuth(
            parts,
            self.sessions,
            self.sign_in_flow,
            self.passkeys,
            self.self_service_audit,
            self.pages,
        )

    def return_path(
        self, fields: Mapping[str, str], *, name: str = "back", otherwise: str = FIRST_PAGE
    ) -> str:
        """The path in the field `name` if it leads to this site, without the prefix."""
        prefix = prefix_of(self.parts.public_url)
        return safe_return_path(fields, prefix=prefix, name=name, otherwise=otherwise)

    async def render_page(
        self,
        request: Request,
        viewer: Viewer,
        *,
        page: str,
        section: str,
        values: Values,
        region: str = "",
        status: int = 200,
        counts: Values | None = None,
    ) -> Response:
        """Render a page in its frame.

        `section` is the marked entry of the navigation. `region` is the template that htmx polls,
        empty if the page does not update itself. `status` is 422 for a form that is shown again
        with its errors. `counts` are those of the navigation, if the page has read them.
        """
        if region and is_htmx_request(request):
            return self.pages.fragment(
                request, self.pages.region(region, {**values, "viewer": viewer})
            )
        frame = await self.frame(request, viewer, section=section, counts=counts)
        if region:
            response = self.pages.page_or_region(
                request, page=page, region=region, values={**frame, **values}, status=status
            )
        else:
            response = self.pages.page(page, {**frame, **values}, status=status)
        self.sessions.clear_notice(request, response)
        return response

    async def frame(
        self, request: Request, viewer: Viewer, *, section: str, counts: Values | None = None
    ) -> Values:
        """The values of the layout around every page."""
        return {
            "viewer": viewer,
            "section": section,
            "notice": self.sessions.notice(request, viewer),
            "rail": await self.rail(viewer, section, counts=counts),
            "address": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        }

    async def rail(self, viewer: Viewer, section: str, *, counts: Values | None = None) -> Markup:
        """The navigation with its counts, and the health of the installation."""
        values = {
            "section": section,
            "counts": counts or await self.counts(viewer),
            "checks": await self.parts.readiness(),
            "has_audit": viewer.access.owns_any,
            "has_instance": viewer.access.is_administrator,
            "has_mailbox": self.parts.mailbox_path is not None and viewer.access.is_administrator,
        }
        return self.pages.region("_rail.html", values)

    async def counts(
        self,
        viewer: Viewer,
        *,
        project_id: str | None = None,
        scope: tuple[ProjectId, ...] | None = None,
    ) -> Values:
        """Counts of receipts and incidents.

        All are None if counting takes too long: the page is shown without them. `scope` are the
        projects of the viewer, if the page has read them.
        """
        try:
            counted = await self.operations.incidents.counts(
                project_id, viewer.access.projects, asked_by=viewer.user_id, scope=scope
            )
            return asdict(counted)
        except (Unavailable, RateLimited):
            return dict.fromkeys(one.name for one in fields(Counts))

    async def perform(
        self, viewer: Viewer, action: Awaitable[object], *, success: str, back: str
    ) -> Response:
        """Run the action. Redirect to `back` with the notice `success` or the error message."""
        try:
            await action
        except Refusal as refusal:
            return self.sessions.redirect(
                back, viewer=viewer, notice=Notice("bad", error_message(refusal))
            )
        return self.sessions.redirect(back, viewer=viewer, notice=Notice("good", success))


def error_message(refusal: Refusal) -> str:
    """A refusal in one line: the messages of its fields, or its detail.

    The details of refusals that a program meets too advise programs. People get another text.
    """
    match refusal:
        case RateLimited():
            return "Too many requests at once. Try again in a moment."
        case Unavailable() if not isinstance(refusal, TooSlow):
            return "Makegood cannot change anything right now. Try again in a moment."
    text = "; ".join(error.message for error in refusal.errors) or refusal.detail
    # Code is in backticks, as Markdown has it. A page has no Markdown.
    return _CODE.sub(r"“\1”", text)


def saved_notice(warnings: Sequence[str]) -> Notice:
    """That settings were saved, and what that means. A warning stays until it is closed."""
    return Notice("bad" if warnings else "good", " ".join(("Settings saved.", *warnings)))


def project_path(project_id: str) -> str:
    """The address of the project's page."""
    return f"/projects/{quote(project_id)}"
