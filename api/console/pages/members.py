"""The members of a project: invite, change the role, remove; and the page of an invitation.

The invitation link is shown once to the owner, who passes it on. Opening it changes nothing. The
button on that page accepts it.
"""

from collections.abc import Awaitable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from api.auth.audit_actor import actor_of
from api.console.base import Console, error_message
from api.console.dependencies import (
    AnonymousFields,
    CurrentActor,
    CurrentViewer,
    FormFields,
    OptionalViewer,
)
from api.console.sign_in.cookies import Notice, Secret
from api.console.sign_in.sessions import Viewer
from domain.errors import Refusal


class MemberPages:
    """Forms of owners for the members of their project, and the page of invited people."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._people = console.people
        self._sessions = console.sessions

    async def invite(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, project_id: str
    ) -> Response:
        email, role = fields.get("email", "").strip(), fields.get("role", "")
        try:
            token = await self._people.invitations.invite(
                project_id, email=email, role=role, actor=actor
            )
        except Refusal as refusal:
            notice = Notice("bad", error_message(refusal))
        else:
            url = f"{self._console.parts.public_url.rstrip('/')}/join?token={token}"
            text = (
                "Invitation created. Send this link yourself: it works once and expires in 7 days."
            )
            notice = Notice("good", text, (Secret("Invitation", url),))
        return self._sessions.redirect(_path(project_id), viewer=viewer, notice=notice)

    async def change_role(
        self,
        request: Request,
        viewer: CurrentViewer,
        fields: FormFields,
        actor: CurrentActor,
        project_id: str,
        user_id: str,
    ) -> Response:
        action = self._people.members.change_role(
            project_id, user_id, fields.get("role", ""), actor=actor
        )
        return await self._change(
            request,
            viewer,
            user_id,
            action,
            success="The role was changed.",
            back=_path(project_id),
        )

    async def remove(
        self,
        request: Request,
        viewer: CurrentViewer,
        actor: CurrentActor,
        project_id: str,
        user_id: str,
    ) -> Response:
        action = self._people.members.remove_member(project_id, user_id, actor=actor)
        success = "The member was removed."
        return await self._change(
            request, viewer, user_id, action, success=success, back=_path(project_id)
        )

    async def withdraw(
        self, viewer: CurrentViewer, actor: CurrentActor, project_id: str, invitation_id: str
    ) -> Response:
        action = self._people.invitations.withdraw(project_id, invitation_id, actor=actor)
        return await self._console.perform(
            viewer, action, success="The invitation was withdrawn.", back=_path(project_id)
        )

    async def invitation(self, request: Request, viewer: OptionalViewer) -> Response:
        return await self._join_page(request, viewer, request.query_params.get("token", ""))

    async def accept(
        self, request: Request, viewer: OptionalViewer, fields: AnonymousFields
    ) -> Response:
        token = fields.get("token", "")
        try:
            as_user = None if viewer is None else viewer.user_id
            user = await self._people.invitations.join(
                token, as_user=as_user, actor=actor_of(request)
            )
        except Refusal as refusal:
            return await self._join_page(request, viewer, token, problem=error_message(refusal))
        if viewer is None:
            return await self._console.sign_in_flow.complete_first_factor(
                request, user, to="/login/password", by="invitation"
            )
        session_token = await self._sessions.open_for(
            request, user.user_id, proved_at=viewer.proved_at
        )
        to = "/projects" if viewer.has_password else "/login/password"
        return self._sessions.set_session(self._sessions.redirect(to), session_token)

    async def _join_page(
        self, request: Request, viewer: Viewer | None, token: str, *, problem: str = ""
    ) -> Response:
        form_token = self._sessions.anonymous_form_token(request)
        values = {
            "invitation": await self._people.invitations.find_invitation(token),
            "token": token,
            "form_token": form_token,
            "problem": problem,
            "email": None if viewer is None else viewer.email,
        }
        response = self._console.pages.page("join.html", values, status=422 if problem else 200)
        return self._sessions.set_anonymous_form_token(response, form_token)

    async def _change(
        self,
        request: Request,
        viewer: Viewer,
        user_id: str,
        action: Awaitable[None],
        *,
        success: str,
        back: str,
    ) -> Response:
        """Run the action.

        If it changed the viewer's own role, their session has ended: open a new one.
        """
        is_own = user_id == viewer.user_id
        # Read again: the viewer may have confirmed their identity in this request.
        proved_at = await self._sessions.proved_at(viewer) if is_own else None
        try:
            await action
        except Refusal as refusal:
            return self._sessions.redirect(
                back, viewer=viewer, notice=Notice("bad", error_message(refusal))
            )
        if not is_own:
            return self._sessions.redirect(back, viewer=viewer, notice=Notice("good", success))
        token = await self._sessions.open_for(request, viewer.user_id, proved_at=proved_at)
        renewed = self._sessions.with_token(viewer, token)
        response = self._sessions.redirect(
            "/projects", viewer=renewed, notice=Notice("good", success)
        )
        return self._sessions.set_session(response, renewed.token)


def _path(project_id: str) -> str:
    return f"/projects/{quote(project_id)}#members"
