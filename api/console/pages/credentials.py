"""The API keys and the signing secret of a project: create, revoke, rotate.

A secret is shown once, on the page after it was created.
"""

from starlette.responses import Response

from api.console.access import PROJECT_OWNER, RouteSpec
from api.console.base import Console, error_message, project_path
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.sign_in.cookies import Notice, Secret
from domain.errors import Refusal
from domain.projects import Scope


class CredentialPages:
    """Forms of owners on the page of their project."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            ("POST", "/projects/{project_id}/keys", self.create_key, PROJECT_OWNER),
            ("POST", "/projects/{project_id}/keys/{key_id}/revoke", self.revoke_key, PROJECT_OWNER),
            (
                "POST",
                "/projects/{project_id}/signing-secret",
                self.rotate_signing_secret,
                PROJECT_OWNER,
            ),
            (
                "POST",
                "/projects/{project_id}/signing-secret/finish",
                self.finish_rotation,
                PROJECT_OWNER,
            ),
        )

    async def create_key(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, project_id: str
    ) -> Response:
        scopes = [scope for scope in Scope if scope in fields.get("scopes", "").split()]
        label, days = fields.get("label", "").strip(), fields.get("expires_in_days", "")
        try:
            created = await self._operations.api_keys.create_key(
                project_id,
                label=label,
                scopes=scopes or [Scope.INGEST],
                expires_in_days=days or None,
                actor=actor,
            )
        except Refusal as refusal:
            notice = Notice("bad", error_message(refusal))
        else:
            notice = Notice(
                "good",
                "API key created. Copy it now: it is not shown again.",
                (Secret("API key", created.api_key),),
            )
        return self._console.sessions.redirect(
            project_path(project_id), viewer=viewer, notice=notice
        )

    async def revoke_key(
        self, viewer: CurrentViewer, actor: CurrentActor, project_id: str, key_id: str
    ) -> Response:
        action = self._operations.api_keys.revoke_key(project_id, key_id, actor=actor)
        return await self._console.perform(
            viewer, action, success="The API key is revoked.", back=project_path(project_id)
        )

    async def rotate_signing_secret(
        self, viewer: CurrentViewer, actor: CurrentActor, project_id: str
    ) -> Response:
        try:
            created = await self._operations.signing_secrets.rotate_signing_secret(
                project_id, actor=actor
            )
        except Refusal as refusal:
            notice = Notice("bad", error_message(refusal))
        else:
            text = "Signing secret created. Copy it now. For 24 hours, calls carry both signatures."
            notice = Notice("good", text, (Secret("Signing secret", created.signing_secret),))
        return self._console.sessions.redirect(
            project_path(project_id), viewer=viewer, notice=notice
        )

    async def finish_rotation(
        self, viewer: CurrentViewer, actor: CurrentActor, project_id: str
    ) -> Response:
        action = self._operations.signing_secrets.finish_rotation(project_id, actor=actor)
        success = "Calls are no longer signed with the old secret."
        return await self._console.perform(
            viewer, action, success=success, back=project_path(project_id)
        )
